use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode};

use super::*;

/// What is said of one file beside a good key, which must go on.
fn refused(name: &str, text: impl AsRef<[u8]>) -> String {
    let home = Home::with(&[("zz-good.key", "sk-test-good")]);
    home.write(name, text);
    assert_eq!(home.keys(), ["zz-good=sk-test-good"], "{name}");
    home.problems()
}

fn refused_all(cases: &[(&str, &str)]) -> String {
    cases.iter().map(|(name, text)| refused(name, text) + "\n").collect()
}

#[test]
fn modes_of_the_opened_file() {
    let home =
        Home::with(&[("a.key", "sk-test-a"), ("b.key", "sk-test-b"), ("c.key", "sk-test-c")]);
    let target = home.dir.path().join("target");
    fs::rename(home.path("c.key"), &target).unwrap();
    std::os::unix::fs::symlink(&target, home.path("c.key")).unwrap();
    assert_eq!(home.keys().len(), 3, "symbolic links are followed");
    fs::set_permissions(home.path("a.key"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o602)).unwrap();
    assert_eq!(home.keys(), ["b=sk-test-b"]);
    insta::assert_snapshot!(home.problems(), @r"
    Refused a.key: others may read or change the file (mode 0640)
      hint: chmod 600 a.key
    Refused c.key: others may read or change the file (mode 0602)
      hint: chmod 600 c.key
    ");
}

/// Its first byte can never be read: the system answers with an error of input and output.
const UNREADABLE: &str = "/proc/self/mem";

#[test]
fn what_the_system_cannot_read_just_now_keeps_its_keys() {
    let home =
        Home::with(&[("a.key", "sk-test-a"), ("b.key", "sk-test-b"), ("c.key", "sk-test-c")]);
    home.write("keys.toml", "[[key]]\nlabel = 'd'\napi_key = 'sk-test-d'");
    let before = home.load().keys;
    let left = |home: &Home| {
        let mut loaded = home.load();
        loaded.keep_unread(before.iter());
        loaded.keys.iter().map(|key| shown(key)).collect::<Vec<_>>()
    };
    fs::remove_file(home.path("c.key")).unwrap();
    for name in ["a.key", "keys.toml"] {
        fs::remove_file(home.path(name)).unwrap();
        std::os::unix::fs::symlink(UNREADABLE, home.path(name)).unwrap();
    }
    assert_eq!(left(&home), ["b=sk-test-b", "a=sk-test-a", "d=sk-test-d"], "c is gone for certain");
    insta::assert_snapshot!(home.problems(), @r"
    Refused a.key: the file cannot be read: Input/output error (os error 5)
      hint: the system is short of something, or a disk fails: `ulimit -a`, `df`, `dmesg`
    Refused keys.toml: the file cannot be read: Input/output error (os error 5)
      hint: the system is short of something, or a disk fails: `ulimit -a`, `df`, `dmesg`
    ");
    home.write("z.key", "sk-test-a");
    assert_eq!(left(&home), ["b=sk-test-b", "z=sk-test-a", "d=sk-test-d"], "no key is there twice");
    fs::remove_file(home.path("z.key")).unwrap();
    fs::remove_file(home.path("a.key")).unwrap();
    home.write("a.key", "not a key");
    assert!(!left(&home).contains(&"a=sk-test-a".to_owned()), "it was read, and holds no key");
}

#[test]
fn what_is_no_regular_file() {
    let home = Home::with(&[("good.key", "sk-test-good")]);
    fs::create_dir(home.path("dir.key")).unwrap();
    rustix::fs::mknodat(CWD, home.path("fifo.key"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    let _socket = UnixListener::bind(home.path("socket.key")).unwrap();
    for (link, target) in [("zero", "/dev/zero"), ("gone", "/nonexistent"), ("loop", "loop.key")] {
        std::os::unix::fs::symlink(target, home.path(&format!("{link}.key"))).unwrap();
    }
    assert_eq!(home.keys(), ["good=sk-test-good"]);
    insta::assert_snapshot!(home.problems(), @r"
    Refused dir.key: this is not a regular file
      hint: put the key into a plain file (a symbolic link to one is fine)
    Refused fifo.key: this is not a regular file
      hint: put the key into a plain file (a symbolic link to one is fine)
    Refused gone.key: the symbolic link points to nothing
      hint: create its target, or remove the link: rm gone.key
    Refused loop.key: the symbolic links go in a circle
      hint: remove the link
    Refused socket.key: this is not a regular file
      hint: put the key into a plain file (a symbolic link to one is fine)
    Refused zero.key: this is not a regular file
      hint: put the key into a plain file (a symbolic link to one is fine)
    ");
}

#[test]
fn sizes() {
    let full = format!("sk-test-a{}", "\n".repeat(64 * 1024 - 9));
    assert_eq!(Home::with(&[("a.key", &full)]).keys(), ["a=sk-test-a"]);
    insta::assert_snapshot!(refused("a.key", full + "\n"), @r"
    Refused a.key: the file has 65537 bytes; at most 65536 are allowed
      hint: a key file holds a key and little else; is this the right file?
    ");
}

#[test]
fn bytes_that_are_no_text() {
    insta::assert_snapshot!(refused("a.env", b"# x\nKMI_API_KEY=sk-\xff\xfe"), @r"
    Refused a.env:2: the file is not UTF-8 text
      hint: save the file as UTF-8
    ");
}

#[test]
fn keys_outside_of_the_character_set() {
    let long = "x".repeat(513);
    insta::assert_snapshot!(refused_all(&[
        ("a.key", ""),
        ("a.key", "short-1"),
        ("a.key", &long),
        ("a.key", "sk-with blank"),
        ("a.toml", "\napi_key = 'sk-“quoted”'"),
        ("a.toml", "api_key = ''"),
        ("a.key", "sk-test-1\n\nsk-test-2"),
    ]), @r"
    Refused a.key: the file is empty
      hint: write the key into it, alone on one line
    Refused a.key:1: a key has 8 to 512 characters, this one 7
      hint: correct the key there
    Refused a.key:1: a key has 8 to 512 characters, this one 513
      hint: correct the key there
    Refused a.key:1: character 8 of the key is not printable ASCII (a blank, a quote mark of a word processor?)
      hint: correct the key there
    Refused a.toml:2: character 4 of the key is not printable ASCII (a blank, a quote mark of a word processor?)
      hint: correct the key there
    Refused a.toml:1: the key is empty
      hint: correct the key there
    Refused a.key:3: a .key file holds one line: the key
      hint: remove the other lines, or use a .toml file
    ");
}

#[test]
fn env_files() {
    insta::assert_snapshot!(refused_all(&[
        ("a.env", "# nothing\n"),
        ("a.env", "sk-test-secret-1"),
        ("a.env", "KMI_API_KEY='sk-test-1"),
        ("a.env", "KMI_API_KEY=\"sk-test-1"),
        ("a.env", "KMI_API_KEY='sk-test-1'sk-test-2"),
        ("a.env", "KMI_API_KEY=\"sk-\\n-test\""),
        ("a.env", "KMI_API_KEY=sk-test-1\nKMI_API_KEY=sk-test-2"),
        ("a.env", "KMI_API_KEY=sk-test-1\nKMI_KEY_LABLE=x"),
        ("a.env", "OPENAI_TOKEN=sk-test-1\n"),
        ("a.env", "KMI_API_KEY=sk-test-1\nKMI_KEY_WEIGHT=many\nKMI_KEY_DISABLED=maybe"),
    ]), @r"
    Refused a.env: no key is given
      hint: give api_key (KMI_API_KEY in .env), or one of api_key_env, api_key_file, api_key_cmd, api_key_keyring
    Refused a.env:1: the line is not NAME=VALUE
      hint: write NAME=VALUE, or begin a comment with #
    Refused a.env:1: the closing quote is missing
      hint: close the quote on the same line, or write the value without quotes
    Refused a.env:1: the closing quote is missing
      hint: close the quote on the same line, or write the value without quotes
    Refused a.env:1: there is text after the closing quote
      hint: put the whole value into one pair of quotes
    Refused a.env:1: unknown escape after a backslash
      hint: use single quotes: nothing is special inside them
    Refused a.env:2: `KMI_API_KEY` is given twice
      hint: remove one of the two lines
    Refused a.env:2: unknown field; the nearest known one is `KMI_KEY_LABEL`
      hint: write `KMI_KEY_LABEL`, or remove the line
    Refused a.env:1: unknown field
      hint: known are KMI_API_KEY, KMI_KEY_LABEL, KMI_KEY_PRIORITY, KMI_KEY_WEIGHT, KMI_KEY_ACCOUNT, KMI_KEY_UPSTREAM, KMI_KEY_TAGS, KMI_KEY_DISABLED, KMI_KEY_RPM, KMI_KEY_TPM, KMI_KEY_CONCURRENCY
    Refused a.env:2: `KMI_KEY_WEIGHT` must be a whole number from 1 to 1000
      hint: 1 is usual; `disabled` switches a key off
    Refused a.env:3: `KMI_KEY_DISABLED` must be true or false
      hint: true switches the key off
    ");
}

#[test]
fn toml_files() {
    insta::assert_snapshot!(refused_all(&[
        ("a.toml", ""),
        ("a.toml", "api_key = sk-test-1"),
        ("a.toml", "api_key = 'sk-test-1'\napi_key = 'sk-test-2'"),
        ("a.toml", "api_key = 'sk-test-1'\nwieght = 2"),
        ("a.toml", "'sk-test-secret' = 1\napi_key = 'sk-test-1'"),
        ("a.toml", "api_key = 12345678"),
        ("a.toml", "[[key]]\napi_key = 'sk-test-1'"),
        ("keys.toml", "[[key]]\nlabel = 'x'\n"),
        ("keys.toml", "api_key = 'sk-test-1'"),
        ("keys.toml", "key = 'sk-test-1'"),
        ("keys.toml", "key = ['sk-test-1']"),
        ("keys.toml", "# empty"),
    ]), @r"
    Refused a.toml: no key is given
      hint: give api_key (KMI_API_KEY in .env), or one of api_key_env, api_key_file, api_key_cmd, api_key_keyring
    Refused a.toml:1: not valid TOML: string values must be quoted, expected literal string
      hint: correct the line; texts stand in quotes
    Refused a.toml:2: not valid TOML: duplicate key
      hint: correct the line; texts stand in quotes
    Refused a.toml:2: unknown field; the nearest known one is `weight`
      hint: write `weight`, or remove the line
    Refused a.toml:1: unknown field
      hint: known are api_key, api_key_cmd, api_key_env, api_key_file, api_key_keyring, label, priority, weight, account, upstream, tags, disabled, rpm, tpm, concurrency
    Refused a.toml:1: `api_key` must be text
      hint: put it into quotes
    Refused a.toml:1: a manifest needs another file name
      hint: a file with several keys is called keys.toml
    Refused keys.toml:1: no key is given
      hint: give api_key (KMI_API_KEY in .env), or one of api_key_env, api_key_file, api_key_cmd, api_key_keyring
    Refused keys.toml:1: keys.toml holds [[key]] tables only
      hint: write [[key]] above the fields of each key, or call the file NAME.toml
    Refused keys.toml:1: keys.toml holds [[key]] tables only
      hint: write [[key]] above the fields of each key, or call the file NAME.toml
    Refused keys.toml:1: keys.toml holds [[key]] tables only
      hint: write [[key]] above the fields of each key, or call the file NAME.toml
    Refused keys.toml: the manifest has no keys
      hint: write one [[key]] table with api_key for each key
    ");
}

#[test]
fn json_files() {
    insta::assert_snapshot!(refused_all(&[
        ("a.json", ""),
        ("a.json", "{\n\"api_key\": \"sk-test-1\",\n}"),
        ("a.json", "{\"api_key\": sk-test-1}"),
        ("a.json", "\"sk-test-1\""),
        ("a.json", "[{\"api_key\": \"sk-test-1\"}]"),
        ("a.json", "{\"api_key\": \"sk-test-1\",\n\"api_key\": \"sk-test-2\"}"),
        ("a.json", "{\"api_key\": \"sk-test-1\",\n\n\"weigth\": 2}"),
        ("a.json", "{\"api_key\": \"sk-test-1\",\n\"weight\": 1.5, \"disabled\": null, \"tags\": [1]}"),
        ("a.json", "{\"api_key\": \"sk-test-1\"} {}"),
    ]), @r#"
    Refused a.json:1: not valid JSON: EOF while parsing a value
      hint: correct the line; no comma follows the last field
    Refused a.json:3: not valid JSON: trailing comma
      hint: correct the line; no comma follows the last field
    Refused a.json:1: not valid JSON: expected value
      hint: correct the line; no comma follows the last field
    Refused a.json:1: the file must hold one JSON object
      hint: write {"api_key": "…"}
    Refused a.json:1: the file must hold one JSON object
      hint: write {"api_key": "…"}
    Refused a.json:2: `api_key` is given twice
      hint: remove one of the two lines
    Refused a.json:3: unknown field; the nearest known one is `weight`
      hint: write `weight`, or remove the line
    Refused a.json:2: `weight` must be a whole number from 1 to 1000
      hint: 1 is usual; `disabled` switches a key off
    Refused a.json:2: `tags` must be at most 32 short texts
      hint: for example tags = ["work", "spare"]
    Refused a.json:2: `disabled` must be true or false
      hint: true switches the key off
    Refused a.json:1: not valid JSON: trailing characters
      hint: correct the line; no comma follows the last field
    "#);
}

#[test]
fn values() {
    let with = |line: &str| refused("a.toml", format!("api_key = 'sk-test-1'\n{line}\n"));
    let cases = [
        "weight = 0",
        "weight = 1001",
        "weight = '2'",
        "weight = 99999999999999999999",
        "priority = 3_000_000_000",
        "rpm = 0",
        "tpm = -1",
        "concurrency = 4294967296",
        "label = 1",
        "label = ''",
        "label = \"a\\u001b[31m\"",
        "account = \"a\\u202e\"",
        "disabled = 'no'",
        "tags = 'work'",
        "tags = ['']",
        "upstream = 'moonshot'",
        "api_key_env = 'X'",
    ];
    insta::assert_snapshot!(cases.map(with).join("\n"), @r#"
    Refused a.toml:2: `weight` must be a whole number from 1 to 1000
      hint: 1 is usual; `disabled` switches a key off
    Refused a.toml:2: `weight` must be a whole number from 1 to 1000
      hint: 1 is usual; `disabled` switches a key off
    Refused a.toml:2: `weight` must be a whole number from 1 to 1000
      hint: 1 is usual; `disabled` switches a key off
    Refused a.toml:2: `weight` must be a whole number from 1 to 1000
      hint: 1 is usual; `disabled` switches a key off
    Refused a.toml:2: `priority` must be a whole number from -2147483648 to 2147483647
      hint: 0 is usual, a lower number serves first
    Refused a.toml:2: `rpm` must be a whole number from 1 to 4294967295
      hint: leave the field out for no limit; `disabled` switches a key off
    Refused a.toml:2: `tpm` must be a whole number from 1 to 4294967295
      hint: leave the field out for no limit; `disabled` switches a key off
    Refused a.toml:2: `concurrency` must be a whole number from 1 to 4294967295
      hint: leave the field out for no limit; `disabled` switches a key off
    Refused a.toml:2: `label` must be text
      hint: put it into quotes
    Refused a.toml:2: the label is empty
      hint: give it a short visible name with `label`
    Refused a.toml:2: the label has a control or invisible character, or a blank at an end
      hint: give it a short visible name with `label`
    Refused a.toml:2: the account must be a short visible text
      hint: any name will do
    Refused a.toml:2: `disabled` must be true or false
      hint: true switches the key off
    Refused a.toml:2: `tags` must be at most 32 short texts
      hint: for example tags = ["work", "spare"]
    Refused a.toml:2: `tags` must be at most 32 short texts
      hint: for example tags = ["work", "spare"]
    Refused a.toml:2: there is no upstream of this name
      hint: known upstreams are: kimi, open
    Refused a.toml:2: `api_key_env` is given as well as `api_key`
      hint: keep one source of the key
    "#);
}

#[test]
fn the_directory_itself() {
    let home = Home::with(&[("a.key", "sk-test-a")]);
    fs::set_permissions(&home.sources.dir, fs::Permissions::from_mode(0o770)).unwrap();
    assert_eq!(home.keys(), ["a=sk-test-a"], "a warning only");
    let exposed = home.problems();
    fs::remove_dir_all(&home.sources.dir).unwrap();
    let missing = home.problems();
    write(&home.sources.dir, "");
    let file = home.problems();
    insta::assert_snapshot!([exposed, missing, file].join("\n"), @r"
    Warning HOME/_auths: others may add or replace key files in this directory (mode 0770)
      hint: chmod 700 HOME/_auths
    Warning HOME/_auths: there is no key directory here
      hint: kmi init, or: mkdir -m 700 HOME/_auths
    Refused HOME/_auths: the key directory cannot be read: not a directory
      hint: make sure that it is a directory of yours: chmod 700 HOME/_auths
    ");
}

#[test]
fn remedies_can_be_copied_into_a_shell() {
    let home = Home::with(&[("it's; rm -rf x.key", "sk-test-a")]);
    fs::set_permissions(home.path("it's; rm -rf x.key"), fs::Permissions::from_mode(0o644))
        .unwrap();
    let hint = home.load().problems[0].hint().to_owned();
    assert!(
        hint.starts_with("chmod 600 '/") && hint.ends_with(r"/it'\''s; rm -rf x.key'"),
        "{hint}"
    );
}
