//! `kmi trace`, `kmi trace export` and `kmi trace show`.

use std::{
    fs,
    io::BufRead as _,
    process::Stdio,
    sync::mpsc::{Receiver, channel},
};

use kmi_proxy::demo::{Act, Scenario, When, errors};

use crate::{
    kmi::{User, mode},
    proxy::{Background, Proxy, Upstream, eventually},
};

/// Starts `kmi …` and hands on what it prints, line by line.
fn follow(user: &User, args: &str) -> (Background, Receiver<String>) {
    let mut command = user.std_command(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Background::spawn(command);
    let (lines, told) = channel();
    let stdout = process.stdout();
    std::thread::spawn(move || {
        stdout.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
    });
    (process, told)
}

/// Sends requests until a follower has printed a line that fits.
fn line(proxy: &Proxy, told: &Receiver<String>, fits: impl Fn(&serde_json::Value) -> bool) {
    eventually("the line comes", || {
        assert_eq!(proxy.chat().status, 200);
        told.try_iter().any(|line| fits(&serde_json::from_str(&line).unwrap()))
    });
}

#[test]
fn lines_are_followed_until_the_proxy_stops() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    let (mut all, told) = follow(&user, "trace --json");
    // Into a pipe the lines are JSON without being asked for it.
    let (mut one, told_of_one) = follow(&user, "--trace");
    let run = user.run("trace --key nope");
    assert!(run.code == 1 && run.err.contains("no key is called `nope`"), "{}", run.told());
    let (mut k2, told_of_k2) = follow(&user, "trace --key k2 --outcome ok");
    line(&proxy, &told, |line| line["type"] == "attempt" && line["label"] == "k1");
    line(&proxy, &told_of_one, |line| line["type"] == "attempt");
    line(&proxy, &told_of_k2, |line| {
        assert_eq!((&line["label"], &line["outcome"]), (&"k2".into(), &"ok".into()));
        true
    });
    user.run("stop").good();
    for process in [&mut all, &mut one, &mut k2] {
        assert_eq!(process.wait(), Some(0));
    }
}

#[test]
fn without_a_proxy_there_is_nothing_to_follow() {
    insta::assert_snapshot!(User::new().run("trace").told(), @"
    1
    --- out
    --- err
    error: no proxy runs on this home, so there is nothing to follow
    hint: start one with `kmi serve`; `kmi trace export` shows the past
    ");
}

#[test]
fn without_a_trace_there_is_nothing_to_export() {
    insta::assert_snapshot!(User::new().run("trace export").told(), @"
    1
    --- out
    --- err
    error: there is no ledger at ~/.kmi/state/ledger.db yet: it is written once kmi has run
    hint: start kmi first: `kmi serve`, or `kmi run -- CMD`
    ");
}

#[test]
fn an_export_is_the_stored_trace() {
    let upstream = Upstream::healthy(3);
    let user = upstream.user();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    let (_process, told) = follow(&user, "trace --json");
    line(&proxy, &told, |line| line["type"] == "attempt");
    proxy.keys(6);
    user.run("stop").good();
    let run = user.run("trace export").good();
    let followed: Vec<String> = told.iter().collect();
    assert!(!followed.is_empty() && run.out.ends_with(&format!("{}\n", followed.join("\n"))));
    for line in run.out.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let end = format!(",\"hash\":\"{}\"}}", record["hash"].as_str().unwrap());
        assert!(line.starts_with('{') && line.ends_with(&end), "{line}");
    }
    user.file("work/t.jsonl", "what was there before, and is longer than nothing");
    user.run("trace export -o t.jsonl").good();
    assert_eq!(fs::read_to_string(user.path("work/t.jsonl")).unwrap(), run.out);
    user.run("trace export -o new.jsonl").good();
    assert_eq!(mode(&user.path("work/new.jsonl")), 0o600);
    assert_eq!(user.run("trace export -o no/dir/t.jsonl").code, 1);
}

#[test]
fn an_export_can_be_narrowed() {
    let upstream = Upstream::healthy(3);
    let user = upstream.user();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    proxy.keys(7);
    user.run("stop").good();
    let lines = |args: &str| -> Vec<serde_json::Value> {
        let run = user.run(&format!("trace export {args}")).good();
        run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let k1 = lines("--key k1");
    assert_eq!(k1[0]["type"], "filtered");
    assert_eq!(k1[1..].iter().map(|line| &line["turn"]).collect::<Vec<_>>(), [1, 4, 7]);
    assert_eq!(lines("--outcome ok").len(), 1 + 7);
    assert_eq!(lines("--outcome quota").len(), 1);
    assert_eq!(user.run("trace export --outcome nonsense").code, 2);
    insta::assert_snapshot!(user.run("trace export --key nope").told(), @"
    1
    --- out
    --- err
    error: no key is called `nope`
    hint: `kmi keys list` shows all labels
    ");
    // A key that is gone has served, and one that is new has not yet.
    user.run("-q keys remove k1 --yes").good();
    assert_eq!(lines("--key k1").len(), 1 + 3);
    user.file(".kmi/_auths/new.key", "sk-demo-key-0009");
    assert_eq!(lines("--key new").len(), 1);
    assert_eq!(user.run("trace export --since yesterday").code, 2);

    let all = lines("");
    assert_eq!(lines("--since 1h"), all);
    assert_eq!(lines("--until 1h"), [] as [serde_json::Value; 0]);
    let fifth = all.iter().position(|line| line["turn"] == 5).unwrap();
    let since = all[fifth]["ts"].as_str().unwrap();
    let later = lines(&format!("--since {since}"));
    assert_eq!(later[0]["type"], "epoch", "the ring in force comes first");
    assert_eq!(later.last(), all.last());
    assert!(later.iter().any(|line| line["turn"] == 5));
    let earlier = lines(&format!("--until {since}"));
    assert!(earlier.iter().any(|line| line["turn"] == 5));
    assert!(earlier.iter().all(|line| line["ts"].as_str().unwrap() <= since));
}

#[test]
fn csv_is_for_spreadsheets() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    user.file(".kmi/_auths/k1.key", "sk-demo-key-0001");
    let proxy = Proxy::start(&user);
    proxy.keys(3);
    user.run("stop").good();
    user.run("trace export --format csv -o t.csv").good();
    let text = fs::read_to_string(user.path("work/t.csv")).unwrap();
    let head = text.lines().next().unwrap();
    assert!(head.contains("turn") && head.contains("outcome"), "{head}");
    assert_eq!(text.lines().filter(|line| line.contains("/chat/completions")).count(), 3, "{text}");
}

/// What an explanation is about stands in the answer's headers.
#[test]
fn a_choice_is_explained_from_the_trace() {
    let spent = Act::Error(errors::WEEK_SPENT);
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "50"));
    let scenario = Scenario::healthy(4).with_fault(0, When::Always, spent).with_fault(
        2,
        When::Always,
        refused,
    );
    let upstream = Upstream::start(scenario);
    let user = upstream.user();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    // k1 refuses, k2 serves; k3 refuses, k4 serves; k1 rests, k2 serves; k3 rests, k4 serves.
    assert_eq!(proxy.keys(3), ["k2", "k4", "k2"]);
    user.run("stop").good();

    let run = user.run("trace show 2 --json").good();
    let told = &run.json()["attempts"][0];
    assert_eq!(told["sentence"], "turn 2: k2, because k1 was tried before (quota)");
    assert_eq!((&told["follows_rule"], &told["attempt"]), (&true.into(), &2.into()));
    let request = told["request_id"].as_str().unwrap();
    let both = user.run(&format!("trace show {request} --json")).good().json();
    let turns: Vec<_> = both["attempts"].as_array().unwrap().iter().map(|it| &it["turn"]).collect();
    assert_eq!(turns, [1, 2], "both attempts of the request");

    let text = user.run("trace show 5").good().out;
    assert!(text.starts_with("turn 5: k2, because k1 was blocked until "), "{text}");
    assert!(text.contains("(weekly quota)") && text.contains("replay: the rule leads"), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("You've reached your weekly"), "{text}");
    let others = user.run("trace show 5 --json").good().json()["attempts"][0]["others"].clone();
    assert_eq!(
        (&others[0]["label"], &others[0]["because"]["kind"]),
        (&"k1".into(), &"blocked".into())
    );
    assert_eq!(
        (&others[1]["label"], &others[1]["because"]["reason"]),
        (&"k3".into(), &"rate_limited".into())
    );
    assert_eq!(
        (&others[2]["label"], &others[2]["because"]["kind"]),
        (&"k4".into(), &"later".into())
    );

    insta::assert_snapshot!(user.run("trace show 4711").told(), @"
    1
    --- out
    --- err
    error: the trace has no turn and no request `4711`
    hint: it may still be under way, or be older than `trace.retention` keeps; `kmi trace` shows turns and `x-kmi-request-id` names requests
    ");
}

#[test]
fn what_is_no_turn_is_explained_too() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    user.run("-q rotate k2").good();
    let proxy = Proxy::start(&user);
    assert_eq!(proxy.keys(1), ["k2"]);
    user.run("-q keys disable k2").good();
    assert_eq!(proxy.keys(1), ["k1"]);
    user.run("stop").good();
    let lines = user.run("trace export").good().out;
    let told: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|line| Some(line["request_id"].as_str()?.to_owned()))
        .map(|id| user.run(&format!("trace show {id} --json")).good().json())
        .map(|shown| shown["attempts"][0]["sentence"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told[0], "no turn: k2, the active key of manual mode");
    let stands_in = "no turn: k1 stands in for the active key of manual mode, because k2 was \
                     switched off at ";
    assert!(told[1].starts_with(stands_in), "{told:?}");
}
