use kmi_core::inventory::{Key, Limits};

use super::*;

fn everything(key: &Key) {
    assert_eq!(shown(key), "work=sk-test-work");
    assert_eq!((key.priority, key.weight, key.disabled), (-1, 3, true));
    assert_eq!(key.account.as_deref(), Some("me"));
    assert_eq!(&*key.upstream, "open");
    assert_eq!(key.tags, ["a", "b c"]);
    assert_eq!(key.limits, Limits { rpm: Some(60), tpm: Some(9), concurrency: Some(2) });
}

#[test]
fn env_files() {
    let home = Home::with(&[(
        "x.env",
        "# my key\n\nexport KMI_API_KEY=sk-test-work # bought in May\nKMI_KEY_LABEL='work'\n\
         KMI_KEY_PRIORITY=-1\nKMI_KEY_WEIGHT=\"3\"\nKMI_KEY_ACCOUNT = me\nKMI_KEY_UPSTREAM=open\n\
         KMI_KEY_TAGS=a, b c,\nKMI_KEY_DISABLED=yes\nKMI_KEY_RPM=60\nKMI_KEY_TPM=9\nKMI_KEY_CONCURRENCY=2",
    )]);
    everything(&home.only_key());
}

#[test]
fn toml_files() {
    let home = Home::with(&[(
        "x.toml",
        "api_key = \"sk-test-work\"\nlabel = 'work'\npriority = -1\nweight = 3\naccount = \"me\"\n\
         upstream = \"open\"\ntags = [\"a\", \"b c\"]\ndisabled = true\nrpm = 60\ntpm = 9\nconcurrency = 2",
    )]);
    everything(&home.only_key());
}

#[test]
fn json_files() {
    let home = Home::with(&[(
        "x.json",
        "{\"api_key\": \"sk-test-work\", \"label\": \"work\", \"priority\": -1, \"weight\": 3,\n\
         \"account\": \"me\", \"upstream\": \"open\", \"tags\": [\"a\", \"b c\"], \"disabled\": true,\n\
         \"rpm\": 60, \"tpm\": 9, \"concurrency\": 2}\n",
    )]);
    everything(&home.only_key());
}

#[test]
fn a_file_that_says_nothing_else_has_the_defaults() {
    for (name, text) in [
        ("work.env", "KMI_API_KEY=sk-test-work\nKMI_KEY_LABEL=\nKMI_KEY_WEIGHT=\n"),
        ("work.toml", "api_key = 'sk-test-work'"),
        ("work.json", "{\"api_key\":\"sk-test-work\"}"),
        ("work.key", "sk-test-work"),
    ] {
        let home = Home::with(&[(name, text)]);
        let key = home.only_key();
        assert_eq!(shown(&key), "work=sk-test-work", "{name}");
        assert_eq!((key.priority, key.weight, key.disabled), (0, 1, false));
        assert_eq!((key.account.as_deref(), &*key.upstream), (None, "kimi"));
        assert_eq!((key.limits, key.tags.len()), (Limits::default(), 0));
        assert_eq!(*key.origin, *home.path(name).to_string_lossy());
    }
}

#[test]
fn a_manifest_describes_several_keys_in_its_order() {
    let home = Home::with(&[(
        "keys.toml",
        "[[key]]\napi_key = 'sk-test-z'\nlabel = 'z'\n\n[[key]]\napi_key = 'sk-test-a'\n\
         label = 'a'\nweight = 2\n[[key]]\napi_key = 'sk-test-unnamed'\n",
    )]);
    assert_eq!(home.keys(), ["z=sk-test-z", "a=sk-test-a", "keys-3=sk-test-unnamed"]);
    assert_eq!(*home.load().keys[1].origin, format!("{}:6", home.path("keys.toml").display()));
    let inline = Home::with(&[("keys.toml", "key = [{api_key = 'sk-test-z', label = 'z'}]")]);
    assert_eq!(inline.keys(), ["z=sk-test-z"]);
}

#[test]
fn a_bad_key_of_a_manifest_costs_no_other() {
    let home = Home::with(&[(
        "keys.toml",
        "default = 1\n[[key]]\napi_key = 'sk-test-z'\nwieght = 2\n[[key]]\napi_key = 'sk-test-a'\nlabel = 'a'\n",
    )]);
    assert_eq!(home.keys(), ["a=sk-test-a"]);
    insta::assert_snapshot!(home.problems(), @r"
    Refused keys.toml:1: keys.toml holds [[key]] tables only
      hint: write [[key]] above the fields of each key, or call the file NAME.toml
    Refused keys.toml:4: unknown field; the nearest known one is `weight`
      hint: write `weight`, or remove the line
    ");
}

#[test]
fn a_clients_config_gives_the_keys_of_its_providers() {
    let home = Home::with(&[(
        "config.toml",
        "default_model = 'kimi-for-coding'\n[models.m]\nprovider = 'p'\n\
         [providers.'managed:kimi-code']\ntype = 'kimi'\nbase_url = 'https://api.kimi.com/coding/v1'\napi_key = ''\n\
         [providers.work]\ntype = 'kimi'\nbase_url = 'https://api.kimi.com/coding/v1'\napi_key = 'sk-test-work'\n\
         [providers.platform]\ntype = 'openai'\nbase_url = 'https://api.moonshot.ai/v1'\napi_key = 'sk-test-platform'\n\
         [providers.china]\ntype = 'kimi'\nbase_url = 'https://api.moonshot.cn/v1'\napi_key = 'sk-test-china'\n\
         [providers.bare]\napi_key = 'sk-test-bare'\n\
         [providers.local]\ntype = 'kimi'\nbase_url = 'http://127.0.0.1:9/v1'\napi_key = 'sk-test-local'\n\
         [providers.ourselves]\ntype = 'kimi'\nbase_url = 'http://127.0.0.1:54123/kmi-rotor/v1'\napi_key = 'token-of-kmi'\n\
         [providers.openai]\ntype = 'openai'\nbase_url = 'https://api.openai.com/v1'\napi_key = 'sk-test-openai'\n\
         [providers.gemini]\ntype = 'gemini'\napi_key = 'sk-test-gemini'\n\
         [providers.fake]\ntype = 'kimi'\nbase_url = 'https://notkimi.com/v1'\napi_key = 'sk-test-fake'\n",
    )]);
    let loaded = home.load();
    let keys: Vec<_> = loaded.keys.iter().map(|k| format!("{} {}", shown(k), k.upstream)).collect();
    insta::assert_debug_snapshot!(keys, @r#"
    [
        "work=sk-test-work kimi",
        "platform=sk-test-platform open",
        "china=sk-test-china kimi",
        "bare=sk-test-bare kimi",
        "local=sk-test-local kimi",
    ]
    "#);
    insta::assert_snapshot!(home.problems(), @r"
    Notice config.toml:29: this provider is not Kimi, its key is left alone
      hint: to use it all the same, add an [upstream.NAME] with the provider's base_url
    Notice config.toml:33: this provider is not Kimi, its key is left alone
      hint: to use it all the same, add an [upstream.NAME] with the provider's base_url
    Notice config.toml:36: this provider is not Kimi, its key is left alone
      hint: to use it all the same, add an [upstream.NAME] with the provider's base_url
    Notice config.toml:40: this provider is not Kimi, its key is left alone
      hint: to use it all the same, add an [upstream.NAME] with the provider's base_url
    ");
}

#[test]
fn a_config_toml_may_be_a_plain_key_file() {
    let home = Home::with(&[("config.toml", "api_key = 'sk-test-work'")]);
    assert_eq!(home.keys(), ["config=sk-test-work"]);
}

#[test]
fn marks_line_ends_and_blanks_do_not_matter() {
    for (name, text) in [
        ("work.env", "\u{feff}KMI_API_KEY=sk-test-work  \r\nKMI_KEY_WEIGHT=2\t\r\n"),
        ("work.toml", "\u{feff}api_key = \"sk-test-work\"  \r\nweight = 2\t\r\n\r\n"),
        ("work.json", "\u{feff}{ \"api_key\": \"sk-test-work\",\r\n \"weight\": 2 }  \r\n"),
    ] {
        let key = Home::with(&[(name, text)]).only_key();
        assert_eq!((shown(&key).as_str(), key.weight), ("work=sk-test-work", 2), "{name}");
    }
    let home = Home::with(&[("work.key", "\u{feff}\r\n  sk-test-work \t\r\n\r\n")]);
    assert_eq!(home.keys(), ["work=sk-test-work"]);
}

#[test]
fn quotes_in_env_files() {
    for (written, key) in [
        ("sk-$HOME-$$-x", "sk-$HOME-$$-x"),
        ("'sk-${A}#\\n'", "sk-${A}#\\n"),
        ("\"sk-\\\"q\\\\\\$\" # c", "sk-\"q\\$"),
        ("sk-a#b=c'd", "sk-a#b=c'd"),
    ] {
        let padded = written.replacen("sk-", "sk-0000", 1);
        let home = Home::with(&[("w.env", &format!("KMI_API_KEY={padded}\n"))]);
        assert_eq!(home.keys(), [format!("w={}", key.replacen("sk-", "sk-0000", 1))]);
    }
}

#[test]
fn files_are_taken_by_name_and_only_if_they_are_meant() {
    let home = Home::with(&[
        ("b.key", "sk-test-b"),
        ("a.env", "KMI_API_KEY=sk-test-a"),
        ("C.key", "sk-test-c"),
        (".hidden.key", "sk-test-1"),
        ("b.key~", "sk-test-2"),
        ("b.key.bak", "sk-test-3"),
        (".b.key.swp", "sk-test-4"),
        ("b.swp", "sk-test-5"),
        ("b.key.orig", "sk-test-6"),
        ("#b.key#", "sk-test-7"),
        ("b.key.tmp", "sk-test-8"),
        ("README", "sk-test-9"),
        ("README.toml", "sk-test-10"),
        ("work.toml.example", "api_key = 'sk-…'"),
    ]);
    fs::create_dir(home.path(".git")).unwrap();
    assert_eq!(home.keys(), ["C=sk-test-c", "a=sk-test-a", "b=sk-test-b"]);
    assert_eq!(home.problems(), "");
}

#[test]
fn other_files_and_directories_are_told() {
    let home = Home::with(&[("work.txt", "sk-test-1"), ("work", "sk-test-2"), ("a.TOML", "x")]);
    fs::create_dir(home.path("more")).unwrap();
    assert!(home.keys().is_empty());
    insta::assert_snapshot!(home.problems(), @r"
    Notice a.TOML: ignored: this is no key file
      hint: key files end in .env, .toml, .json or .key
    Notice more: ignored: this is no key file
      hint: key files end in .env, .toml, .json or .key
    Notice work: ignored: this is no key file
      hint: key files end in .env, .toml, .json or .key
    Notice work.txt: ignored: this is no key file
      hint: key files end in .env, .toml, .json or .key
    ");
}
