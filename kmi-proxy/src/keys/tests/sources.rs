use std::time::SystemTime;

use super::*;

#[test]
fn a_key_may_come_from_a_variable() {
    let mut home = Home::with(&[("a.toml", "\napi_key_env = 'WORK_KEY'")]);
    insta::assert_snapshot!(home.problems(), @r"
    Refused a.toml:2: the variable named by `api_key_env` is not set
      hint: set it where kmi is started, or in the home's .env
    ");
    home.variable("WORK_KEY", "bad key with blanks");
    insta::assert_snapshot!(home.problems(), @r"
    Refused a.toml:2: character 4 of the key is not printable ASCII (a blank, a quote mark of a word processor?)
      hint: correct the key in the environment variable
    ");
    home.variable("WORK_KEY", "sk-test-work");
    assert_eq!(home.keys(), ["a=sk-test-work"]);
}

#[test]
fn a_key_may_come_from_another_file() {
    let mut home = Home::with(&[
        ("a.toml", "api_key_file = '../secret'"),
        ("b.json", "{\"api_key_file\": \"~/.secret\"}"),
    ]);
    let user = TempDir::new().unwrap();
    home.variable("HOME", user.path().to_str().unwrap().to_owned().leak());
    insta::assert_snapshot!(home.problems(), @r"
    Refused a.toml:1: the file named by `api_key_file` does not exist
      hint: a relative path starts at the key file's directory
    Refused b.json:1: the file named by `api_key_file` does not exist
      hint: a relative path starts at the key file's directory
    ");
    let secret = write(&home.dir.path().join("secret"), "sk-test-a\n");
    let other = write(&user.path().join(".secret"), "sk-test-b");
    assert_eq!(home.keys(), ["a=sk-test-a", "b=sk-test-b"]);
    assert_eq!(home.load().targets, [home.path("../secret"), other]);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(home.keys(), ["b=sk-test-b"]);
    insta::assert_snapshot!(home.problems(), @r"
    Refused a.toml:1: `api_key_file` ../secret: others may read or change the file (mode 0644)
      hint: chmod 600 ../secret
    ");
}

#[test]
fn a_key_may_come_from_a_command() {
    let home = Home::with(&[
        ("a.toml", "api_key_cmd = ['printf', 'sk-%s\\n', 'test-$HOME']"),
        ("b.toml", "\napi_key_cmd = ['sh', '-c', 'echo not signed in >&2; exit 1', 'sk-test-b']"),
        ("c.toml", "api_key_cmd = 'echo sk-test-c'"),
        ("d.toml", "api_key_cmd = []"),
        ("e.toml", "api_key_cmd = ['./tool']"),
        ("f.toml", "api_key_cmd = ['printf', 'sk-test-f and more']"),
    ]);
    let tool = home.dir.path().join("_auths/tool");
    fs::write(&tool, "#!/bin/sh\necho sk-test-tool\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(home.keys(), ["a=sk-test-$HOME", "e=sk-test-tool"]);
    insta::assert_snapshot!(home.problems(), @r#"
    Refused b.toml:2: the command failed (exit status: 1): not signed in
      hint: run it by hand; it may need you to sign in first
    Refused c.toml:1: `api_key_cmd` must be a list: the program and its arguments
      hint: for example api_key_cmd = ["op", "read", "op://vault/kimi/key"]; there is no shell
    Refused d.toml:1: `api_key_cmd` must be a list: the program and its arguments
      hint: for example api_key_cmd = ["op", "read", "op://vault/kimi/key"]; there is no shell
    Refused f.toml:1: character 10 of the key is not printable ASCII (a blank, a quote mark of a word processor?)
      hint: the command must print the key and nothing else
    Notice tool: ignored: this is no key file
      hint: key files end in .env, .toml, .json or .key
    "#);
}

#[test]
fn programs_are_asked_side_by_side() {
    // Each one waits until all are running: one after the other they would never end.
    let script =
        "touch run-$1; until [ $(ls run-* | wc -l) = 5 ]; do sleep 0.01; done; echo sk-test-$1";
    let files: Vec<_> = (0..5)
        .map(|n| {
            (format!("k{n}.toml"), format!("api_key_cmd = ['sh', '-c', '{script}', 'sh', '{n}']"))
        })
        .collect();
    let files: Vec<_> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    assert_eq!(Home::with(&files).keys().len(), 5);
}

#[test]
fn a_keyring_entry_is_named_by_service_and_user() {
    let home = Home::with(&[
        ("a.toml", "api_key_keyring = 'kimi'"),
        ("b.toml", "api_key_keyring = '/work'"),
        ("c.toml", "api_key_keyring = 1"),
    ]);
    insta::assert_snapshot!(home.problems(), @r#"
    Refused a.toml:1: `api_key_keyring` must be "service/user"
      hint: for example api_key_keyring = "kimi/work"
    Refused b.toml:1: `api_key_keyring` must be "service/user"
      hint: for example api_key_keyring = "kimi/work"
    Refused c.toml:1: `api_key_keyring` must be text
      hint: put it into quotes
    "#);
}

#[test]
fn one_source_is_enough() {
    let home = Home::with(&[("a.toml", "api_key_env = 'X'\napi_key = 'sk-test-a'\n")]);
    insta::assert_snapshot!(home.problems(), @r"
    Refused a.toml:2: `api_key` is given as well as `api_key_env`
      hint: keep one source of the key
    ");
}

#[test]
fn keys_of_the_environment_come_last_and_keep_their_names() {
    let mut home = Home::with(&[("z.key", "sk-test-z")]);
    home.env_key("WORK", " sk-test-work ", 3);
    home.env_key("EMPTY", "", 4);
    home.env_key("BAD", "sk test", 5);
    assert_eq!(home.keys(), ["z=sk-test-z", "WORK=sk-test-work"]);
    assert_eq!(&*home.load().keys[1].origin, "HOME/.env:3");
    insta::assert_snapshot!(home.problems(), @r"
    Refused HOME/.env:5: character 3 of the key is not printable ASCII (a blank, a quote mark of a word processor?)
      hint: correct the key there
    ");
    assert!(!format!("{:?}", home.sources).contains("sk-test"));
}

#[test]
fn a_program_is_asked_once_as_long_as_its_key_file_stays() {
    let ask = "api_key_cmd = ['sh', '-c', 'echo x >> asked; test -e ready && echo sk-test-a']";
    let home = Home::with(&[("a.toml", ask)]);
    let asked = || fs::read_to_string(home.path("asked")).unwrap().lines().count();
    assert_eq!((home.keys().len(), asked()), (0, 1));
    fs::write(home.path("ready"), "").unwrap();
    assert_eq!(
        (home.keys(), asked()),
        (vec!["a=sk-test-a".to_owned()], 2),
        "a failure is asked again"
    );
    fs::remove_file(home.path("ready")).unwrap();
    home.write("b.key", "sk-test-b");
    assert_eq!((home.keys().len(), asked()), (2, 2), "another file costs nothing");
    home.sources.answers.forget();
    assert_eq!((home.keys().len(), asked()), (1, 3));
    fs::write(home.path("ready"), "").unwrap();
    assert_eq!((home.keys().len(), asked()), (2, 4));
    let later = SystemTime::now() + Duration::from_secs(1);
    fs::File::options()
        .append(true)
        .open(home.path("a.toml"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    assert_eq!((home.keys().len(), asked()), (2, 5), "the key file was written again");
}

#[test]
fn a_file_that_was_just_written_is_waited_for() {
    let mut home = Home::with(&[("a.key", "sk-test-a")]);
    home.sources.settle = Duration::from_millis(200);
    assert_eq!(home.keys(), ["a=sk-test-a"]);
    let written = fs::metadata(home.path("a.key")).unwrap().modified().unwrap();
    assert!(written.elapsed().unwrap() >= home.sources.settle);
}
