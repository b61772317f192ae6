//! `kmi completions`, `kmi man` and `kmi service`.

use std::{fs, os::unix::fs::symlink, process::Command};

use crate::kmi::User;

#[test]
fn completions_know_the_commands() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = user.run(&format!("completions {shell}")).good();
        for word in ["auto_rotate", "doctor", "import"] {
            assert!(run.out.contains(word), "{shell} lacks {word}");
        }
        assert_eq!(run.err, "");
    }
    assert_eq!(user.run("completions nonsense").code, 2);
    assert!(!user.path(".kmi").exists());
}

#[test]
fn bash_completes() {
    let user = User::new();
    let script = r#"source <(kmi completions bash)
        COMP_WORDS=(kmi ver); COMP_CWORD=1; _kmi kmi ver kmi; echo "${COMPREPLY[*]}""#;
    let kmi = std::path::Path::new(env!("CARGO_BIN_EXE_kmi")).parent().unwrap();
    let output = Command::new("bash")
        .args(["-c", script])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", kmi.display()))
        .env("HOME", user.path(""))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "verify\n");
}

#[test]
fn man_pages_are_written_for_every_command() {
    let user = User::new();
    let page = user.run("man").good().out;
    assert!(page.contains(".TH kmi 1") && page.contains(r"kmi\-doctor(1)"), "{page}");
    assert!(page.contains("kmi keys add work"), "the examples: {page}");
    user.run("man -o pages").good();
    for name in ["kmi", "kmi-serve", "kmi-keys-import", "kmi-trace-export"] {
        assert!(user.path(&format!("work/pages/{name}.1")).is_file(), "{name}");
    }
}

const SOCKET: &str = ".config/systemd/user/kmi.socket";
const UNIT: &str = ".config/systemd/user/kmi.service";

#[test]
fn a_unit_is_written_and_removed() {
    let user = User::new();
    let run = user.run("service install --manager systemd").good();
    insta::assert_snapshot!(run.told(), @"
    0
    --- out
    systemctl --user daemon-reload
    systemctl --user enable --now kmi.service
    --- err
    wrote ~/.config/systemd/user/kmi.service
    wrote ~/.config/systemd/user/kmi.socket
    to start it now and at every login, run:
    ");
    let unit = fs::read_to_string(user.path(UNIT)).unwrap();
    let exec = format!("\nExecStart={} serve\n", env!("CARGO_BIN_EXE_kmi"));
    assert!(unit.contains(&exec), "{unit}");
    let socket = fs::read_to_string(user.path(SOCKET)).unwrap();
    assert!(socket.contains("\nListenStream=127.0.0.1:54123\n"), "{socket}");
    let again = user.run("service install --manager systemd").good();
    assert!(again.err.starts_with("unchanged: "), "{}", again.err);
    let enabled = user.path(".config/systemd/user/default.target.wants/kmi.service");
    fs::create_dir(enabled.parent().unwrap()).unwrap();
    symlink(user.path(UNIT), &enabled).unwrap();
    insta::assert_snapshot!(user.run("service uninstall --manager systemd").good().told(), @"
    0
    --- out
    systemctl --user stop kmi.socket kmi.service
    systemctl --user daemon-reload
    --- err
    removed ~/.config/systemd/user/kmi.service
    removed ~/.config/systemd/user/kmi.socket
    to stop it, run:
    ");
    assert!(!user.path(UNIT).exists() && !user.path(SOCKET).exists() && !enabled.is_symlink());
    user.run("service uninstall --manager systemd").good();
    assert!(!user.path(".kmi").exists(), "the home is the service's to make");
}

#[test]
fn the_service_runs_as_this_command() {
    let user = User::new();
    user.file("my.toml", "");
    let line = "--home ./it's --config ../my.toml --set proxy.drain_timeout=1m \
                service install --dry-run";
    let systemd = user.run(&format!("{line} --manager systemd")).good().out;
    let exec = "kmi --home \"~/work/./it's\" --config ~/work/../my.toml --set proxy.drain_timeout=1m serve\n";
    assert!(
        systemd.contains(&exec.replace("/./", "/")) && systemd.contains("TimeoutStopSec=70\n"),
        "{systemd}"
    );
    let launchd = user.run(&format!("{line} --manager launchd")).good().out;
    assert!(launchd.contains("<string>proxy.drain_timeout=1m</string>"), "{launchd}");
    let random = user.run("--set proxy.listen=127.0.0.1:0 service install");
    assert_eq!((random.code, random.err.lines().count()), (2, 2), "{}", random.err);
    assert!(!user.path(".config").exists() && !user.path("Library").exists());
}

#[test]
fn what_is_not_kmis_stays() {
    let user = User::new();
    user.file(UNIT, "[Service]\nExecStart=/usr/bin/mine\n");
    for command in ["install", "uninstall"] {
        let run = user.run(&format!("service {command} --manager systemd"));
        assert_eq!(run.code, 1);
        assert_eq!(
            run.err,
            format!(
                "error: ~/{UNIT} is not kmi's\nhint: look at it, and move it away if it is not needed\n"
            )
        );
    }
    assert!(fs::read_to_string(user.path(UNIT)).unwrap().contains("/usr/bin/mine"));
    assert!(!user.path(SOCKET).exists(), "all or nothing");
}

#[test]
fn keys_of_the_shell_are_no_keys_of_the_service() {
    let user = User::new();
    let mut command = user.command("service install --manager systemd");
    command.env("KMI_API_KEY_WORK", "sk-secret-4711");
    let run = user.finish(command).good();
    assert!(
        run.err.contains("keys in this shell's environment do not reach the service"),
        "{}",
        run.err
    );
    assert!(!fs::read_to_string(user.path(UNIT)).unwrap().contains("4711"));
}
