//! `kmi env`.

use std::fs;

use crate::kmi::{User, mode};

#[test]
fn the_environment_is_printed_for_the_shell() {
    let user = User::new();
    let run = user.run("env");
    let token = fs::read_to_string(user.path(".kmi/state/token")).unwrap();
    assert_eq!(mode(&user.path(".kmi/state/token")), 0o600);
    insta::assert_snapshot!(run.told().replace(token.trim(), "TOKEN"), @"
    0
    --- out
    export KIMI_BASE_URL='http://127.0.0.1:54123/kmi-rotor/t/TOKEN/v1'
    export KIMI_API_KEY='TOKEN'
    export KIMI_MODEL_BASE_URL='http://127.0.0.1:54123/kmi-rotor/t/TOKEN/v1'
    export KIMI_MODEL_API_KEY='TOKEN'
    export OPENAI_BASE_URL='http://127.0.0.1:54123/kmi-rotor/t/TOKEN/v1'
    export OPENAI_API_KEY='TOKEN'
    export ANTHROPIC_BASE_URL='http://127.0.0.1:54123/kmi-rotor/t/TOKEN'
    export ANTHROPIC_AUTH_TOKEN='TOKEN'
    export NO_PROXY='127.0.0.1,localhost'
    export no_proxy='127.0.0.1,localhost'
    export KIMI_MODEL_NAME='kimi-for-coding'
    --- err
    no proxy runs on this home yet: `kmi serve` starts one
    ");
    for shell in ["sh", "bash", "zsh"] {
        assert_eq!(user.run(&format!("env --shell {shell}")).good().out, run.out, "{shell}");
    }
    let fish = user.run("env --shell fish").out;
    assert!(fish.starts_with("set -gx KIMI_BASE_URL 'http://127.0.0.1:54123/kmi-rotor/t/"));
    let json: serde_json::Value = serde_json::from_str(&user.run("env --json").out).unwrap();
    assert_eq!(json["OPENAI_API_KEY"], token.trim());
    let shell = std::process::Command::new("sh")
        .args(["-c", &format!("{}printf %s \"$ANTHROPIC_AUTH_TOKEN\"", run.out)])
        .output()
        .unwrap();
    assert_eq!(shell.stdout, token.trim().as_bytes());
}

#[test]
fn a_free_port_is_not_known_in_advance() {
    insta::assert_snapshot!(User::new().run("--set proxy.listen=127.0.0.1:0 env").told(), @"
    2
    --- out
    --- err
    error: proxy.listen has port 0: only a running proxy knows its address
    hint: start one with `kmi serve`, set a fixed port, or use `kmi run`
    ");
}

#[test]
fn a_damaged_token_is_refused() {
    let user = User::new();
    user.file(".kmi/state/token", "half");
    insta::assert_snapshot!(user.run("env").told(), @"
    1
    --- out
    --- err
    error: ~/.kmi/state/token is damaged: it does not hold exactly 64 hex digits
    hint: restore it from a backup, or remove it and kmi makes a new one: ~/.kmi/state/token
    ");
}

#[test]
fn many_that_start_in_a_fresh_home_get_one_token() {
    let user = User::new();
    let told: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| user.run("env").told())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(told.iter().all(|run| run.starts_with("0\n") && *run == told[0]), "{told:#?}");
}
