//! `kmi doctor`.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use kmi_proxy::demo::Scenario;
use serde_json::Value;

use crate::{
    kmi::{Run, User, mode},
    proxy::{Proxy, Upstream},
};

const SECRET: &str = "sk-secret-of-mine-4711";

/// A home without fault: a key, and any port will do.
fn user() -> User {
    let user = User::new();
    user.run("-q init").good();
    user.file(".kmi/_auths/work.key", SECRET);
    user.file(".kmi/.env", "KMI_PROXY_LISTEN=127.0.0.1:0\n");
    user
}

/// `LEVEL CHECK: MESSAGE | HINT` of everything that is not ok.
fn bad(run: &Run) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let json = run.json();
    let findings = json["findings"].as_array().unwrap();
    let bad = findings.iter().filter(|finding| finding["level"] != "ok");
    bad.map(|it| {
        let [level, check, message, hint] =
            ["level", "check", "message", "hint"].map(|n| text(&it[n]));
        assert!(!hint.is_empty(), "no remedy: {message}");
        format!("{level} {check}: {message} | {hint}")
    })
    .collect()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_good_home_has_no_fault() {
    let run = user().run("doctor").good();
    let changes = |line: &&str| line.contains("the clock says") || line.contains("are free for");
    let told = run.out.lines().filter(|line| !changes(line)).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(told, @"
    ok       config   ~/.kmi/kmi.config.toml is understood
    ok       config   keys of upstream kimi go to https://api.kimi.com/coding/v1
    ok       files    ~/.kmi is yours alone
    ok       git      no secret stands in a git repository
    ok       proxy    none runs; it will pick a free port
    ok       keys     work (sk-…4711) can be read
    ok       state    there is no trace yet

    0 problems, 0 warnings, 9 good
    ");
    assert_eq!(run.err, "");
    assert_eq!(user().run("doctor --json").good().json()["ok"], true);
}

#[test]
fn looking_makes_nothing() {
    let user = User::new();
    let run = user.run("--set proxy.listen=127.0.0.1:0 doctor --json").good();
    assert_eq!(bad(&run), ["warning files: there is no home at ~/.kmi yet | `kmi init` makes one"]);
    assert!(!user.path(".kmi").exists());
}

#[test]
fn modes_are_told_and_tightened() {
    let user = user();
    for (path, mode) in [
        (".kmi", 0o755),
        (".kmi/state", 0o777),
        (".kmi/kmi.config.toml", 0o666),
        (".kmi/_auths/work.key", 0o644),
    ] {
        chmod(&user.path(path), mode);
    }
    user.file(".kmi/state/kmi.log", "");
    chmod(&user.path(".kmi/state/kmi.log"), 0o640);
    let run = user.run("doctor --json");
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(bad(&run).join("\n"), @"
    warning files: others may look into ~/.kmi (mode 0755) | `kmi doctor --fix` tightens it, as does: chmod 700 ~/.kmi
    problem files: others may change ~/.kmi/state (mode 0777) | `kmi doctor --fix` tightens it, as does: chmod 700 ~/.kmi/state
    problem files: others may change ~/.kmi/kmi.config.toml (mode 0666) | `kmi doctor --fix` tightens it, as does: chmod 600 ~/.kmi/kmi.config.toml
    problem files: others may read or change ~/.kmi/state/kmi.log (mode 0640) | `kmi doctor --fix` tightens it, as does: chmod 600 ~/.kmi/state/kmi.log
    problem keys: ~/.kmi/_auths/work.key: others may read or change the file (mode 0644) | chmod 600 ~/.kmi/_auths/work.key
    warning keys: there is no key that could serve | add one: `kmi keys add LABEL`
    ");
    let run = user.run("doctor --fix").good();
    assert!(
        run.out.contains("~/.kmi/_auths/work.key is private now (its mode was 0644)"),
        "{}",
        run.out
    );
    assert!(run.out.contains("work (sk-…4711) can be read"), "{}", run.out);
    assert_eq!(mode(&user.path(".kmi")), 0o700);
    assert_eq!(mode(&user.path(".kmi/state")), 0o700);
    for file in ["kmi.config.toml", "_auths/work.key", "state/kmi.log"] {
        assert_eq!(mode(&user.path(".kmi").join(file)), 0o600, "{file}");
    }
    assert!(bad(&user.run("doctor --json").good()).is_empty());
}

#[test]
fn a_wrong_configuration_is_told_and_the_rest_is_still_looked_at() {
    let user = user();
    user.file(
        ".kmi/kmi.config.toml",
        "[proxy]\nlisen = 1\n[upstream.kimi]\nbase_url = \"http://far.example/v1\"\n",
    );
    chmod(&user.path(".kmi"), 0o750);
    let run = user.run("doctor --json");
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(bad(&run).join("\n"), @"
    problem config: ~/.kmi/kmi.config.toml:2: unknown key `proxy.lisen` | did you mean `proxy.listen`?
    problem config: ~/.kmi/kmi.config.toml:4: `upstream.kimi.base_url` would send keys in the clear; write https:// | an upstream is https://HOST/PATH, or http:// on this machine only
    warning files: others may look into ~/.kmi (mode 0750) | `kmi doctor --fix` tightens it, as does: chmod 700 ~/.kmi
    ");
}

#[test]
fn secrets_in_git_are_told() {
    let user = user();
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(user.path(".kmi")).args(args).env("HOME", user.path(""));
        assert!(git.status().unwrap().success(), "{args:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "-f", "_auths/work.key"]);
    let run = user.run("doctor --json");
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(bad(&run).join("\n"), @"
    warning git: git does not ignore, in ~/.kmi: .env | add them to .gitignore, or move kmi's home out of the repository
    problem git: ~/.kmi/_auths/work.key is tracked by git | if it was ever pushed, make a new key at the provider; then: git -C ~/.kmi/_auths rm --cached work.key
    ");
    git(&["rm", "-q", "--cached", "_auths/work.key"]);
    user.file(".kmi/.gitignore", "_auths\n.env\nstate\n");
    assert!(bad(&user.run("doctor --json").good()).is_empty());
}

#[test]
fn a_key_that_is_a_link_into_a_repository_is_found_there() {
    let user = user();
    user.file("dots/keys/home.key", "sk-another-key-0815");
    let init = Command::new("git").args(["init", "-q"]).arg(user.path("dots")).status();
    assert!(init.unwrap().success());
    let link = user.path(".kmi/_auths/home.key");
    std::os::unix::fs::symlink(user.path("dots/keys/home.key"), link).unwrap();
    let told = bad(&user.run("doctor --json").good()).join("\n");
    assert!(told.contains("git does not ignore, in ~/dots/keys: home.key"), "{told}");
}

#[test]
fn a_port_that_is_held_names_its_holder() {
    let user = user();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    user.file(".kmi/.env", &format!("KMI_PROXY_LISTEN={address}\n"));
    let told = bad(&user.run("doctor --json")).join("\n");
    assert!(told.starts_with(&format!("problem proxy: {address} is held by ")), "{told}");
    assert!(told.contains(&format!("(process {})", std::process::id())), "{told}");
    drop(listener);
    assert!(user.run("doctor").good().out.contains(&format!("{address} is free for it")));
}

#[test]
fn another_homes_proxy_is_recognised() {
    let upstream = Upstream::healthy(1);
    let other = upstream.user();
    let proxy = Proxy::start(&other);
    let user = user();
    let address = proxy.base_url.trim_start_matches("http://").split('/').next().unwrap();
    user.file(".kmi/.env", &format!("KMI_PROXY_LISTEN={address}\n"));
    let told = bad(&user.run("doctor --json")).join("\n");
    // Its name is told to those only who may look into the process.
    assert!(told.contains(&format!("{address} is held by ")), "{told}");
    assert!(told.contains(", which serves another home | "), "{told}");
}

#[test]
fn a_running_proxy_is_asked_about_its_keys() {
    let mut scenario = Scenario::healthy(2);
    let account = scenario.keys[0].account.clone();
    scenario.keys[1].account = account;
    let upstream = Upstream::start(scenario);
    let user = upstream.user();
    user.file(".kmi/_auths/wrong.key", SECRET);
    user.run("doctor --fix").good();
    let proxy = Proxy::start(&user);
    assert_eq!(user.run("keys test").code, 1);
    let run = user.run("doctor --json");
    assert_eq!(run.code, 1);
    let told = bad(&run).join("\n").replace(&proxy.base_url, "URL");
    insta::assert_snapshot!(told, @"
    problem keys: wrong (sk-…4711) is refused by the provider: auth_failed | put a good key in its place, then: kmi keys test wrong
    warning keys: k1, k2 turned out to be one account (0001-a…) | they share its limits, so rotation among them gains nothing: give them the same `account`, or use keys of other accounts
    ");
    let text = user.run("doctor").out;
    let serves = format!("it serves at {} (process {})", proxy.base_url, proxy.process.pid());
    assert!(text.contains(&serves) && text.contains("k1 (sk-…0001) is healthy"), "{text}");
}

#[test]
fn keys_that_cannot_serve_are_told() {
    let user = user();
    user.file(".kmi/_auths/again.key", SECRET);
    user.file(
        ".kmi/_auths/off.toml",
        "api_key = \"sk-another-0815\"\ndisabled = true\naccount = \"a\"\n",
    );
    user.file(".kmi/_auths/on.toml", "api_key = \"sk-another-0816\"\naccount = \"a\"\n");
    let run = user.run("doctor --json").good();
    insta::assert_snapshot!(bad(&run).join("\n"), @"warning keys: ~/.kmi/_auths/work.key:1: the same key as `again` of ~/.kmi/_auths/again.key; it is used once | remove one of the two");
    let text = user.run("doctor").out;
    assert!(text.contains("off (sk-…0815) can be read; it is switched off"), "{text}");
    assert!(text.contains("off, on share the limits of the account a, as given"), "{text}");
}

#[test]
fn clients_that_go_past_are_told() {
    let user = user();
    user.file(".kimi/config.toml", "[providers.a]\ntype = \"kimi\"\nbase_url = \"http://127.0.0.1:1/kmi-rotor/v1\"\napi_key = \"old\"\n");
    user.file(".kimi-code/config.toml", "default_model = \"x\"\n");
    user.file(
        ".claude/settings.json",
        r#"{"env": {"ANTHROPIC_BASE_URL": "https://api.moonshot.ai/anthropic"}}"#,
    );
    let mut command = user.command("--set proxy.listen=127.0.0.1:4711 doctor --json");
    command
        .env("OPENAI_BASE_URL", "https://api.example.com/v1")
        .env("KIMI_CODE_BASE_URL", "https://x.example")
        .env("CLAUDE_CODE_USE_BEDROCK", "1")
        .env("http_proxy", "http://proxy.example:3128");
    let run = user.finish(command);
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(bad(&run).join("\n"), @r#"
    problem clients: kimi-cli's provider a leads to kmi, but the port is not 4711 | take it out and start the client with `kmi run`, or copy it from `kmi env`
    warning clients: ANTHROPIC_BASE_URL in ~/.claude/settings.json leads Claude Code past kmi | it wins over `kmi run`: take it out of there to use kmi
    warning clients: OPENAI_BASE_URL leads past kmi, to api.example.com | `kmi run -- CMD` leads a client here without changing this
    warning clients: KIMI_CODE_BASE_URL is set: Kimi Code rewrites its configuration for it and loses its login | unset KIMI_CODE_BASE_URL; kmi does not need it
    warning clients: CLAUDE_CODE_USE_BEDROCK is set: Claude Code goes past kmi, whatever `kmi run` says | unset CLAUDE_CODE_USE_BEDROCK
    warning clients: http_proxy is set, and NO_PROXY does not name 127.0.0.1 and localhost | export NO_PROXY="$NO_PROXY,127.0.0.1,localhost"; `kmi run` does so by itself
    "#);
    assert!(run.out.contains("Kimi Code is set up (~/.kimi-code/config.toml)"), "{}", run.out);
}

#[test]
fn clients_that_were_led_here_are_good() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    user.run("doctor --fix").good();
    let _proxy = Proxy::start(&user);
    let env = user.run("env --shell json").good().json();
    let mut command = user.command("doctor --json");
    for (name, value) in env.as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    let run = user.finish(command).good();
    assert!(bad(&run).is_empty(), "{:?}", bad(&run));
    assert!(run.out.contains("ANTHROPIC_BASE_URL leads to this proxy"), "{}", run.out);
}

#[test]
fn what_lies_here_unused_is_told() {
    let user = user();
    user.file("work/.env", "");
    fs::create_dir(user.path("work/_auths")).unwrap();
    let told = bad(&user.run("doctor --json").good());
    assert_eq!(
        told,
        [
            "warning config: not used here: ./_auths, ./.env | `--home .` uses this directory as kmi's home"
        ]
    );
}

#[test]
fn a_damaged_state_is_told() {
    let user = user();
    user.run("-q auto on").good();
    fs::write(user.path(".kmi/state/ledger.db"), "this is no database").unwrap();
    fs::write(user.path(".kmi/state/token"), "short").unwrap();
    let run = user.run("doctor --json");
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(bad(&run).join("\n"), @"
    problem state: ~/.kmi/state/token is damaged: it does not hold exactly 64 hex digits | restore it from a backup, or remove it and kmi makes a new one: ~/.kmi/state/token
    problem state: the trace cannot be read: ~/.kmi/state/ledger.db is no kmi ledger (not a database): move it away, and kmi starts a new one | `kmi verify` says more; what can be read stays readable
    ");
}

#[test]
fn the_bundle_has_all_but_secrets() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    proxy.keys(3);
    let run = user.run("doctor --bundle report.json").good();
    assert_eq!(run.err, "the bundle is ~/work/report.json; look at it before you send it\n");
    let file = user.path("work/report.json");
    assert_eq!(mode(&file), 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let bundle: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(bundle["kmi"], env!("CARGO_PKG_VERSION"));
    assert_eq!(bundle["status"]["keys"][1]["label"], "k2");
    assert!(
        bundle["config"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["origin"] == "~/.kmi/kmi.config.toml:2")
    );
    assert!(bundle["trace"].as_array().unwrap().len() >= 3, "{text}");
    let read = |name: &str| fs::read_to_string(user.path(name)).unwrap().trim().to_owned();
    let mut secrets = vec![read(".kmi/state/token"), read(".kmi/state/secret")];
    secrets.extend(upstream.stand_in.scenario().keys.iter().map(|key| key.secret.to_string()));
    secrets.push(user.path("").to_str().unwrap().trim_end_matches('/').to_owned());
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret}\n{text}");
    }
    insta::assert_snapshot!(user.run("-q doctor --bundle report.json").err, @"
    error: ~/work/report.json is there already
    hint: name a new file; nothing is overwritten
    ");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_bundle_that_would_hold_a_key_is_not_written() {
    let user = user();
    user.file(".kmi/kmi.config.toml", &format!("[client]\nmodel = \"{SECRET}\"\n"));
    let run = user.run("-q doctor --bundle report.json");
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(run.err, @"
    error: the key work would stand in the bundle; nothing was written
    hint: look for it in the configuration (`kmi config show`) and take it out
    ");
    assert!(!user.path("work/report.json").exists());
}

#[test]
fn a_bundle_that_would_hold_a_secret_of_the_home_is_not_written() {
    let named = [
        ("token", "the token"),
        ("secret", "the secret"),
        ("checkpoint.key", "the key of checkpoints"),
    ];
    for (name, words) in named {
        let (user, bits) = (user(), "5e".repeat(32));
        user.file(&format!(".kmi/state/{name}"), &bits);
        user.file(".kmi/kmi.config.toml", &format!("[client]\nmodel = \"{bits}\"\n"));
        let run = user.run("-q doctor --bundle report.json");
        assert_eq!(run.code, 1);
        let error = format!("error: {words} would stand in the bundle; nothing was written\n");
        assert!(run.err.starts_with(&error), "{}", run.err);
        assert!(!user.path("work/report.json").exists());
    }
}

#[test]
fn a_bundle_that_would_hold_a_key_that_is_not_used_is_not_written() {
    let exposed = user();
    exposed.file(".kmi/_auths/other.key", "other-key-without-a-prefix-0001");
    exposed.file(".kmi/kmi.config.toml", "[client]\nmodel = \"other-key-without-a-prefix-0001\"\n");
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(exposed.path(".kmi/_auths/other.key"), mode).unwrap();
    let wrong = user();
    wrong.file(".kmi/kmi.config.toml", "[client]\nmodel = \"sk-abcdefghijklmnop0123\"\n");
    for (user, what) in [(exposed, "the key other"), (wrong, "something that looks like a key")] {
        let run = user.run("-q doctor --bundle report.json");
        assert_eq!(run.code, 1);
        let error = format!("error: {what} would stand in the bundle; nothing was written\n");
        assert!(run.err.starts_with(&error), "{}", run.err);
        assert!(!user.path("work/report.json").exists());
    }
}
