//! `kmi keys import`.

use std::fs;

use crate::{
    kmi::{Run, User, mode},
    proxy::{Proxy, Upstream},
};

const CLIENT: &str = r#"
default_model = "k"
[providers.work]
type = "kimi"
base_url = "https://api.kimi.com/coding/v1"
api_key = "sk-from-client-0001"
[providers.login]
type = "kimi"
base_url = "https://api.kimi.com/coding/v1"
api_key = ""
[providers.other]
type = "openai"
base_url = "https://api.example.com/v1"
api_key = "sk-of-somebody-else"
"#;

fn labels(user: &User) -> Vec<String> {
    let keys = user.run("keys --json").good().json();
    keys.as_array().unwrap().iter().map(|key| key["label"].as_str().unwrap().into()).collect()
}

/// No whole key is ever printed.
fn told(run: &Run) -> String {
    for secret in ["sk-from-client-0001", "sk-of-somebody-else", "sk-old-key-00000001"] {
        assert!(!format!("{}{}", run.out, run.err).contains(secret), "{}", run.told());
    }
    run.told()
}

#[test]
fn what_would_be_taken_is_shown_and_asked_for() {
    let user = User::new();
    user.file(".kimi/config.toml", CLIENT);
    let run = user.run("keys import");
    insta::assert_snapshot!(told(&run), @"
    2
    --- out
    label  key       upstream  from
    work   sk-…0001  kimi      ~/.kimi/config.toml:6
    --- err
    warning: ~/.kimi/config.toml:14: this provider is not Kimi, its key is left alone
    hint: to use it all the same, add an [upstream.NAME] with the provider's base_url
    error: importing keys needs a confirmation
    hint: repeat it with `--yes`
    ");
    assert!(!user.path(".kmi").exists(), "nothing was taken, nothing was made");
}

#[test]
fn keys_of_a_client_are_taken_once() {
    let user = User::new();
    user.file(".kimi/config.toml", CLIENT);
    let run = user.run("keys import --yes").good();
    insta::assert_snapshot!(told(&run), @"
    0
    --- out
    label  key       upstream  from
    work   sk-…0001  kimi      ~/.kimi/config.toml:6
    --- err
    warning: ~/.kimi/config.toml:14: this provider is not Kimi, its key is left alone
    hint: to use it all the same, add an [upstream.NAME] with the provider's base_url
    work is stored in ~/.kmi/_auths/work.toml
    ");
    assert_eq!(labels(&user), ["work"]);
    assert_eq!(mode(&user.path(".kmi/_auths/work.toml")), 0o600);
    let again = user.run("keys import --yes").good();
    assert!(again.err.contains("is there already, as work\nnothing is new\n"), "{}", again.told());
    let json = user.run("-q keys import --yes --json").good().json();
    assert_eq!(json["imported"].as_array().unwrap().len(), 0);
    assert_eq!(json["known"][0]["masked"], "sk-…0001");
}

#[test]
fn the_environment_is_looked_through_but_for_the_token() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user_without_keys();
    let import = |kimi: &str, moonshot: &str| {
        let mut command = user.command("keys import --yes");
        command.env("KIMI_API_KEY", kimi).env("MOONSHOT_API_KEY", moonshot);
        user.finish(command)
    };
    let run = import("sk-demo-key-0001", "sk-demo-key-0002").good();
    assert!(
        run.err.contains("warning: environment MOONSHOT_API_KEY: no upstream is of kind"),
        "{}",
        run.err
    );
    assert_eq!(labels(&user), ["kimi", "moonshot"]);
    let token = fs::read_to_string(user.path(".kmi/state/token")).unwrap();
    let run = import(token.trim(), "");
    assert_eq!(run.code, 1, "{}", run.told());
}

#[test]
fn a_key_of_the_open_platform_goes_to_its_upstream() {
    let user = User::new();
    user.file(
        ".kmi/kmi.config.toml",
        "[upstream.kimi]\n[upstream.moon]\nbase_url = \"https://api.moonshot.ai/v1\"\nkind = \"open-platform\"\n",
    );
    let mut command = user.command("keys import --yes");
    command.env("MOONSHOT_API_KEY", "sk-old-key-00000001");
    let run = user.finish(command).good();
    assert!(!run.err.contains("warning"), "{}", told(&run));
    assert_eq!(user.run("keys --json").json()[0]["upstream"], "moon");
}

#[test]
fn a_directory_of_the_predecessor_is_taken_with_all_that_it_says() {
    let user = User::new();
    user.file(".kmi/_auths/old.key", "sk-here-already-1");
    user.file("_auths/old.env", "KMI_API_KEY=sk-old-key-00000001\nKMI_KEY_PRIORITY=2\nKMI_KEY_ACCOUNT=a\nKMI_KEY_DISABLED=true\n");
    user.file("_auths/twice.key", "sk-old-key-00000001");
    user.file("_auths/command.toml", "api_key_cmd = [\"touch\", \"ran\"]\n");
    let run = user.run("keys import ../_auths --yes").good();
    insta::assert_snapshot!(told(&run), @"
    0
    --- out
    label  key       upstream  from
    old-2  sk-…0001  kimi      ../_auths/old.env
    --- err
    warning: ../_auths/command.toml:1: it only says where the key is, which is not looked up
    hint: copy the file itself, if that is right here too: cp FILE ~/.kmi/_auths
    warning: ../_auths/twice.key:1: the same key as `old` of ../_auths/old.env; it is used once
    hint: remove one of the two
    old-2 is stored in ~/.kmi/_auths/old-2.toml
    ");
    assert!(!user.path("work/ran").exists(), "a file's program was run");
    let rows = user.run("keys --json").good().json();
    assert_eq!(rows[1]["label"], "old-2", "{rows}");
    assert_eq!((&rows[1]["priority"], &rows[1]["account"]), (&2.into(), &"a".into()));
    assert_eq!(rows[1]["state"], "disabled");
    let kept = fs::read_to_string(user.path(".kmi/_auths/old.key")).unwrap();
    assert_eq!(kept, "sk-here-already-1");
}

#[test]
fn a_dotenv_gives_only_what_is_meant_for_kimi() {
    let user = User::new();
    user.file(
        "app/.env",
        "DEBUG=$x\nOPENAI_API_KEY=sk-of-somebody-else\nKIMI_API_KEY='sk-old-key-00000001'\nKMI_API_KEY_HOME=sk-from-client-0001\n",
    );
    let run = user.run("keys import ../app/.env --yes").good();
    assert_eq!(run.err.lines().count(), 2, "{}", told(&run));
    assert_eq!(labels(&user), ["HOME", "kimi"]);
}

#[test]
fn what_holds_no_key_is_an_error() {
    let user = User::new();
    insta::assert_snapshot!(user.run("keys import").told(), @"
    1
    --- out
    --- err
    error: no key was found that could be taken
    hint: name a file or a directory: kmi keys import PATH
    ");
    insta::assert_snapshot!(user.run("keys import nothing").told(), @"
    2
    --- out
    --- err
    error: there is no nothing
    hint: check the spelling
    ");
    user.file("work/notes.txt", "");
    insta::assert_snapshot!(user.run("keys import notes.txt").told(), @"
    1
    --- out
    --- err
    warning: notes.txt: this is no file that keys are known to stand in
    hint: key files end in .env, .toml, .json or .key
    error: no key was found that could be taken
    hint: name a file or a directory: kmi keys import PATH
    ");
}

#[test]
fn a_running_proxy_serves_with_it_at_once() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    fs::remove_file(user.path(".kmi/_auths/k2.key")).unwrap();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    user.file("found.key", &upstream.stand_in.scenario().keys[1].secret);
    user.run("keys import ../found.key --yes").good();
    let keys = proxy.keys(2);
    assert!(keys.contains(&"found".to_owned()), "{keys:?}");
}
