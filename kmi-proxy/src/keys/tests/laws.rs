use proptest::prelude::*;

use super::*;

const SECRET: &str = "sk-Zq7XvSecretSecretSecret";
const NAMES: [&str; 6] = ["a.env", "a.toml", "a.json", "a.key", "keys.toml", "config.toml"];

/// Nothing that is shown may hold the secret, or a piece of it that would give it away.
fn leaks(loaded: &Loaded) -> bool {
    let problems = loaded.problems.iter().map(|p| format!("{p} {} {p:?}", p.hint()));
    let keys = loaded.keys.iter().map(|key| format!("{key:?}"));
    problems.chain(keys).any(|text| text.contains("Zq7Xv") || text.contains("SecretSecret"))
}

/// Pieces of key files, good and bad, with the secret where it may not be looked for.
fn piece() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "\n",
        "\r\n",
        " ",
        "=",
        " = ",
        "'",
        "\"",
        "\"\"\"",
        "{",
        "}",
        "[",
        "]",
        "[[key]]\n",
        "[providers.p]\n",
        "[providers.",
        "]\n",
        ",",
        ":",
        "#",
        "\\",
        "\\u0041",
        "api_key",
        "\"api_key\"",
        "api_key_env",
        "api_key_file",
        "api_key_keyring",
        "label",
        "weight",
        "wieght",
        "tags",
        "upstream",
        "disabled",
        "base_url",
        "type",
        "KMI_API_KEY",
        "KMI_KEY_LABEL",
        "KMI_KEY_WEIGHT",
        "export ",
        "1",
        "-1",
        "true",
        "null",
        "1.5",
        "1979-05-27",
        "\u{feff}",
        "\u{202e}",
        "ä",
        "\0",
    ]);
    prop_oneof![
        6 => plain.prop_map(str::to_owned),
        2 => Just(SECRET.to_owned()),
        1 => Just(format!("\"{SECRET}\"")),
        1 => Just(format!("api_key = '{SECRET}'\n")),
        1 => Just(format!("'{SECRET}' = 1\n")),
        1 => Just(format!("KMI_API_KEY={SECRET}\n")),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_text_panics_or_leaks(
        name in prop::sample::select(&NAMES[..]),
        pieces in prop::collection::vec(piece(), 0..24),
    ) {
        let home = Home::with(&[(name, &pieces.concat()), ("zz-good.key", "sk-test-good")]);
        let loaded = home.load();
        prop_assert!(!leaks(&loaded), "{:?}", loaded.problems);
        prop_assert!(loaded.keys.iter().any(|key| key.secret.expose() == "sk-test-good")
            || loaded.problems.iter().any(|p| p.message.contains("is taken by")));
    }

    #[test]
    fn no_bytes_panic_or_leak(
        name in prop::sample::select(&NAMES[..]),
        before in prop::collection::vec(any::<u8>(), 0..40),
        after in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let home = Home::new();
        home.write(name, [&before[..], SECRET.as_bytes(), &after].concat());
        prop_assert!(!leaks(&home.load()));
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (name, open) in [("a.toml", "a=["), ("a.json", "[")] {
        let home = Home::with(&[(name, &(open.to_owned() + &"[".repeat(60_000)))]);
        assert!(home.keys().is_empty());
        assert_eq!(home.load().problems.len(), 1, "{name}");
    }
    let home = Home::with(&[("a.json", &("{\"a\":".repeat(12_000)))]);
    assert_eq!(home.load().problems.len(), 1);
}
