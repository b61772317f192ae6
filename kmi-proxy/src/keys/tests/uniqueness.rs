use std::collections::HashMap;

use kmi_core::key::{ApiKey, KeyId};

use super::*;

#[test]
fn the_same_value_twice_is_one_key() {
    let mut home = Home::with(&[
        ("a.key", "sk-test-a"),
        (
            "keys.toml",
            "[[key]]\napi_key = 'sk-test-a'\nlabel = 'x'\n[[key]]\napi_key = 'sk-test-b'\nlabel = 'b'",
        ),
    ]);
    home.env_key("AGAIN", "sk-test-b", 2);
    assert_eq!(home.keys(), ["a=sk-test-a", "b=sk-test-b"]);
    insta::assert_snapshot!(home.problems(), @r"
    Warning keys.toml:2: the same key as `a` of a.key; it is used once
      hint: remove one of the two
    Warning HOME/.env:2: the same key as `b` of keys.toml:5; it is used once
      hint: remove one of the two
    ");
}

#[test]
fn labels_are_unique() {
    let home =
        Home::with(&[("a.key", "sk-test-a"), ("b.toml", "label = 'a'\napi_key = 'sk-test-b'")]);
    assert_eq!(home.keys(), ["a=sk-test-a"]);
    insta::assert_snapshot!(home.problems(), @r"
    Refused b.toml:2: the label `a` is taken by a.key
      hint: give one of the two another `label`
    ");
}

#[test]
fn ids_are_unique() {
    // The ids have 32 bits, so some pair among enough keys has the same one.
    let secret = HomeSecret::new([7; 32]);
    let mut seen = HashMap::new();
    let (first, second) = (0u32..)
        .find_map(|n| {
            let text = format!("sk-test-{n}");
            let id = KeyId::derive(&secret, &ApiKey::parse(&text).unwrap());
            seen.insert(id, text.clone()).map(|first| (first, text))
        })
        .unwrap();
    let home = Home::with(&[("a.key", &first), ("b.key", &second)]);
    assert_eq!(home.keys(), [format!("a={first}")]);
    assert!(home.problems().starts_with("Refused b.key:1: by chance the id k-"));
}

#[test]
fn weights_fit_into_one_ring() {
    let keys = |upstream: &str| -> String {
        let one = |n| {
            format!(
                "[[key]]\napi_key='sk-{upstream}-{n}'\nlabel='{upstream}{n}'\n\
                 upstream='{upstream}'\nweight=1000\n"
            )
        };
        (0..70).map(one).collect::<Vec<_>>().concat()
    };
    let home = Home::with(&[("keys.toml", &(keys("kimi") + &keys("open")))]);
    let loaded = home.load();
    assert_eq!((loaded.keys.len(), loaded.problems.len()), (130, 10));
    insta::assert_snapshot!(home.line(&loaded.problems[0]), @r"
    Refused keys.toml:327: the weights of this upstream add up to more than 65536
      hint: only the ratio of weights counts: make all of them smaller
    ");
}

#[test]
fn a_key_in_a_name_that_is_shown_is_refused_and_masked() {
    let home = Home::with(&[
        ("a.toml", "api_key = 'sk-test-aaaa'\nlabel = 'sk-test-aaaa'"),
        ("b.toml", "api_key = 'sk-test-bbbb'\ntags = ['my sk-test-bbbb']"),
        ("sk-test-cccc.key", "sk-test-cccc"),
        ("sk-test-dddd.toml", "api_key = 'sk-test-dddd'\nlabel = 'd'"),
    ]);
    let loaded = home.load();
    assert_eq!(home.keys(), ["d=sk-test-dddd"]);
    assert!(loaded.keys[0].origin.ends_with("/sk-…dddd.toml"));
    insta::assert_snapshot!(home.problems(), @r"
    Refused a.toml:1: a key stands in a name that is shown
      hint: give it another label (or file name, account, tag): those are shown
    Refused b.toml:1: a key stands in a name that is shown
      hint: give it another label (or file name, account, tag): those are shown
    Refused sk-…cccc.key:1: a key stands in a name that is shown
      hint: give it another label (or file name, account, tag): those are shown
    ");
}

#[test]
fn another_key_in_a_name_that_is_shown_is_refused_and_masked() {
    let mut home = Home::with(&[
        ("a.toml", "api_key = 'sk-test-aaaa'\nlabel = 'of sk-test-zzzz'"),
        ("b.toml", "api_key = 'sk-test-bbbb'\naccount = 'sk-test-cccc'"),
        ("c.key", "sk-test-cccc"),
        ("sk-test-cccc.toml", "api_key = 'sk-test-dddd'\nlabel = 'd'"),
        ("sk-test-envi.key", "sk-test-eeee"),
        ("z.key", "sk-test-zzzz"),
    ]);
    home.env_key("ENV", "sk-test-envi", 2);
    let loaded = home.load();
    assert_eq!(
        home.keys(),
        ["c=sk-test-cccc", "d=sk-test-dddd", "z=sk-test-zzzz", "ENV=sk-test-envi"]
    );
    assert!(loaded.keys[1].origin.ends_with("/sk-…cccc.toml"));
    insta::assert_snapshot!(home.problems(), @r"
    Refused a.toml:1: a key stands in a name that is shown
      hint: give it another label (or file name, account, tag): those are shown
    Refused b.toml:1: a key stands in a name that is shown
      hint: give it another label (or file name, account, tag): those are shown
    Refused sk-…envi.key:1: a key stands in a name that is shown
      hint: give it another label (or file name, account, tag): those are shown
    ");
}
