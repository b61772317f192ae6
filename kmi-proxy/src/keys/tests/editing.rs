use kmi_core::{
    inventory::Limits,
    key::{ApiKey, Label},
};

use super::*;
use crate::keys::{EditError, NewKey, add, remove};

fn added(home: &Home, label: &str, key: &str, more: &NewKey) -> Result<String, EditError> {
    let (label, key) = (Label::parse(label).unwrap(), ApiKey::parse(key).unwrap());
    let path = add(&home.sources.dir, &label, &key, more)?;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    Ok(path.strip_prefix(&home.sources.dir).unwrap().display().to_string())
}

fn names(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(&home.sources.dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_added_key_is_loaded_as_it_was_given() {
    let home = Home::new();
    fs::remove_dir(&home.sources.dir).unwrap();
    let more = NewKey {
        upstream: Some("open".into()),
        account: Some("me \"and\" you".into()),
        priority: -2,
        weight: Some(3),
        tags: vec!["a'b".into(), "c".into()],
        disabled: true,
        limits: Limits { rpm: Some(1), tpm: Some(2), concurrency: Some(3) },
    };
    assert_eq!(added(&home, "work", "sk-\"'\\$-test", &more).unwrap(), "work.toml");
    let key = home.only_key();
    assert_eq!(shown(&key), "work=sk-\"'\\$-test");
    assert_eq!((key.priority, key.weight, key.disabled), (-2, 3, true));
    assert_eq!((&*key.upstream, key.account.as_deref()), ("open", Some("me \"and\" you")));
    assert_eq!((key.tags.clone(), key.limits), (more.tags, more.limits));
    assert_eq!(names(&home), ["work.toml"], "no draft is left");
    assert_eq!(fs::metadata(&home.sources.dir).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_label_that_is_no_safe_file_name_gets_one() {
    let home = Home::new();
    for (n, (label, file)) in [
        ("../../etc/passwd", "key-etc-passwd.toml"),
        ("/", "key.toml"),
        ("keys", "key-keys.toml"),
        ("config", "key-config.toml"),
        (".hidden", "key-hidden.toml"),
        ("-rf", "key-rf.toml"),
        ("README", "key-README.toml"),
        ("my key", "key-my-key.toml"),
        ("my/key", "key-my-key-2.toml"),
        ("schlüssel", "key-schl-ssel.toml"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("sk-test-{n}");
        assert_eq!(added(&home, label, &key, &NewKey::default()).unwrap(), file);
        assert!(home.keys().contains(&format!("{label}={key}")));
    }
    assert_eq!(home.problems(), "");
}

#[test]
fn adding_never_overwrites() {
    let home = Home::with(&[("work.toml", "api_key = 'sk-test-old'")]);
    let error = added(&home, "work", "sk-test-new", &NewKey::default()).unwrap_err();
    assert!(matches!(&error, EditError::Exists(path) if *path == home.path("work.toml")));
    std::os::unix::fs::symlink("/nonexistent/x", home.path("spare.toml")).unwrap();
    let error = added(&home, "spare", "sk-test-new", &NewKey::default()).unwrap_err();
    assert!(matches!(error, EditError::Exists(_)), "a link to nothing is not followed");
    assert_eq!(home.keys(), ["work=sk-test-old"]);
    assert_eq!(names(&home), ["spare.toml", "work.toml"]);
}

#[test]
fn a_file_that_holds_one_key_is_removed() {
    for (name, text) in [
        ("a.env", "KMI_API_KEY=sk-test-a\n"),
        ("a.toml", "api_key = 'sk-test-a'"),
        ("a.toml", "api_key_cmd = ['echo', 'sk-test-a']"),
        ("a.json", "{\"api_key\": \"sk-test-a\"}"),
        ("a.key", "sk-test-a"),
        ("keys.toml", "[[key]]\napi_key = 'sk-test-a'"),
    ] {
        let home = Home::with(&[(name, text), ("b.key", "sk-test-b")]);
        let key =
            home.load().keys.into_iter().find(|key| key.secret.expose() == "sk-test-a").unwrap();
        assert_eq!(remove(&home.sources.dir, &key).unwrap(), home.path(name));
        assert_eq!(names(&home), ["b.key"]);
    }
}

#[test]
fn a_key_that_does_not_stand_alone_is_not_removed() {
    let two = "[[key]]\napi_key = 'sk-test-a'\nlabel = 'a'\n[[key]]\napi_key = 'sk-test-b'\nlabel = 'b'\n";
    let mut home = Home::with(&[
        ("config.toml", "[providers.p]\ntype = 'kimi'\napi_key = 'sk-test-client'\n"),
        ("keys.toml", two),
    ]);
    let target = write(&home.dir.path().join("target.key"), "sk-test-link");
    std::os::unix::fs::symlink(&target, home.path("link.key")).unwrap();
    home.env_key("ENV", "sk-test-env", 7);
    let loaded = home.load();
    assert_eq!(loaded.keys.len(), 5);
    let refusals: Vec<_> = loaded
        .keys
        .iter()
        .map(|key| {
            let error = remove(&home.sources.dir, key).unwrap_err();
            let text = format!("{error}\n  hint: {}", error.hint());
            text.replace(&home.sources.dir.display().to_string(), "_auths")
        })
        .collect();
    insta::assert_snapshot!(refusals.join("\n"), @r"
    the key does not stand in a file of its own but in _auths/config.toml:3
      hint: remove it there by hand: _auths/config.toml:3
    the key does not stand in a file of its own but in _auths/keys.toml:2
      hint: remove it there by hand: _auths/keys.toml:2
    the key does not stand in a file of its own but in _auths/keys.toml:5
      hint: remove it there by hand: _auths/keys.toml:5
    _auths/link.key is a symbolic link, which kmi does not remove
      hint: remove the link by hand: rm _auths/link.key (the key stays where it points)
    the key does not stand in a file of its own but in HOME/.env:7
      hint: remove it there by hand: HOME/.env:7
    ");
    assert_eq!(names(&home), ["config.toml", "keys.toml", "link.key"]);
}

#[test]
fn a_file_that_holds_another_key_by_now_is_not_removed() {
    let home = Home::with(&[("a.key", "sk-test-a")]);
    let key = home.only_key();
    home.write("a.key", "sk-test-another");
    let error = remove(&home.sources.dir, &key).unwrap_err();
    assert!(matches!(error, EditError::Changed(_)), "{error}");
    fs::remove_file(home.path("a.key")).unwrap();
    assert!(matches!(remove(&home.sources.dir, &key).unwrap_err(), EditError::Io { .. }));
}
