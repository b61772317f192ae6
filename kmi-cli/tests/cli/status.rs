//! `kmi status`, and a bare `kmi`.

use std::{io::BufRead as _, process::Stdio};

use kmi_core::{
    state::Mode,
    trace::{ModeChange, Record},
};
use kmi_proxy::{ledger::Ledger, settings::TraceSettings};

use crate::{
    kmi::User,
    proxy::{Background, Proxy, Upstream},
};

#[test]
fn without_a_home_kmi_says_how_to_start() {
    let user = User::new();
    insta::assert_snapshot!(user.run("").good().told(), @"
    0
    --- out
    kmi uses several Kimi API keys of yours as one, fairly and provably.
    It has no key yet.

      kmi demo                     watch it work, without any key
      kmi init                     make ~/.kmi with a commented configuration
      kmi keys add LABEL           ask for a key and store it
      kmi run -- kimi              start Kimi Code through the proxy

    `kmi --help` shows the rest.
    --- err
    ");
    assert!(!user.path(".kmi").exists(), "looking makes nothing");
    user.run("-q init").good();
    assert!(user.run("").good().out.contains("It has no key yet"));
    let told = user.run("--home ../x").good().out;
    for part in
        ["  kmi --home ~/work/../x init ", " make ~/work/../x with a commented configuration\n"]
    {
        assert!(told.contains(part), "{told}");
    }
    let mut command = user.command("");
    command.env("KMI_HOME", user.path("y"));
    let told = user.finish(command).good().out;
    assert!(told.contains("  kmi init                     make ~/y with a commented"), "{told}");
}

#[test]
fn with_keys_kmi_shows_the_status() {
    let user = Upstream::healthy(2).user();
    let run = user.run("").good();
    assert_eq!(run.out, user.run("status").good().out);
    assert!(run.out.contains("* k1"), "{}", run.out);
    let mut command = user.command("");
    command.env("KMI_HOME", user.path("fresh")).env("KMI_API_KEY_MINE", "sk-demo-key-0009");
    assert!(user.finish(command).out.contains("MINE"), "a key of the environment is one");
}

#[test]
fn json_has_the_documented_fields() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let proxy = Proxy::start(&user);
    assert_eq!(proxy.chat().status, 200);
    let status = user.run("status --json").good().json();
    let mut shown = status.clone();
    let vary = [
        "/proxy/pid",
        "/proxy/listen",
        "/proxy/base_url",
        "/proxy/uptime_s",
        "/proxy/version",
        "/keys/0/key",
        "/keys/0/last_used",
        "/keys/0/latency_ms/p50",
        "/keys/0/latency_ms/p95",
        "/fairness",
    ];
    for pointer in vary {
        let value = shown.pointer_mut(pointer).unwrap();
        assert!(!value.is_null(), "{pointer}");
        *value = "[…]".into();
    }
    insta::assert_json_snapshot!(shown, @r#"
    {
      "active_key": "k1",
      "fairness": "[…]",
      "fleet": {
        "nodes": 0,
        "since": null,
        "state": "off",
        "url": null
      },
      "keys": [
        {
          "account": null,
          "errors": 0,
          "in_flight": 0,
          "key": "[…]",
          "label": "k1",
          "last_used": "[…]",
          "latency_ms": {
            "p50": "[…]",
            "p95": "[…]"
          },
          "masked": "sk-…0001",
          "priority": 0,
          "quota": {
            "balance": null,
            "checked_at": null,
            "currency": null,
            "limits": [],
            "remaining_ratio": null,
            "source": null
          },
          "reason": null,
          "requests": 1,
          "state": "healthy",
          "until": null,
          "upstream": "kimi",
          "weight": 1
        }
      ],
      "mode": "manual",
      "outages": [],
      "policy": "round-robin",
      "proxy": {
        "base_url": "[…]",
        "listen": "[…]",
        "pid": "[…]",
        "running": true,
        "uptime_s": "[…]",
        "version": "[…]"
      },
      "siblings": [],
      "trace_failure": null
    }
    "#);
    assert_eq!(status["proxy"]["pid"], proxy.process.pid());
    assert_eq!(status["proxy"]["base_url"], proxy.base_url);
    let fields =
        |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&status["fairness"]), fields(&user.run("verify --json").json()));
    assert_eq!(status["fairness"]["verdict"], "insufficient_data");
}

#[test]
fn an_outage_has_its_name_and_blames_no_key() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    // Nobody listens there any more.
    drop(upstream);
    let quick = "serve --set health.outage_run=3 --set health.outage_backoff=1ms";
    let proxy = Proxy::start_with(&user, quick);
    for _ in 0..3 {
        assert_eq!(proxy.chat().status, 502);
    }
    let status = user.run("status --json").good().json();
    assert_eq!(status["outages"][0]["upstream"], "kimi", "{status}");
    assert_eq!(status["keys"][0]["state"], "healthy");
    let told = user.run("status").good().told();
    assert!(told.contains("kimi fails over and over since 20"), "{told}");
    assert!(told.contains("no key is blocked for it"), "{told}");
}

#[test]
fn nothing_ever_ran_and_yet_there_are_all_fields() {
    let status = User::new().run("status --json").good().json();
    assert_eq!(status["proxy"]["running"], false);
    assert_eq!(status["keys"], serde_json::json!([]));
    assert_eq!(status["fairness"]["confidence"], 0.0);
    assert_eq!(status["fairness"]["verdict"], "insufficient_data");
}

/// The status looks back at 1,000 lines first; where too few of them are turns, further.
#[test]
fn turns_behind_many_other_lines_are_seen() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    user.run("-q auto on").good();
    let mut proxy = Proxy::start(&user);
    proxy.keys(60);
    user.run("stop").good();
    // `stop` waits for the trace; the directory is free a moment later.
    assert_eq!(proxy.process.wait(), Some(0));
    let now = jiff::Timestamp::now();
    let state = user.path(".kmi/state");
    let (ledger, _) = Ledger::open(&state, &TraceSettings::default(), now).unwrap();
    for _ in 0..1_200 {
        let (mode, by) = (Mode::Auto, "user".into());
        ledger.sink().push(Record::Mode(ModeChange { ts: now, mode, key: None, by }));
    }
    ledger.close().unwrap();
    let told = user.run("status").good().out;
    assert!(told.contains("fairness  60 of the last 60 turns in order"), "{told}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let user = Upstream::healthy(2).user();
    for args in ["status", "keys list", "status --json", "verify --allow-insufficient"] {
        let mut command = user.std_command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(0), b"".as_slice()),
            "{args}"
        );
    }
}

#[test]
fn many_at_once_wait_for_each_other() {
    let user = Upstream::healthy(2).user();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6).map(|_| scope.spawn(|| user.run("status"))).collect();
        for run in runs {
            run.join().unwrap().good();
        }
    });
}

#[test]
fn a_home_that_is_in_use_is_waited_for() {
    let user = Upstream::healthy(1).user();
    user.run("status").good();
    let settings = TraceSettings::default();
    let state = user.path(".kmi/state");
    let (ledger, _) = Ledger::open(&state, &settings, jiff::Timestamp::now()).unwrap();
    let mut command = user.std_command("status");
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Background::spawn(command);
    let mut line = String::new();
    process.stderr().read_line(&mut line).unwrap();
    let us = std::process::id();
    let what = format!("waiting: another kmi (process {us}) is starting, stopping or at work on ");
    assert!(line.starts_with(&what), "{line}");
    ledger.close().unwrap();
    assert_eq!(process.wait(), Some(0));
}
