//! `kmi trace` and `kmi trace export`.

use std::{
    fs,
    io::BufRead as _,
    process::Stdio,
    sync::mpsc::{Receiver, channel},
};

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
