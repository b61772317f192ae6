//! `kmi demo`.

use std::{fs, io::BufRead as _, path::PathBuf, process::Stdio};

use rustix::process::Signal;

use crate::{
    kmi::User,
    proxy::{Background, eventually},
};

/// A user with an empty directory for temporary files.
fn user() -> (User, PathBuf) {
    let user = User::new();
    let temporary = user.path("tmp");
    fs::create_dir(&temporary).unwrap();
    (user, temporary)
}

fn is_empty(dir: &PathBuf) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn sixty_requests_are_proved_fair_and_leave_nothing() {
    let (user, temporary) = user();
    let mut command = user.command("demo --requests 60");
    command.env("TMPDIR", &temporary);
    let run = user.finish(command).good();
    for part in ["alpha", "golf", "verified: ", "chain: "] {
        assert!(run.out.contains(part), "{part}: {}", run.told());
    }
    assert!(is_empty(&temporary));
    assert!(!user.path(".kmi").exists());
}

#[test]
fn json_is_the_report() {
    let (user, temporary) = user();
    let mut command = user.command("-q demo --requests 60 --json");
    command.env("TMPDIR", &temporary);
    let run = user.finish(command).good();
    assert_eq!((&run.json()["verdict"], run.err.as_str()), (&"verified".into(), ""));
}

/// Code 3 belongs to `kmi verify`; a short demonstration has gone well.
#[test]
fn too_few_requests_to_judge_are_no_failure() {
    let (user, temporary) = user();
    let mut command = user.command("demo --requests 5");
    command.env("TMPDIR", &temporary);
    let run = user.finish(command).good();
    assert!(run.out.contains("insufficient data: 5 turns prove nothing yet"), "{}", run.told());
}

#[test]
fn ctrl_c_leaves_nothing() {
    let (user, temporary) = user();
    let mut command = user.std_command("demo --requests 100000");
    command.env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Background::spawn(command);
    eventually("it is at work", || !is_empty(&temporary));
    process.signal(Signal::INT);
    assert_eq!(process.wait(), Some(130));
    assert!(is_empty(&temporary));
}

#[test]
fn it_keeps_serving_until_it_is_ended() {
    let (user, temporary) = user();
    let mut command = user.std_command("-q demo --requests 60 --serve");
    command.env("TMPDIR", &temporary).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Background::spawn(command);
    let mut lines = process.stdout().lines().map_while(Result::ok);
    // Before the requests and their proof: whoever wants to watch must know where.
    assert!(lines.next().unwrap().starts_with("kmi serves at http://127.0.0.1:"));
    let home = fs::read_dir(&temporary).unwrap().next().unwrap().unwrap().path().join("home");
    let status = user.run(&format!("--home {} status --json", home.display())).good().json();
    assert_eq!(status["proxy"]["running"], true);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0));
    assert!(is_empty(&temporary));
}
