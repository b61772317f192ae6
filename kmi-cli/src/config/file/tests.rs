use super::*;

fn parsed(name: &str, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    let mut problems = Vec::new();
    let settings = read(&path, &mut problems).unwrap();
    let line = |origin: &Origin| match origin {
        Origin::File { line, .. } => *line,
        other => panic!("{other}"),
    };
    let mut told: Vec<String> =
        settings.iter().map(|s| format!("{} {} = {:?}", line(&s.origin), s.key, s.value)).collect();
    let root = format!("{}/", dir.path().display());
    told.extend(problems.iter().map(|p| format!("{p} | {}", p.remedy()).replace(&root, "")));
    told.join("\n")
}

#[test]
fn toml_keeps_order_lines_and_types() {
    let text = "\u{feff}proxy.listen = \"127.0.0.1:1\"\r\n[upstream.z]\r\nkind = \"openai\"\n\
                [upstream.a]\nconnect_timeout = 3\ndefault = true\n[rotation]\nmax_attempts = 0x1_0\n";
    insta::assert_snapshot!(parsed("c.toml", text), @r#"
    1 proxy.listen = Text("127.0.0.1:1")
    3 upstream.z.kind = Text("openai")
    5 upstream.a.connect_timeout = Integer(3)
    6 upstream.a.default = Bool(true)
    8 rotation.max_attempts = Integer(16)
    "#);
}

#[test]
fn json_keeps_order_lines_and_types() {
    let text = "{\n \"proxy\": {\"listen\": \"127.0.0.1:1\"},\n \"upstream\": {\n  \"z\": {\n   \"kind\": \
                \"openai\"},\n  \"a\": {\"default\": true}},\n \"rotation\": {\"max_attempts\": 1.5}\n}\n";
    insta::assert_snapshot!(parsed("c.json", text), @r#"
    2 proxy.listen = Text("127.0.0.1:1")
    5 upstream.z.kind = Text("openai")
    6 upstream.a.default = Bool(true)
    7 rotation.max_attempts = Float(1.5)
    "#);
}

#[test]
fn wrong_names_are_told_with_the_nearest() {
    let text = "[proxy]\nlisen = 1\n[proxi]\nlisten = 1\n[rotation]\nmode = { a = 1 }\n\
                [upstream]\nkimi = 3\n[upstream.\"a b\"]\nkind = 1\n";
    insta::assert_snapshot!(parsed("c.toml", text), @r#"
    6 rotation.mode = Other("a table")
    c.toml:2: unknown key `proxy.lisen` | did you mean `proxy.listen`?
    c.toml:3: unknown table [proxi] | did you mean [proxy]?
    c.toml:8: `upstream.kimi` is a table of settings, not a setting | write [upstream.kimi] and its keys below it
    c.toml:9: `a b` cannot be the name of an upstream | use a short name of letters, digits, `-` and `_`, as in [upstream.kimi]
    "#);
    let text = "\"proxy.listen\" = 1\nkeys = 5\n[health]\nfoo = 1\n[trace]\nretention = []\n";
    insta::assert_snapshot!(parsed("c.toml", text), @r#"
    6 trace.retention = Other("an array")
    c.toml:1: unknown key `"proxy.listen"` | did you mean `proxy.listen`?
    c.toml:2: `keys` is a table of settings, not a setting | write [keys] and its keys below it
    c.toml:4: unknown key `health.foo` | kmi.config.toml.example lists every key
    "#);
}

#[test]
fn the_same_key_twice_is_an_error() {
    insta::assert_snapshot!(parsed("c.toml", "[proxy]\nlisten = \"a\"\nlisten = \"b\"\n"), @"c.toml:3: duplicate key `listen` | kmi.config.toml.example shows how a configuration is written");
    insta::assert_snapshot!(parsed("c.toml", "[proxy]\n[keys]\n[proxy]\n"), @"c.toml:3: duplicate key `proxy` | kmi.config.toml.example shows how a configuration is written");
    insta::assert_snapshot!(
        parsed("c.json", "{\"proxy\": {\n\"listen\": 1,\n\"listen\": 2}, \"proxy\": {}}"), @"
    c.json:3: duplicate key `listen` | kmi.config.toml.example shows how a configuration is written
    c.json:3: duplicate key `proxy` | kmi.config.toml.example shows how a configuration is written
    "
    );
}

#[test]
fn what_is_no_toml_or_json_is_told_by_line() {
    insta::assert_snapshot!(parsed("c.toml", "[proxy]\nlisten = \n[keys\ndir = 'x'\n"), @"
    c.toml:2: string values must be quoted, expected literal string | kmi.config.toml.example shows how a configuration is written
    c.toml:3: unclosed table, expected `]` | kmi.config.toml.example shows how a configuration is written
    ");
    insta::assert_snapshot!(parsed("c.json", "{\n\"proxy\": {\n\"listen\": }}"), @"c.json:3: expected value | kmi.config.toml.example shows how a configuration is written");
    insta::assert_snapshot!(parsed("c.json", "[]"), @"c.json:1: invalid type: sequence, expected an object | kmi.config.toml.example shows how a configuration is written");
    assert_eq!(parsed("c.toml", ""), "");
    assert_eq!(parsed("c.json", "{}"), "");
}

#[test]
fn unreadable_files_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let read = |path: &Path| read(path, &mut Vec::new()).unwrap_err().to_string();
    assert!(read(&dir.path().join("none.toml")).contains("none.toml"));
    assert!(read(dir.path()).contains("it is a directory"));
    let path = dir.path().join("big.toml");
    fs::write(&path, "#".repeat(1 << 20) + "\n").unwrap();
    assert!(read(&path).contains("over 1 MiB"));
    fs::write(&path, b"a = \"\xff\"").unwrap();
    assert!(read(&path).contains("UTF-8"));
}

/// 20,000 levels: each of them read again, or on the stack, would be too much.
#[test]
fn a_file_may_be_deeper_than_the_stack() {
    let text = format!("{}1{}", "{\"keys\":".repeat(20_000), "}".repeat(20_000));
    assert_eq!(
        parsed("c.json", &text),
        "c.json:1: unknown key `keys.keys` | kmi.config.toml.example lists every key"
    );
}
