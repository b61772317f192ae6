//! `kmi init`.

use std::fs;

use assert_cmd::Command;

use crate::kmi::{User, mode};

#[test]
fn a_fresh_home_is_private_and_explained() {
    let user = User::new();
    insta::assert_snapshot!(user.run("init").told(), @"
    0
    --- out
    --- err
    made ~/.kmi/kmi.config.toml
    made ~/.kmi/.env
    made ~/.kmi/_auths/README.md

    Next:
      kmi keys add NAME    store a key (again for each further one)
      kmi auto on          let the keys take turns
      kmi run kimi         start Kimi through the proxy
    ");
    for dir in [".kmi", ".kmi/_auths", ".kmi/state", ".kmi/run"] {
        assert_eq!(mode(&user.path(dir)), 0o700, "{dir}");
    }
    for file in [".kmi/kmi.config.toml", ".kmi/.env", ".kmi/_auths/README.md"] {
        assert_eq!(mode(&user.path(file)), 0o600, "{file}");
    }
    let shown = user.run("config show").out;
    assert!(!shown.contains("kmi.config.toml") && !shown.contains(".env"), "{shown}");
}

#[test]
fn nothing_is_overwritten() {
    let user = User::new();
    user.file(".kmi/kmi.config.json", "{\"rotation\": {\"mode\": \"auto\"}}");
    user.file(".kmi/.env", "KMI_ROTATION_MAX_ATTEMPTS=9\n");
    let run = user.run("init");
    assert_eq!(run.code, 0);
    assert!(run.err.contains("kept ~/.kmi/kmi.config.json\nkept ~/.kmi/.env\n"), "{}", run.err);
    assert_eq!(
        fs::read_to_string(user.path(".kmi/.env")).unwrap(),
        "KMI_ROTATION_MAX_ATTEMPTS=9\n"
    );
    assert!(!user.path(".kmi/kmi.config.toml").exists());
    let again = user.run("init");
    assert!(!again.err.contains("made"), "{}", again.err);
}

#[test]
fn the_umask_does_not_matter() {
    for umask in ["000", "777"] {
        let user = User::new();
        let mut command = Command::new("sh");
        let script = format!("umask {umask}; exec \"$0\" -q init");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_kmi")])
            .env_clear()
            .env("HOME", user.path(""));
        let run = user.finish(command);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{umask}");
        assert_eq!(mode(&user.path(".kmi/state")), 0o700, "{umask}");
        assert_eq!(mode(&user.path(".kmi/.env")), 0o600, "{umask}");
    }
}

#[test]
fn a_home_that_is_not_the_usual_one_is_named_in_the_next_steps() {
    let run = User::new().run("--home ./it's init");
    assert!(run.err.contains("kmi --home '~/work/it'\\''s' auto on"), "{}", run.err);
}

#[test]
fn a_home_that_cannot_be_made_is_an_error_with_a_hint() {
    let user = User::new();
    user.file("file", "");
    insta::assert_snapshot!(user.run("--home ../file/home init").told(), @"
    1
    --- out
    --- err
    error: cannot make the directory ~/work/../file: File exists (os error 17)
    hint: a file is in its place: move it away, or choose another directory
    ");
}
