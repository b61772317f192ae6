//! Restarts on the same listener: nobody is refused, nothing is lost, the process stays the same.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kmi_proxy::demo::{Act, Scenario, Shape, When};
use serde_json::Value;

use crate::{
    kmi::User,
    proxy::{Background, Client, Proxy, Upstream, eventually},
};

const KEYS: usize = 5;
const CLIENTS: usize = 4;
const RESTARTS: usize = 10;
/// Requests between two of them, at least.
const LOAD: u64 = 60;

#[test]
fn no_request_fails_while_the_program_is_replaced_again_and_again() {
    let slow = |scenario: Scenario, key| {
        scenario.with_fault(key, When::Always, Act::SlowHead(Duration::from_millis(3)))
    };
    let upstream = Upstream::start((0..KEYS).fold(Scenario::healthy(KEYS), slow));
    let user = upstream.user();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    let pid = proxy.process.pid();

    let done = Arc::new(AtomicBool::new(false));
    let visit = |mut client: Client| {
        let done = Arc::clone(&done);
        move || {
            let mut turns = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let answer = client.chat().expect("an answer");
                assert_eq!(answer.status, 200, "{answer:?}");
                turns.push(answer.turn());
                if answer.header("connection") == "close" {
                    client = client.again();
                }
            }
            turns
        }
    };
    let visitors: Vec<_> =
        (0..CLIENTS).map(|_| std::thread::spawn(visit(proxy.client()))).collect();
    let served = || upstream.stand_in.requests_per_key().iter().sum::<u64>();
    for restart in 1..=RESTARTS {
        let before = served();
        eventually("requests are served", || served() > before + LOAD);
        let run = user.run("reload --binary").good();
        assert!(run.err.contains(" serves now\n"), "{restart}: {}", run.told());
    }
    done.store(true, Ordering::Relaxed);
    let mut turns: Vec<u64> =
        visitors.into_iter().flat_map(|visitor| visitor.join().unwrap()).collect();
    turns.sort_unstable();
    assert!(turns.iter().copied().eq(1..=turns.len() as u64), "a turn is lost or there twice");

    let status = user.run("status --json").good().json();
    assert_eq!(status["proxy"]["pid"], pid, "the process is the same");
    user.run("stop").good();
    let report = user.run("verify --json").good().json();
    assert_eq!(
        [&report["verdict"], &report["turns"], &report["violations"], &report["gaps"]],
        [&Value::from("verified"), &turns.len().into(), &0.into(), &Value::Array(vec![])]
    );
}

#[test]
fn a_running_stream_ends_whole_and_others_wait_for_it() {
    let slow = Shape::sized(10, 5, Duration::from_millis(100));
    let upstream = Upstream::start(Scenario::healthy(1).with_shape(slow));
    let user = upstream.user();
    let proxy = Proxy::start(&user);
    let mut client = proxy.client();
    let asked = std::thread::spawn(move || client.stream());
    eventually("the request is under way", || upstream.stand_in.requests_per_key() == [1]);
    user.run("reload --binary").good();
    let answer = asked.join().unwrap().unwrap();
    assert!(answer.body.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{answer:?}");
    assert_eq!(proxy.chat().status, 200);
}

#[test]
fn a_program_that_cannot_start_changes_nothing() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    let program = user.path("kmi");
    let put = |text: &[u8]| {
        let next = user.path("next");
        fs::write(&next, text).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(next, &program).unwrap();
    };
    put(&fs::read(env!("CARGO_BIN_EXE_kmi")).unwrap());
    let proxy = Proxy::start_program(&user, &program);
    for (text, said) in [(&b"#!/bin/sh\necho other 1.0\n"[..], "other 1.0"), (b"", "xec format")] {
        put(text);
        let run = user.run("reload --binary");
        assert_eq!(run.code, 1, "{}", run.told());
        assert!(run.err.starts_with("error: ~/kmi is no kmi that can be started"), "{}", run.err);
        assert!(run.err.contains(said), "{}", run.err);
        assert_eq!(proxy.chat().status, 200);
    }
    user.file(".kmi/kmi.config.toml", "[proxy]\nlisen = 1\n");
    assert_eq!(user.run("reload --binary").code, 2);
    assert_eq!(proxy.chat().status, 200);
}

#[test]
fn without_a_proxy_of_its_own_nothing_is_replaced() {
    let user = User::new();
    assert!(user.run("reload --binary").err.starts_with("error: no proxy runs on this home\n"));
}

#[test]
fn systemd_hands_over_a_listener() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let kept = listener.try_clone().unwrap();
    let start = |pid: &str, listener: TcpListener| {
        let mut command = std::process::Command::new("/bin/sh");
        // As sd_listen_fds(3) has it: descriptor 3, and the number of the process that is meant.
        let script =
            format!("exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID={pid} exec \"$0\" serve");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_kmi")])
            .env_clear()
            .env("HOME", user.path(""))
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Proxy::of(&user, Background::spawn(command))
    };
    let mut proxy = start("$$", listener);
    assert_eq!(proxy.base_url, format!("http://{address}/kmi-rotor/v1"));
    assert_eq!(proxy.chat().status, 200);
    user.run("reload --binary").good();
    user.run("stop").good();
    assert_eq!(proxy.process.wait(), Some(0));

    // Whoever comes meanwhile waits in the listener, which systemd keeps.
    let mut early = proxy.client();
    let asked = std::thread::spawn(move || early.chat());
    let proxy = start("$$", kept.try_clone().unwrap());
    assert_eq!(asked.join().unwrap().unwrap().status, 200);
    drop(proxy);

    let proxy = start("1", kept);
    assert_ne!(proxy.base_url, format!("http://{address}/kmi-rotor/v1"), "meant for another one");
}

#[test]
fn a_listener_for_everybody_is_refused() {
    let user = Upstream::healthy(1).user();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut command = std::process::Command::new("/bin/sh");
    let script = "exec 3<&0; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve";
    command.args(["-c", script, env!("CARGO_BIN_EXE_kmi")]).env_clear();
    command.env("HOME", user.path("")).stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("is open to other machines, and proxy.allow_remote is not set"),
        "{said}"
    );
}
