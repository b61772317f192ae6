//! `kmi verify`.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

use crate::{
    kmi::{User, mode},
    proxy::{Proxy, Upstream},
};

/// A user whose keys have taken so many turns; the proxy does not run any more.
fn after_turns(turns: usize) -> User {
    let upstream = Upstream::healthy(4);
    let user = upstream.user();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    proxy.keys(turns);
    user.run("stop").good();
    user
}

#[test]
fn fifty_nine_turns_prove_it() {
    let user = after_turns(59);
    let run = user.run("verify").good();
    assert!(run.out.starts_with("verified: with 95.15 % confidence"), "{}", run.out);
    let report = user.run("verify --json").good().json();
    assert_eq!(
        [&report["verdict"], &report["turns"], &report["conforming"], &report["violations"]],
        [&Value::from("verified"), &59.into(), &59.into(), &0.into()]
    );
    let confidence = report["confidence"].as_f64().unwrap();
    assert!((confidence - 0.951_505_474_751).abs() < 1e-9, "{confidence}");
    assert_eq!(report["chain"]["ok"], true);
    assert_eq!(report["max_pair_gap"], 1.0);
    assert_eq!(user.run("verify --window 20 --json").good().json()["window"]["turns"], 20);
}

#[test]
fn too_few_turns_prove_nothing() {
    let user = after_turns(58);
    let run = user.run("verify");
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(run.out.starts_with("insufficient data"), "{}", run.out);
    user.run("verify --allow-insufficient").good();
    assert_eq!(User::new().run("verify").code, 3, "nothing at all");
    assert_eq!(User::new().run("verify --json").json()["confidence"], 0.0);
}

/// On every surface that is no screen; kmi-tui and the feed have tests of their own.
#[test]
fn thin_data_never_looks_certain() {
    let user = after_turns(12);
    let args = ["status", "auto", "verify", "verify --window 5"];
    for args in args.into_iter().chain(["simulate --keys 3 --turns 12", "demo --requests 12"]) {
        let run = user.run(args);
        let told = run.told();
        assert!(!told.contains("100 %") && !told.contains("100.00 %"), "{args}: {told}");
        assert!(told.contains("takes 59") || told.contains("59 without"), "{args}: {told}");
        let json = user.run(&format!("-q {args} --json")).json();
        let fairness = json.get("fairness").unwrap_or(&json);
        if fairness["confidence"].is_null() {
            assert_eq!(args, "auto", "{json}");
            continue;
        }
        for numbers in [fairness, &fairness["window"]] {
            assert_eq!(numbers["verdict"], "insufficient_data", "{args}");
            let confidence = numbers["confidence"].as_f64().unwrap();
            assert!(confidence < 0.95, "{args}: {confidence}");
        }
    }
}

#[test]
fn an_export_proves_the_same() {
    let user = after_turns(60);
    user.run("trace export -o t.jsonl").good();
    let ledger = user.run("verify --json").good().json();
    assert_eq!(user.run("verify t.jsonl --json").good().json(), ledger);
    let mut piped = user.command("verify - --json");
    piped.write_stdin(user.run("trace export -o -").good().out);
    assert_eq!(user.finish(piped).good().json(), ledger);
    let head = ledger["chain"]["head"].as_str().unwrap();
    let noted = user.run(&format!("verify --json --head {head}")).good().json();
    assert_eq!(noted["head"]["lines_after"], 0);
    let first = fs::read_to_string(user.path("work/t.jsonl")).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    let older = first["hash"].as_str().unwrap();
    let noted = user.run(&format!("verify t.jsonl --json --head {older}")).good().json();
    assert_eq!(noted["head"]["lines_after"], noted["chain"]["records"].as_u64().unwrap() - 1);
    assert_eq!(user.run(&format!("verify --head {}", "ab".repeat(32))).code, 1);
    insta::assert_snapshot!(user.run("verify --head 1234").told(), @"
    2
    --- out
    --- err
    error: `--head` is not a hash
    hint: a head is 64 hexadecimal digits, as `kmi verify` prints it
    ");
    insta::assert_snapshot!(user.run("verify no.jsonl").told(), @"
    2
    --- out
    --- err
    error: cannot open no.jsonl: No such file or directory (os error 2)
    hint: name a file that `kmi trace export -o FILE` wrote, or none for the ledger
    ");
}

#[test]
fn what_was_changed_is_found() {
    let user = after_turns(60);
    let text = user.run("trace export").good().out;
    let lines: Vec<&str> = text.lines().collect();
    let bad = |lines: &[&str]| {
        user.file("work/t.jsonl", &format!("{}\n", lines.join("\n")));
        let run = user.run("verify t.jsonl --json");
        assert_eq!(run.code, 1, "{}", run.told());
        let report = run.json();
        assert_eq!(
            (&report["verdict"], &report["chain"]["ok"]),
            (&"violated".into(), &false.into())
        );
        report["first_bad_seq"].as_u64().unwrap()
    };
    let seq = |at: usize| at as u64 + 1;

    let mut edited = lines.clone();
    let line = edited[30].replacen("\"label\":\"k", "\"label\":\"K", 1);
    assert_ne!(line, edited[30]);
    edited[30] = &line;
    assert_eq!(bad(&edited), seq(30));

    let mut deleted = lines.clone();
    deleted.remove(30);
    assert_eq!(bad(&deleted), seq(30));

    let mut swapped = lines.clone();
    swapped.swap(30, 31);
    assert_eq!(bad(&swapped), seq(30));

    let mut doubled = lines.clone();
    doubled.insert(31, doubled[30]);
    bad(&doubled);

    let mut torn = lines.clone();
    let half = &torn[60][..torn[60].len() / 2];
    torn[60] = half;
    assert_eq!(bad(&torn), seq(60));

    user.file("work/t.jsonl", "\u{0}\u{1}no trace at all\n");
    assert_eq!(user.run("verify t.jsonl").code, 1);
}

#[test]
fn a_kept_checkpoint_shows_a_trace_that_was_rewritten() {
    let user = after_turns(60);
    let note = user.run("-q trace head").good().out;
    user.file("work/kept.txt", &note);
    user.file("work/kmi.pub", &user.run("trace head --public-key").good().out);
    assert_eq!(mode(&user.path(".kmi/state/checkpoint.key")), 0o600);
    let check = "verify --json --checkpoint kept.txt --public-key kmi.pub";
    let report = user.run(check).good().json();
    let head = &report["head"];
    assert_eq!((&head["found"], &head["lines_after"]), (&true.into(), &0.into()));
    assert_eq!(head["seq"].to_string(), note.lines().nth(1).unwrap(), "the count");

    // The same home goes on: the checkpoint stays true.
    let text = user.run("trace export").good().out;
    let cut: Vec<&str> = text.lines().take(text.lines().count() - 1).collect();
    user.file("work/cut.jsonl", &(cut.join("\n") + "\n"));
    user.run("verify cut.jsonl").good();
    let run = user.run("verify cut.jsonl --checkpoint kept.txt --public-key kmi.pub");
    assert_eq!(run.code, 1, "{}", run.told());
    assert!(run.out.contains("lines were cut off, or the file was"), "{}", run.out);

    // Lines that begin after it (retention has cut the others) cannot be compared with it.
    let longer = after_turns(200).run("trace export").good().out;
    let later: Vec<&str> = longer.lines().skip(150).collect();
    user.file("work/later.jsonl", &(later.join("\n") + "\n"));
    let run = user.run("verify later.jsonl --checkpoint kept.txt --public-key kmi.pub");
    assert!(run.code == 1 && run.err.contains("too old to be compared"), "{}", run.told());

    // Another home's key, another count, and no key at all.
    let other = after_turns(1);
    user.file("work/other.pub", &other.run("trace head --public-key").good().out);
    let run = user.run("verify --checkpoint kept.txt --public-key other.pub");
    assert_eq!((run.code, run.out.as_str()), (1, ""), "{}", run.told());
    assert!(run.err.contains("it bears no signature of kmi-trace/"), "{}", run.err);
    let count = note.lines().nth(1).unwrap();
    user.file("work/forged.txt", &note.replacen(&format!("\n{count}\n"), "\n1\n", 1));
    let run = user.run("verify --checkpoint forged.txt --public-key kmi.pub");
    assert!(run.code == 1 && run.err.contains("its signature is wrong"), "{}", run.told());
    let run = user.run("verify --checkpoint kept.txt").good();
    assert!(run.err.contains("the checkpoint's signature was not checked"), "{}", run.err);
    let run = user.run("verify --public-key kept.txt");
    assert_eq!(run.code, 2, "{}", run.told());
}

#[test]
fn a_filtered_export_is_refused() {
    let user = after_turns(60);
    user.run("trace export --key k1 -o t.jsonl").good();
    let run = user.run("verify t.jsonl");
    assert_eq!((run.code, run.out.as_str()), (2, ""), "{}", run.told());
    assert!(run.err.contains("\nhint: export without `--key` and `--outcome`"), "{}", run.err);
}

#[test]
fn a_running_proxy_is_verified_under_traffic() {
    let upstream = Upstream::healthy(5);
    let user = upstream.user();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    proxy.keys(60);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut client = proxy.client();
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(client.chat().unwrap().status, 200);
                }
            });
        }
        let reports: Vec<_> = (0..5).map(|_| user.run("verify --json")).collect();
        let status = user.run("status --json");
        done.store(true, Ordering::Relaxed);
        for run in reports {
            assert_eq!(run.json()["unexplained"], 0, "{}", run.told());
            run.good();
        }
        assert_eq!(status.good().json()["fairness"]["verdict"], "verified");
    });
}

#[test]
fn a_path_that_holds_no_trace_is_told_with_a_remedy() {
    let user = User::new();
    user.run("-q simulate --turns 5 --trace t.jsonl").good();
    // 1 would be a verdict.
    insta::assert_snapshot!(user.run("verify .").told(), @"
    2
    --- out
    --- err
    error: cannot read .: Is a directory (os error 21)
    hint: name a file that `kmi trace export -o FILE` wrote, or none for the ledger
    ");
    assert_eq!(user.run("verify none.jsonl").code, 2);
    user.file("work/t.csv", "seq,ts,turn\n1,2,3\n");
    let run = user.run("verify t.csv");
    let told = "warning: no line of it is a trace's: is it what `kmi trace export` wrote?\n";
    assert!(run.code == 1 && run.err.starts_with(told), "{}", run.told());
    for (args, hint) in [
        ("man -o .", ""),
        ("man -o t.jsonl", "hint: a file stands where a directory has to be: name another path\n"),
        (
            "man -o t.jsonl/x",
            "hint: a file stands where a directory has to be: name another path\n",
        ),
    ] {
        let run = user.run(args);
        assert!(run.err.ends_with(hint), "{args}: {}", run.told());
        assert!(!run.err.contains("config path"), "{args}: {}", run.told());
    }
}
