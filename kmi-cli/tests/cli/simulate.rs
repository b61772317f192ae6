//! `kmi simulate`.

use std::fs;

use serde_json::Value;

use crate::kmi::User;

#[test]
fn schedule_and_proof_are_printed() {
    let user = User::new();
    let run = user.run("simulate --keys 2 --turns 60 --rows 3 --latency 4s").good();
    assert!(run.out.starts_with("2 keys, 60 turns in "), "{}", run.out);
    assert!(run.out.contains("\n57 more; --rows N shows them"), "{}", run.out);
    assert!(run.out.contains("\nverified: with 95.39 % confidence"), "{}", run.out);
    assert!(!run.out.contains("chain:"), "nothing was chained: {}", run.out);
    assert!(!user.path(".kmi").exists(), "a simulation makes no home");
}

#[test]
fn as_json_it_is_the_report_of_verify_and_the_schedule() {
    let user = User::new();
    let args = "simulate --keys 4 --turns 400 --fail 2@100..200 --fail k3@1m..2m=timeout --json";
    let json = user.run(args).good().json();
    let numbers = [&json["verdict"], &json["turns"], &json["conforming"], &json["violations"]];
    assert_eq!(numbers, [&Value::from("verified"), &400.into(), &400.into(), &0.into()]);
    let schedule = json["schedule"].as_array().unwrap();
    let turns: Vec<u64> = schedule.iter().map(|row| row["turn"].as_u64().unwrap()).collect();
    assert_eq!(turns, (1..=400).collect::<Vec<_>>());
    let refused = schedule.iter().filter(|row| row["outcome"] == "rate_limited");
    assert!(refused.clone().all(|row| row["key"] == "k2") && refused.count() > 2);
    assert!(schedule.iter().any(|row| row["outcome"] == "upstream_timeout"));
    let blocked = |it: &Value| it["key"] == "k2" && it["to"] == "blocked";
    assert!(json["health"].as_array().unwrap().iter().any(blocked));
    assert_eq!(json["simulation"]["attempts"], 400);
}

#[test]
fn a_written_trace_can_be_verified() {
    let user = User::new();
    let simulated = user.run("simulate --turns 200 --weights 1,2,1,1,3 --trace t.jsonl --json");
    let simulated = simulated.good().json();
    let verified = user.run("verify t.jsonl --json").good().json();
    for name in ["verdict", "turns", "confidence", "chain", "shares", "window"] {
        assert_eq!(simulated[name], verified[name], "{name}");
    }
    assert!(simulated["chain"]["records"].as_u64() > Some(200));
    let text = fs::read_to_string(user.path("work/t.jsonl")).unwrap();
    assert!(text.contains(r#""ring":[4,1,"#) || text.contains(r#""ring":["#), "{text}");
}

#[test]
fn several_are_compared() {
    let user = User::new();
    let run = user.run("simulate --keys 1..2 --compare --turns 100").good();
    assert_eq!(run.out.lines().count(), 5, "{}", run.out);
    let json = user.run("simulate --keys 1..2 --compare --turns 100 --json").good().json();
    let runs = json["runs"].as_array().unwrap();
    let told: Vec<_> = runs.iter().map(|run| (&run["keys"], &run["policy"])).collect();
    let (rotating, keeping) = (Value::from("round-robin"), Value::from("session"));
    let (one, two) = (Value::from(1), Value::from(2));
    assert_eq!(told, [(&one, &rotating), (&one, &keeping), (&two, &rotating), (&two, &keeping)]);
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let user = User::new();
    user.file("work/s.toml", "[load]\nclents = 3\n");
    insta::assert_snapshot!(user.run("simulate --scenario s.toml").told(), @"
    2
    --- out
    --- err
    error: s.toml, line 2: unknown field `clents`, expected one of `clients`, `think`, `rate`, `session`, `prompt_tokens`, `prompt_growth`, `completion_tokens`, `cache`
    hint: `kmi simulate --help` and docs/scenarios say what can be described
    ");
    insta::assert_snapshot!(user.run("simulate --fail 9@1..2").told(), @"
    2
    --- out
    --- err
    error: no key is called `9`; there are `k1`, `k2`, `k3`, `k4`, `k5`
    hint: `kmi simulate --help` and docs/scenarios say what can be described
    ");
    for path in ["none.toml", "."] {
        let run = user.run(&format!("simulate --scenario {path}"));
        assert_eq!(run.code, 2, "1 would mean that the proof was violated: {}", run.told());
    }
    let run = user.run("simulate --fail 9");
    assert_eq!(run.code, 2);
    assert!(run.err.contains("is not KEY@FROM..TO") && run.err.contains("\nhint: "), "{}", run.err);
}
