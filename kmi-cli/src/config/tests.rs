mod mutations;

use std::fs;

use super::*;
use crate::args::{Cli, Command};

const EXAMPLE: &str = include_str!("../../../kmi.config.toml.example");
const DOTENV_EXAMPLE: &str = include_str!("../../../.env.example");

/// A home with these files, loaded with these variables and options.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(self, name: &str, content: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn load_with(&self, env: &[(&str, &str)], line: &str) -> Result<Config, ConfigError> {
        let args = ["kmi", "--home", self.dir.path().to_str().unwrap()];
        let args = args.into_iter().chain(line.split_whitespace()).map(Into::into);
        let cli = Cli::parse_from(args).unwrap();
        let flags = match cli.command {
            Some(Command::Serve(args)) => args
                .listen
                .map(|value| Flag { key: "proxy.listen", option: "--listen", value })
                .into_iter()
                .collect(),
            _ => Vec::new(),
        };
        load(cli.global.given(&flags), &env.iter().copied().collect())
    }

    fn load(&self) -> Config {
        self.load_with(&[], "").unwrap()
    }

    /// Every problem and its hint, without the path of this test.
    fn problems(&self, env: &[(&str, &str)], line: &str) -> String {
        let error = self.load_with(env, line).unwrap_err();
        let told: Vec<String> =
            error.problems.iter().map(|p| format!("{p}\n  {}", p.remedy())).collect();
        told.join("\n").replace(self.dir.path().to_str().unwrap(), "HOME")
    }
}

fn toml(text: &str) -> Place {
    Place::new().file("kmi.config.toml", text)
}

fn value_and_origin(config: &Config, key: &str) -> String {
    let row = config.rows.iter().find(|row| row.key == key).unwrap();
    let origin = row.origin.to_string();
    let root = format!("{}/", config.home.root().display());
    format!("{} ({})", row.value, origin.replace(&root, ""))
}

fn values(config: &Config) -> Vec<(String, serde_json::Value)> {
    config.rows.iter().map(|row| (row.key.clone(), row.value.clone())).collect()
}

/// The example with its commented settings set.
fn everything() -> String {
    let set = |line| match str::strip_prefix(line, "# ") {
        Some(rest) if rest.split(' ').nth(1) == Some("=") && !rest.contains('`') => rest,
        _ => line,
    };
    EXAMPLE.lines().map(set).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_the_defaults_and_complete() {
    let defaults = Place::new().load();
    let example = toml(EXAMPLE).load();
    assert_eq!(values(&example), values(&defaults));
    // As a file with everything set, it must still be right, and it must speak of every key.
    let everything = toml(&everything()).load();
    for row in &everything.rows {
        assert!(matches!(row.origin, Origin::File { .. }), "{} is not in the example", row.key);
    }
}

#[test]
fn the_example_of_variables_is_the_defaults() {
    let defaults = Place::new().load();
    let example = Place::new().file(".env", DOTENV_EXAMPLE).load();
    assert_eq!(values(&example), values(&defaults));
    assert!(example.warnings.is_empty(), "{:?}", example.warnings);
    assert!(example.rows.iter().any(|row| matches!(row.origin, Origin::DotEnv { .. })));
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let place = toml("[rotation]\nmax_attempts = 4\nmode = \"auto\"\n")
        .file(".env", "KMI_ROTATION_MAX_ATTEMPTS=5\nKMI_PROXY_LISTEN=127.0.0.1:5\n");
    let env = [("KMI_ROTATION_MAX_ATTEMPTS", "6"), ("KMI_PROXY_LISTEN", "127.0.0.1:6")];
    let show = |env, line, key| value_and_origin(&place.load_with(env, line).unwrap(), key);
    let attempts = "rotation.max_attempts";
    assert_eq!(show(&[], "", "rotation.mode"), "\"auto\" (kmi.config.toml:3)");
    assert_eq!(show(&[], "", attempts), "5 (.env:1 KMI_ROTATION_MAX_ATTEMPTS)");
    assert_eq!(show(&env, "", attempts), "6 (environment KMI_ROTATION_MAX_ATTEMPTS)");
    assert_eq!(show(&env, "--set rotation.max_attempts=7", attempts), "7 (command line --set)");
    assert_eq!(
        show(&env, "serve --listen 127.0.0.1:7", "proxy.listen"),
        "\"127.0.0.1:7\" (command line --listen)"
    );
    assert_eq!(show(&env, "", "rotation.failover"), "true (default)");
}

#[test]
fn json_is_as_good_as_toml() {
    let place = Place::new().file("kmi.config.json", "{\"rotation\": {\n\"mode\": \"auto\"}}");
    assert_eq!(value_and_origin(&place.load(), "rotation.mode"), "\"auto\" (kmi.config.json:2)");
    let both = place.file("kmi.config.toml", "");
    insta::assert_snapshot!(both.problems(&[], ""), @"
    HOME/kmi.config.toml and kmi.config.json exist both
      remove one of them, or name one with `--config FILE`
    ");
}

#[test]
fn paths_are_below_the_home() {
    let place = toml("[keys]\ndir = \"k\"\n[upstream.kimi]\nca_file = \"ca.pem\"\n");
    let config = place.load_with(&[("KMI_STATE_DIR", "/var/kmi")], "").unwrap();
    let root = place.dir.path();
    assert_eq!(config.settings.keys_dir, root.join("k"));
    assert_eq!(config.home.auths_dir(), root.join("k"));
    assert_eq!(config.home.token_file(), Path::new("/var/kmi/token"));
    assert_eq!(config.settings.upstreams[0].ca_file, Some(root.join("ca.pem")));
    let config = place.load_with(&[("KMI_AUTHS_DIR", "/keys")], "").unwrap();
    assert_eq!(config.settings.keys_dir, Path::new("/keys"));
}

#[test]
fn the_default_upstream_comes_first() {
    let text = "[upstream.a]\nbase_url = \"https://a/v1/\"\n[upstream.b-c]\n\
                base_url = \"https://b\"\nkind = \"open-platform\"\ndefault = true\n";
    let env = [("KMI_UPSTREAM_B_C_IDLE_TIMEOUT", "1m"), ("KMI_UPSTREAM_BASE_URL", "https://x")];
    let config = toml(text).load_with(&env, "").unwrap();
    let told: Vec<String> = config
        .settings
        .upstreams
        .iter()
        .map(|u| format!("{} {} {:?} {:?}", u.name, u.base_url, u.kind, u.idle_timeout))
        .collect();
    assert_eq!(told, ["b-c https://x OpenPlatform 60s", "a https://a/v1 KimiCode 280s"]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = "[proxy]\nlisten = \"0.0.0.0:1\"\nbase_path = \"kmi/\"\nmax_connections = 0\n\
                drain_timeout = 30\n[rotation]\nmax_attempts = \"3\"\nmode = \"atuo\"\n\
                [upstream.kimi]\nbase_url = \"http://api.kimi.com/v1\"\nconnect_timeout = \"0s\"\n\
                [upstream.work]\nkind = \"openai\"\nanthropic_base_url = \"https://h/v1\"\n\
                [trace]\nretention = \"0\"\n[health]\nfailure_rate = 2\nfailure_run = 0\n\
                quota_poll = \"0s\"\nmax_cooldown = \"2h\"\nslow_factor = 1.0\n";
    insta::assert_snapshot!(toml(text).problems(&[("KMI_ROTATION_MAX_WAIT", "1y")], ""), @r#"
    HOME/kmi.config.toml:5: `proxy.drain_timeout`: expected a time such as "500ms", "30s", "10m" or "1h", found `30`
      for example proxy.drain_timeout = "30s"
    HOME/kmi.config.toml:8: `rotation.mode`: expected "manual" or "auto", found "atuo"
      for example rotation.mode = "manual"
    HOME/kmi.config.toml:7: `rotation.max_attempts`: expected a whole number from 1, found "3"
      for example rotation.max_attempts = 3
    environment KMI_ROTATION_MAX_WAIT: `rotation.max_wait`: expected a time such as "500ms", "30s", "10m" or "1h", found `1y`
      for example rotation.max_wait = "10s"
    HOME/kmi.config.toml:19: `health.failure_run`: expected a whole number from 1, found `0`
      for example health.failure_run = 5
    HOME/kmi.config.toml:18: `health.failure_rate`: expected a number from 0 to 1, found `2`
      for example health.failure_rate = 0.5
    HOME/kmi.config.toml:20: `health.quota_poll`: expected a time such as "500ms", "30s", "10m" or "1h", more than 0, found "0s"
      for example health.quota_poll = "5m"
    HOME/kmi.config.toml:2: `proxy.listen` is not a loopback address: other machines could use your keys
      listen on 127.0.0.1, or set proxy.allow_remote = true if that is meant
    HOME/kmi.config.toml:3: `proxy.base_path` is not a path such as "/kmi-rotor"
      begin with `/`, do not end with it, and use letters, digits, `-`, `_`, `.` and `~`
    HOME/kmi.config.toml:4: `proxy.max_connections` must be at least 1
      the default is 1024
    HOME/kmi.config.toml:21: `health.max_cooldown` must be at most 1h
      only a reset time that the provider names may block a key for longer
    HOME/kmi.config.toml:22: `health.slow_factor` must be more than 1
      the default is 4.0
    HOME/kmi.config.toml:16: `trace.retention` must be more than 0
      the default is "1GiB"
    HOME/kmi.config.toml:11: `upstream.kimi.connect_timeout`: expected a time such as "500ms", "30s", "10m" or "1h", more than 0, found "0s"
      for example upstream.kimi.connect_timeout = "10s"
    HOME/kmi.config.toml:10: `upstream.kimi.base_url` would send keys in the clear; write https://
      an upstream is https://HOST/PATH, or http:// on this machine only
    HOME/kmi.config.toml:13: the upstream `work` has no base_url
      write base_url = "https://…" below [upstream.work], or remove the upstream
    HOME/kmi.config.toml:14: `upstream.work.anthropic_base_url` ends in /v1
      write it without /v1, which requests bring along
    "#);
}

#[test]
fn upstreams_must_be_clear() {
    let two = "[upstream.a]\nbase_url = \"https://a\"\ndefault = true\n\
               [upstream.A]\nbase_url = \"http://localhost:54123/v1\"\ndefault = true\n\
               [upstream.c]\n";
    insta::assert_snapshot!(toml(two).problems(&[], ""), @r#"
    HOME/kmi.config.toml:7: [upstream.c] has no base_url
      write base_url = "https://…" below it, or remove it
    HOME/kmi.config.toml:6: `a` and `A` are both the default upstream
      write default = true for one of them only
    HOME/kmi.config.toml:5: the upstreams `a` and `A` have the same variables
      give one of them a name that differs in more than case, `-` and `_`
    HOME/kmi.config.toml:5: `upstream.A.base_url` is kmi itself (127.0.0.1:54123)
      write the address of the provider, or change proxy.listen
    "#);
    let two = two.replace("[upstream.c]\n", "");
    insta::assert_snapshot!(toml(&two).problems(&[], ""), @"
    HOME/kmi.config.toml:6: `a` and `A` are both the default upstream
      write default = true for one of them only
    HOME/kmi.config.toml:5: the upstreams `a` and `A` have the same variables
      give one of them a name that differs in more than case, `-` and `_`
    HOME/kmi.config.toml:5: `upstream.A.base_url` is kmi itself (127.0.0.1:54123)
      write the address of the provider, or change proxy.listen
    ");
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    let key = "sk-kimi-0123456789abcdef";
    let text =
        format!("{key} = 1\n[keys]\n\"{key}\" = \"work\"\n[upstream.{key}]\nkind = \"openai\"\n");
    insta::assert_snapshot!(toml(&text).problems(&[], &format!("--set {key}")), @"
    HOME/kmi.config.toml:1: unknown key `sk-…`
      `kmi config show` lists every key
    HOME/kmi.config.toml:3: unknown key `keys.sk-…`
      `kmi config show` lists every key
    HOME/kmi.config.toml:4: `sk-…` cannot be the name of an upstream
      use letters, digits, `-` and `_`, as in [upstream.kimi]
    command line --set: `sk-…` is no KEY=VALUE
      for example `--set rotation.max_attempts=5`
    ");
    for text in [format!("\"{key}\""), format!("{{\"{key}\": 1,\n\"{key}\": 1}}")] {
        let told = Place::new().file("kmi.config.json", &text).problems(&[], "");
        assert!(told.contains("`sk-…`") || told.contains("\"sk-…\""), "{told}");
        assert!(!told.contains(key), "{told}");
    }
}

#[test]
fn options_are_checked_like_everything() {
    let place = Place::new();
    insta::assert_snapshot!(
        place.problems(&[], "--set proxy.lisen=1 --set x --set proxy.listen=nowhere"), @r#"
    command line --set: unknown key `proxy.lisen`
      did you mean `proxy.listen`?
    command line --set: `x` is no KEY=VALUE
      for example `--set rotation.max_attempts=5`
    command line --set: `proxy.listen`: expected an address and a port such as "127.0.0.1:54123", found `nowhere`
      for example proxy.listen = "127.0.0.1:54123"
    "#
    );
    insta::assert_snapshot!(place.problems(&[], "serve --listen 0.0.0.0:1"), @"
    command line --listen: `proxy.listen` is not a loopback address: other machines could use your keys
      listen on 127.0.0.1, or set proxy.allow_remote = true if that is meant
    ");
    let missing = place.problems(&[], "--config none.toml");
    assert!(missing.starts_with("cannot read /") && missing.contains("/none.toml: "), "{missing}");
}

#[test]
fn keys_of_the_environment_win_over_those_of_the_file() {
    let place =
        Place::new().file(".env", "KMI_API_KEY_A=sk-file-0001\nKMI_API_KEY_B=sk-file-0002\n");
    let config = place.load_with(&[("KMI_API_KEY_A", "sk-proc-0003")], "").unwrap();
    let told: Vec<String> = config
        .env_keys
        .iter()
        .map(|key| format!("{} {} {:?}", key.name, key.value.as_str(), key.line))
        .collect();
    assert_eq!(told, ["B sk-file-0002 Some(2)", "A sk-proc-0003 None"]);
    let shown = format!("{config:?}");
    assert!(!shown.contains("sk-file") && !shown.contains("sk-proc"));
}

#[test]
fn the_password_of_the_fleet_is_not_shown() {
    let config = toml("[fleet]\nurl = \"redis://:hunter2@host\"\n").load();
    assert_eq!(value_and_origin(&config, "fleet.url"), "\"redis://…@host\" (kmi.config.toml:2)");
    assert!(!format!("{config:?}").contains("hunter2"));
    let wrong = toml("[fleet]\nurl = \"redis://:hunter2@host\\u0007\"\n").problems(&[], "");
    assert!(wrong.contains("fleet.url") && !wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn the_home_is_the_option_the_variable_or_the_usual_place() {
    let env: Environment = [("KMI_HOME", "/k"), ("HOME", "/u")].into_iter().collect();
    let root = |option: Option<&str>, env: &Environment| {
        locate_home(option.map(Path::new), env).unwrap().root().to_owned()
    };
    assert_eq!(root(Some("/o"), &env), Path::new("/o"));
    assert_eq!(root(None, &env), Path::new("/k"));
    let env: Environment = [("KMI_HOME", ""), ("HOME", "/u")].into_iter().collect();
    assert_eq!(root(None, &env), Path::new("/u/.kmi"));
    let none: Environment = std::iter::empty::<(&str, &str)>().collect();
    assert!(locate_home(None, &none).is_err());
}

#[test]
fn what_lies_around_here_is_pointed_out() {
    let here = Place::new().file(".env", "").file("kmi.config.toml", "");
    fs::create_dir(here.dir.path().join("_auths")).unwrap();
    let elsewhere = Place::new().load();
    insta::assert_snapshot!(unused_here(&elsewhere, here.dir.path()).unwrap(), @"not used here: ./_auths, ./.env, ./kmi.config.toml; `--home .` uses this directory as kmi's home");
    assert_eq!(unused_here(&here.load(), here.dir.path()), None);
    assert_eq!(unused_here(&elsewhere, Place::new().dir.path()), None);
    let named = here.dir.path().join("kmi.config.toml");
    let config = Place::new().load_with(&[], &format!("--config {}", named.display())).unwrap();
    let hint = unused_here(&config, here.dir.path()).unwrap();
    assert!(!hint.contains("kmi.config.toml") && hint.contains(".env"), "{hint}");
}
