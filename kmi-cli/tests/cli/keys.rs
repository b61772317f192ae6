//! `kmi keys …`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::{
    kmi::{Run, User, mode},
    proxy::{Proxy, Upstream, eventually},
};

const SECRET: &str = "sk-secret-of-mine-4711";

/// Runs with this on standard input; nothing that is printed may hold it.
fn told(user: &User, args: &str, input: &str) -> Run {
    let mut command = user.command(args);
    command.write_stdin(input);
    let run = user.finish(command);
    assert!(!format!("{}{}", run.out, run.err).contains(SECRET), "{}", run.told());
    run
}

#[test]
fn a_key_is_added_and_listed() {
    let user = User::new();
    let run = told(&user, "keys add work", &format!("{SECRET}\r\n")).good();
    insta::assert_snapshot!(run.told(), @"
    0
    --- out
    --- err
    work (sk-…4711) is stored in ~/.kmi/_auths/work.toml
    ");
    let file = user.path(".kmi/_auths/work.toml");
    assert_eq!(mode(&file), 0o600);
    assert!(fs::read_to_string(file).unwrap().contains(SECRET));
    user.file(".kmi/_auths/other.env", "KMI_API_KEY=sk-other-0815\nKMI_KEY_ACCOUNT=home\n");
    let list = told(&user, "keys list", "").good();
    let id = |at: usize| user.run("keys --json").json()[at]["key"].as_str().unwrap().to_owned();
    insta::assert_snapshot!(list.told().replace(&id(0), "k-00000000").replace(&id(1), "k-00000001"), @"
    0
    --- out
    label  id          key       upstream  account  state
    other  k-00000000  sk-…0815  kimi      home     healthy
    work   k-00000001  sk-…4711  kimi               healthy
    --- err
    ");
    for args in ["keys --json", "status", "status --json", "-vv keys"] {
        told(&user, args, "").good();
    }
}

#[test]
fn without_keys_the_list_says_so() {
    let run = User::new().run("keys").good();
    assert_eq!(run.out, "no keys yet: add one with `kmi keys add LABEL`\n");
    assert_eq!(User::new().run("keys --json").good().out, "[]\n");
}

#[test]
fn what_is_no_key_is_refused() {
    let user = User::new();
    insta::assert_snapshot!(told(&user, "keys add work", "").told(), @"
    2
    --- out
    --- err
    error: the key is empty
    hint: paste the key as Kimi's console shows it
    ");
    assert_eq!(told(&user, "keys add work", "short\n").code, 2);
    assert_eq!(told(&user, "keys add work", &format!("{SECRET} {SECRET}\n")).code, 2);
    assert_eq!(told(&user, "keys add", "").code, 2);
    // A key is no argument.
    insta::assert_snapshot!(told(&user, &format!("keys add work {SECRET}"), "").told(), @"
    2
    --- out
    --- err
    error: `kmi keys add` takes a label and nothing after it
    hint: leave the key out: it is asked for without being shown, or read from standard input
    ");
    assert!(fs::read_dir(user.path(".kmi/_auths")).unwrap().next().is_none());
}

#[test]
fn a_label_that_is_a_key_is_refused() {
    let user = User::new();
    insta::assert_snapshot!(told(&user, &format!("keys add {SECRET}"), SECRET).told(), @"
    2
    --- out
    --- err
    error: a key stands in the label, and labels are shown
    hint: choose a short name such as `work`; the key is asked for, or read from standard input
    ");
    assert!(!user.path(".kmi").exists(), "nothing was made");
    // No provider's key begins so, but it is the key that is to be stored.
    let same = told(&user, "keys add of-4711-mine", "4711-mine");
    assert_eq!((same.code, &same.err[..42]), (2, "error: a key stands in the label, and labe"));
    told(&user, "keys add work", "an-odd-key-0815").good();
    user.file(".kmi/.env", "KMI_API_KEY_OTHER=another-key-0816\n");
    for label in ["an-odd-key-0815", "x-another-key-0816"] {
        let run = user.run(&format!("keys add {label}"));
        assert_eq!(run.code, 2, "{}", run.told());
        assert!(!run.told().contains("-key-08"), "{}", run.told());
    }
    // Too long for a label.
    let long = format!("{SECRET}{}", "0".repeat(64));
    for args in ["add", "remove --yes", "enable", "test"] {
        told(&user, &format!("keys {args} {long}"), "");
        told(&user, &format!("keys {args} {SECRET}"), "");
    }
    let files = fs::read_dir(user.path(".kmi/_auths")).unwrap();
    assert_eq!(files.count(), 1);
}

#[test]
fn one_key_is_read_from_standard_input() {
    let user = User::new();
    insta::assert_snapshot!(told(&user, "keys add work", &format!("{SECRET}\n{SECRET}x\n")).told(), @"
    2
    --- out
    --- err
    error: standard input has more than one line
    hint: give one key on one line; a second one gets a label of its own
    ");
    assert!(fs::read_dir(user.path(".kmi/_auths")).unwrap().next().is_none());
    told(&user, "keys add work", &format!("\n{SECRET}\r\n\n")).good();
}

#[test]
fn a_label_names_no_other_directory() {
    let user = User::new();
    told(&user, "keys add ../../work", SECRET).good();
    let files = fs::read_dir(user.path(".kmi/_auths")).unwrap();
    assert_eq!(files.count(), 1);
    assert_eq!(told(&user, "keys --json", "").json()[0]["label"], "../../work");
}

#[test]
fn labels_and_keys_are_unique() {
    let user = User::new();
    told(&user, "keys add work", SECRET).good();
    insta::assert_snapshot!(told(&user, "keys add work", "sk-another-one").told(), @"
    1
    --- out
    --- err
    error: there is a key called `work` already
    hint: choose another label, or remove that key with `kmi keys remove`
    ");
    let twice = told(&user, "keys add home", SECRET);
    assert_eq!(twice.code, 1);
    assert!(twice.err.contains("is there already, as `work`"), "{}", twice.err);
}

#[test]
fn a_key_is_removed_with_its_file() {
    let user = User::new();
    told(&user, "keys add work", SECRET).good();
    insta::assert_snapshot!(user.run("keys remove work").told(), @"
    2
    --- out
    --- err
    error: removing a key needs a confirmation
    hint: repeat it with `--yes`
    ");
    assert!(user.path(".kmi/_auths/work.toml").exists());
    insta::assert_snapshot!(user.run("keys remove work --yes").told(), @"
    0
    --- out
    --- err
    work is gone with ~/.kmi/_auths/work.toml
    ");
    assert!(!user.path(".kmi/_auths/work.toml").exists());
    assert_eq!(user.run("keys remove work --yes").code, 1);
}

#[test]
fn a_key_is_switched_off_and_on() {
    let upstream = Upstream::healthy(3);
    let user = upstream.user();
    user.run("-q auto on").good();
    let run = user.run("keys disable k2").good();
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", "k2 serves no more\n"));
    let proxy = Proxy::start(&user);
    assert_eq!(proxy.keys(3), ["k1", "k3", "k1"], "it outlives the start");
    assert_eq!(user.run("keys enable k2").good().err, "k2 serves again\n");
    assert_eq!(proxy.keys(3), ["k2", "k3", "k1"]);
    user.run("keys disable k1").good();
    assert_eq!(proxy.keys(3), ["k2", "k3", "k2"]);
    assert_eq!(user.run("keys --json").json()[0]["state"], "disabled");
    assert_eq!(user.run("keys disable k9").code, 1);
}

#[test]
fn a_key_that_its_file_disables_stays_so() {
    let user = User::new();
    user.file(".kmi/_auths/off.toml", &format!("api_key = \"{SECRET}\"\ndisabled = true\n"));
    let refused = told(&user, "keys enable off", "").told();
    insta::assert_snapshot!(refused, @"
    1
    --- out
    --- err
    error: `off` stays disabled: its file says so
    hint: take `disabled` out of ~/.kmi/_auths/off.toml
    ");
    let _proxy = Proxy::start(&user);
    assert_eq!(told(&user, "keys enable off", "").told(), refused);
}

#[test]
fn a_new_key_serves_without_a_restart() {
    let upstream = Upstream::healthy(3);
    let user = upstream.user();
    fs::remove_file(user.path(".kmi/_auths/k3.key")).unwrap();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    assert_eq!(proxy.keys(3), ["k1", "k2", "k1"]);
    let start = std::time::Instant::now();
    user.file(".kmi/_auths/k3.key", &upstream.stand_in.scenario().keys[2].secret);
    eventually("the new key serves", || proxy.chat().header("x-kmi-key") == "k3");
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    eventually("it is told", || Proxy::said(&user).contains("reloaded: 3 keys"));
    user.run("keys remove k1 --yes").good();
    let keys = proxy.keys(4);
    assert!(!keys.contains(&"k1".to_owned()), "a command takes effect at once: {keys:?}");
}

#[test]
fn a_broken_file_costs_only_its_own_key() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    user.file(".kmi/_auths/broken.toml", &format!("label = \"x\"\napi_key = \"{SECRET}\n"));
    user.file(".kmi/_auths/typo.toml", &format!("api_key = \"{SECRET}\"\nlabl = \"x\"\n"));
    user.file(".kmi/_auths/open.key", SECRET);
    let open = user.path(".kmi/_auths/open.key");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let run = told(&user, "keys list", "").good();
    let rows: Vec<_> = run.out.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(rows, ["label", "k1", "k2"]);
    let said = |what: &str, hint: &str| {
        let mut lines = run.err.lines();
        let found = lines.any(|line| line.starts_with(&format!("warning: ~/.kmi/_auths/{what}")));
        assert!(found, "{what}: {}", run.err);
        let next = lines.next().unwrap();
        assert!(next.starts_with("hint: ") && next.contains(hint), "{next}");
    };
    said("broken.toml:2: ", "");
    said("typo.toml:2: ", "label");
    said("open.key: ", "chmod 600 ~/.kmi/_auths/open.key");
    let proxy = Proxy::start(&user);
    assert_eq!(proxy.chat().status, 200);
    assert!(Proxy::said(&user).contains("typo.toml:2: "), "{}", Proxy::said(&user));
    assert!(!Proxy::said(&user).contains(SECRET));
}

#[test]
fn a_test_asks_the_provider_about_each_key() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    user.file(".kmi/_auths/wrong.key", SECRET);
    let run = told(&user, "keys test", "");
    assert_eq!(run.code, 1, "one of them does not work: {}", run.err);
    let rows: Vec<&str> = run.out.lines().collect();
    assert!(rows[1].starts_with("k1 ") && rows[1].ends_with(" yes"), "{}", run.out);
    assert!(rows[3].starts_with("wrong ") && rows[3].contains("no: refused: "), "{}", run.out);
    assert!(!run.out.contains(SECRET), "{}", run.out);
    told(&user, "keys test k2", "").good();
    assert_eq!(told(&user, "keys test nobody", "").code, 1);

    let refreshed = || {
        let run = told(&user, "status --refresh --json", "").good();
        let keys = run.json()["keys"].clone();
        assert!(keys[0]["quota"]["remaining_ratio"].is_number(), "{keys}");
        assert_eq!(keys[2]["reason"], "auth_failed", "{keys}");
        assert!(run.err.contains("wrong: refused: "), "{}", run.err);
    };
    refreshed();
    let _proxy = Proxy::start(&user);
    refreshed();
}

#[test]
fn a_key_behind_a_link_is_not_removed() {
    let user = User::new();
    user.file("elsewhere.key", SECRET);
    fs::create_dir_all(user.path(".kmi/_auths")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere.key", user.path(".kmi/_auths/l.key")).unwrap();
    insta::assert_snapshot!(told(&user, "keys remove l --yes", "").told(), @"
    1
    --- out
    --- err
    error: ~/.kmi/_auths/l.key is a symbolic link, which kmi does not remove
    hint: remove the link by hand: rm ~/.kmi/_auths/l.key (the key stays where it points)
    ");
}

#[test]
fn a_file_in_place_of_the_key_directory_is_told() {
    let user = User::new();
    user.file(".kmi/_auths", "");
    insta::assert_snapshot!(told(&user, "keys add work", SECRET).told(), @"
    1
    --- out
    --- err
    error: cannot make the directory ~/.kmi/_auths: File exists (os error 17)
    hint: a file is in its place: move it away, or choose another directory
    ");
}
