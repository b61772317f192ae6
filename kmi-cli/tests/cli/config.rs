//! `kmi config show|check|path`.

use serde_json::Value;

use crate::kmi::User;

#[test]
fn show_prints_every_value_with_its_origin() {
    let user = User::new();
    user.file(".kmi/kmi.config.toml", "[proxy]\nlisten = \"127.0.0.1:7\"\n");
    user.file(".kmi/.env", "KMI_ROTATION_MODE=auto\nKMI_API_KEY_A=sk-secret-1234\n");
    let mut command = user.command("--set trace.required=true config show");
    command.env("KMI_ROTATION_MAX_ATTEMPTS", "5");
    let run = user.finish(command);
    insta::assert_snapshot!(run.told(), @r#"
    0
    --- out
    proxy.listen = "127.0.0.1:7"                               # ~/.kmi/kmi.config.toml:2
    proxy.base_path = "/kmi-rotor"                             # default
    proxy.allow_remote = false                                 # default
    proxy.max_connections = 1024                               # default
    proxy.drain_timeout = "30s"                                # default
    proxy.head_timeout = "10s"                                 # default
    proxy.idle_timeout = "100s"                                # default
    proxy.stall_timeout = "1m"                                 # default
    keys.dir = "_auths"                                        # default
    state.dir = "state"                                        # default
    rotation.mode = "auto"                                     # ~/.kmi/.env:1 KMI_ROTATION_MODE
    rotation.policy = "round-robin"                            # default
    rotation.failover = true                                   # default
    rotation.max_attempts = 5                                  # environment KMI_ROTATION_MAX_ATTEMPTS
    rotation.retry_unsafe = false                              # default
    rotation.on_exhausted = "fail"                             # default
    rotation.max_wait = "10s"                                  # default
    health.rate_limit_cooldown = "5s"                          # default
    health.concurrency_cooldown = "3s"                         # default
    health.membership_cooldown = "5m"                          # default
    health.quota_cooldown = "15m"                              # default
    health.balance_cooldown = "30m"                            # default
    health.model_cooldown = "1h"                               # default
    health.failing_cooldown = "30s"                            # default
    health.max_cooldown = "1h"                                 # default
    health.failure_run = 5                                     # default
    health.failure_rate = 0.5                                  # default
    health.failure_window = "1m"                               # default
    health.failure_sample = 10                                 # default
    health.probe_timeout = "5m"                                # default
    health.quota_low = 0.2                                     # default
    health.quota_poll = "5m"                                   # default
    health.quota_timeout = "8s"                                # default
    health.slow_factor = 4.0                                   # default
    health.outage_run = 5                                      # default
    health.outage_backoff = "1s"                               # default
    health.outage_max_backoff = "10s"                          # default
    health.retry_budget = 0.2                                  # default
    health.retry_floor = 3                                     # default
    trace.retention = "1GiB"                                   # default
    trace.required = true                                      # command line --set
    client.model = "kimi-for-coding"                           # default
    # fleet.url                                                # default
    upstream.kimi.base_url = "https://api.kimi.com/coding/v1"  # default
    # upstream.kimi.anthropic_base_url                         # default
    upstream.kimi.kind = "kimi-code"                           # default
    # upstream.kimi.ca_file                                    # default
    upstream.kimi.connect_timeout = "10s"                      # default
    upstream.kimi.first_byte_timeout = "280s"                  # default
    upstream.kimi.idle_timeout = "280s"                        # default
    upstream.kimi.default = true                               # default
    --- err
    "#);
}

#[test]
fn show_as_json_has_key_value_and_origin() {
    let user = User::new();
    let run = user.run("config show --json");
    let rows: Vec<Value> = serde_json::from_str(&run.out).unwrap();
    assert!(rows.contains(&serde_json::json!(
        {"key": "proxy.max_connections", "value": 1024, "origin": "default"}
    )));
    assert!(rows.contains(&serde_json::json!(
        {"key": "upstream.kimi.ca_file", "value": null, "origin": "default"}
    )));
}

#[test]
fn check_tells_file_line_and_remedy() {
    let user = User::new();
    assert_eq!(user.run("config check").code, 0);
    user.file(".kmi/kmi.config.toml", "[proxy]\nlisen = 1\n[trace]\nrequired = \"no\"\n");
    insta::assert_snapshot!(user.run("config check").told(), @r#"
    2
    --- out
    --- err
    error: ~/.kmi/kmi.config.toml:2: unknown key `proxy.lisen`
    hint: did you mean `proxy.listen`?
    error: ~/.kmi/kmi.config.toml:4: `trace.required`: expected true or false, found "no"
    hint: for example trace.required = false
    "#);
    insta::assert_snapshot!(user.run("config check --json").told(), @r#"
    2
    --- out
    {
      "ok": false,
      "problems": [
        {
          "hint": "did you mean `proxy.listen`?",
          "message": "~/.kmi/kmi.config.toml:2: unknown key `proxy.lisen`"
        },
        {
          "hint": "for example trace.required = false",
          "message": "~/.kmi/kmi.config.toml:4: `trace.required`: expected true or false, found \"no\""
        }
      ],
      "warnings": []
    }
    --- err
    "#);
}

/// What a start would refuse is found before it, with the same words.
#[test]
fn a_file_of_certificates_is_read_as_at_a_start() {
    let user = User::new();
    user.file(".kmi/kmi.config.toml", "[upstream.kimi]\nca_file = \"ca.pem\"\n");
    let missing = user.run("config check");
    insta::assert_snapshot!(missing.told(), @"
    2
    --- out
    --- err
    error: ~/.kmi/kmi.config.toml:2: `upstream.kimi.ca_file`: ~/.kmi/ca.pem: I/O error: No such file or directory (os error 2)
    hint: name a PEM file with the certificate of a CA, or take the setting out
    ");
    user.file(".kmi/ca.pem", "no certificate");
    let junk = user.run("config check");
    insta::assert_snapshot!(junk.told(), @"
    2
    --- out
    --- err
    error: ~/.kmi/kmi.config.toml:2: `upstream.kimi.ca_file`: ~/.kmi/ca.pem: no certificate in it
    hint: name a PEM file with the certificate of a CA, or take the setting out
    ");
    for args in ["serve --listen 127.0.0.1:0", "status"] {
        assert_eq!(user.run(args).told(), junk.told(), "{args}");
    }
    assert_eq!(user.run("config check --json").json()["ok"], false);
    let told = user.run("doctor");
    assert!(told.out.contains("kmi.config.toml:2: `upstream.kimi.ca_file`"), "{}", told.told());
    assert_eq!(told.code, 1);
}

#[test]
fn unknown_variables_are_warnings() {
    let user = User::new();
    let mut command = user.command("config check");
    command.env("KMI_PROXY_LISTN", "x");
    insta::assert_snapshot!(user.finish(command).told(), @"
    0
    --- out
    the configuration is good (no file, defaults only)
    --- err
    warning: environment KMI_PROXY_LISTN: this is no setting of kmi and is not used
    hint: did you mean `KMI_PROXY_LISTEN`?
    ");
}

#[test]
fn nothing_is_taken_from_the_current_directory() {
    let user = User::new();
    user.file("work/kmi.config.toml", "[upstream.kimi]\nbase_url = \"https://evil.example\"\n");
    user.file("work/.env", "KMI_UPSTREAM_KIMI_BASE_URL=https://evil.example\n");
    let run = user.run("config show");
    assert!(!run.out.contains("evil"), "{}", run.out);
    assert_eq!(
        run.err,
        "hint: not used here: ./.env, ./kmi.config.toml; `--home .` uses this directory as kmi's home\n"
    );
    assert_eq!(user.run("-q config show").err, "");
    assert!(user.run("--home . config show").out.contains("evil"));
}

#[test]
fn path_names_the_files() {
    let user = User::new();
    insta::assert_snapshot!(user.run("config path").told(), @"
    0
    --- out
    home    ~/.kmi
    config  ~/.kmi/kmi.config.toml
    env     ~/.kmi/.env
    keys    ~/.kmi/_auths
    state   ~/.kmi/state
    socket  ~/.kmi/run/kmi.sock
    --- err
    ");
    assert!(!user.path(".kmi").exists(), "looking makes nothing");
}

#[test]
fn a_key_that_is_written_as_a_name_is_not_repeated() {
    let user = User::new();
    let secret = "sk-kimi-Zq7Wv3Kx9Rt2Mb8Nc4Jd6Hf1Gs5LpTy";
    let other = "Zq7Wv3Kx9Rt2Mb8Nc4Jd6Hf1Gs5LpTyZq7Wv3Kx9";
    let text = format!("{secret} = 1\n{other} = 1\n[upstream.{secret}]\nkind = \"openai\"\n");
    user.file(".kmi/kmi.config.toml", &text);
    let args = format!("--set {secret}=1 --set {secret} --set {other}=2 config check");
    let run = user.run(&args);
    insta::assert_snapshot!(run.told(), @"
    2
    --- out
    --- err
    error: ~/.kmi/kmi.config.toml:1: unknown key `sk-…LpTy`
    hint: API keys are no settings; `kmi keys add LABEL` stores one
    error: ~/.kmi/kmi.config.toml:2: unknown key of 40 characters
    hint: kmi.config.toml.example lists every key
    error: ~/.kmi/kmi.config.toml:3: `sk-…LpTy` cannot be the name of an upstream
    hint: use a short name of letters, digits, `-` and `_`, as in [upstream.kimi]
    error: command line --set: unknown key `sk-…LpTy`
    hint: API keys are no settings; `kmi keys add LABEL` stores one
    error: command line --set: `sk-…LpTy` is no KEY=VALUE
    hint: for example `--set rotation.max_attempts=5`
    error: command line --set: unknown key of 40 characters
    hint: kmi.config.toml.example lists every key
    ");
    for args in ["config check --json", "doctor", "doctor --json", "status"] {
        let told = user.run(args).told();
        assert!(!told.contains("Zq7Wv3Kx9Rt2"), "{told}");
    }
    user.file(".kmi/kmi.config.toml", &format!("{secret} = 1\n{secret} = 2\n"));
    let told = user.run("config check").told();
    assert!(told.contains("duplicate key") && !told.contains("Zq7Wv3Kx9Rt2"), "{told}");
}
