//! `kmi serve`, `kmi stop`, `kmi reload`, and the signals.

use std::{fs, net::TcpStream, process::Stdio, time::Duration};

use kmi_proxy::demo::{Scenario, Shape};
use rustix::process::Signal;

use crate::{
    kmi::{User, mode},
    proxy::{Background, Proxy, Upstream, eventually},
};

#[test]
fn one_line_says_where_it_serves() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    let mut proxy = Proxy::start(&user);
    let port = proxy.base_url.split([':', '/']).nth(4).unwrap();
    assert_eq!(proxy.line, format!("kmi serves at http://127.0.0.1:{port}/kmi-rotor/v1\n"));
    assert_eq!(proxy.chat().status, 200);
    assert_eq!(mode(&user.path(".kmi/run/kmi.sock")), 0o600);
    insta::assert_snapshot!(user.run("stop").told(), @"
    0
    --- out
    --- err
    stopped
    ");
    assert_eq!(proxy.process.wait(), Some(0));
    assert!(!user.path(".kmi/run/kmi.sock").exists());
}

#[test]
fn the_second_is_told_of_the_first() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let proxy = Proxy::start(&user);
    let pid = proxy.process.pid();
    for args in ["serve", "serve --detach"] {
        let run = user.run(args);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{args}");
        let (what, hint) = run.err.split_once('\n').unwrap();
        assert!(what.contains(&format!("another kmi (process {pid}) serves ~/.kmi")), "{what}");
        assert!(hint.starts_with("hint: "), "{hint}");
    }
    assert_eq!(proxy.chat().status, 200);
}

#[test]
fn a_taken_port_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let run = User::new().run(&format!("serve --listen {address}"));
    assert_eq!(
        run.told(),
        format!(
            "1\n--- out\n--- err\n\
         error: cannot listen on {address}: Address already in use (os error 98)\n\
         hint: choose another address with `--listen ADDR`; port 0 picks a free one\n"
        )
    );
}

#[test]
fn a_proxy_for_other_machines_tells_an_address_that_it_answers_at() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let proxy = Proxy::start_with(&user, "serve --listen 0.0.0.0:0 --set proxy.allow_remote=true");
    assert!(proxy.base_url.starts_with("http://127.0.0.1:"), "{}", proxy.line);
    assert_eq!(proxy.chat().status, 200);
    let status = user.run("status --json").json();
    assert_eq!(status["proxy"]["base_url"], proxy.base_url.as_str());
    insta::assert_snapshot!(Proxy::said(&user), @"
    warning: other machines reach kmi, which listens on 0.0.0.0: requests cross the network unencrypted, and whoever has the token can spend the keys
    hint: listen on 127.0.0.1 and reach it through a tunnel, as `ssh -L`, if you can
    ");
}

#[test]
fn in_the_background() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let run = user.run("serve --detach").good();
    assert!(run.out.starts_with("kmi serves at http://127.0.0.1:"), "{}", run.told());
    let status = user.run("status --json").json();
    let pid = &status["proxy"]["pid"];
    assert_eq!(run.err, format!("process {pid}; `kmi stop` ends it\n"));
    assert_eq!(status["proxy"]["running"], true);
    assert_eq!(mode(&user.path(".kmi/state/kmi.log")), 0o600);
    user.run("stop").good();
    assert_eq!(user.run("status --json").json()["proxy"]["running"], false);
    let again = user.run("serve --detach").good();
    assert!(again.out.starts_with("kmi serves at"), "right after `kmi stop`: {}", again.told());
    user.run("stop").good();
}

#[test]
fn without_a_proxy_there_is_nothing_to_stop() {
    for args in ["stop", "reload"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(User::new().run(args).told(), @"
            1
            --- out
            --- err
            error: no proxy runs on this home
            hint: start one with `kmi serve`
            ");
        }
    }
}

#[test]
fn sigterm_lets_requests_end() {
    let slow = Shape::sized(10, 5, Duration::from_millis(60));
    let upstream = Upstream::start(Scenario::healthy(1).with_shape(slow));
    let user = upstream.user();
    let mut proxy = Proxy::start(&user);
    let mut client = proxy.client();
    let asked = std::thread::spawn(move || client.stream());
    eventually("the request is under way", || upstream.stand_in.requests_per_key() == [1]);
    proxy.process.signal(Signal::TERM);
    let answer = asked.join().unwrap().unwrap();
    assert!(answer.body.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{answer:?}");
    assert_eq!(proxy.process.wait(), Some(0));
    let address = proxy.base_url.split('/').nth(2).unwrap();
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(
        Proxy::said(&user),
        "stopping: running requests may end; a second signal ends them at once\n"
    );
}

#[test]
fn a_broken_configuration_does_not_keep_a_proxy_from_being_stopped() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let mut proxy = Proxy::start(&user);
    user.file(".kmi/kmi.config.toml", "[proxy]\nlisen = 1\n");
    assert_eq!(user.run("reload").code, 2);
    assert_eq!(user.run("stop").good().err, "stopped\n");
    assert_eq!(proxy.process.wait(), Some(0));
}

#[test]
fn a_proxy_without_keys_says_so() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user_without_keys();
    let proxy = Proxy::start(&user);
    insta::assert_snapshot!(Proxy::said(&user), @"
    warning: there is no key yet: every request will be refused
    hint: `kmi keys add LABEL` adds one, also while kmi runs; `kmi keys import` finds some
    ");
    user.file(".kmi/_auths/k1.key", &upstream.stand_in.scenario().keys[0].secret);
    eventually("the key is told", || Proxy::said(&user).ends_with("reloaded: 1 key\n"));
    assert_eq!(proxy.chat().status, 200);
    let second = user.run("serve --detach");
    let pid = proxy.process.pid().to_string();
    insta::assert_snapshot!(second.told().replace(&pid, "PID"), @"
    1
    --- out
    --- err
    error: the proxy did not start: another kmi (process PID) serves ~/.kmi
    hint: stop it with `kmi stop`, or use another `--home`
    ");
}

#[test]
fn sighup_reloads() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    let proxy = Proxy::start(&user);
    user.file(".kmi/kmi.config.toml", "[proxy]\nlisen = 1\n");
    proxy.process.signal(Signal::HUP);
    eventually("the mistake is told", || Proxy::said(&user).contains("unknown key `proxy.lisen`"));
    assert_eq!(proxy.chat().status, 200, "what was in force stays");
    fs::remove_file(user.path(".kmi/kmi.config.toml")).unwrap();
    proxy.process.signal(Signal::HUP);
    eventually("the reload is told", || Proxy::said(&user).contains("reloaded: 2 keys"));
}

#[test]
fn reload_tells_what_is_wrong() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    let proxy = Proxy::start(&user);
    user.file(".kmi/_auths/odd.toml", "api_key = 7\n");
    let run = user.run("reload").good();
    assert!(run.err.contains("warning: ~/.kmi/_auths/odd.toml:1: "), "{}", run.err);
    assert!(run.err.ends_with("reloaded: 2 keys\n"), "{}", run.err);
    user.file(".kmi/kmi.config.toml", "[rotation]\nmode = 7\n");
    // The command reads the same file, so it hears of it first.
    assert_eq!(user.run("reload").code, 2);
    assert_eq!(proxy.chat().status, 200);
}

#[test]
fn a_reload_says_what_waits_for_a_restart() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    let proxy = Proxy::start(&user);
    let file = user.path(".kmi/kmi.config.toml");
    let config = fs::read_to_string(&file).unwrap();
    let changed = config.replace("127.0.0.1:0", "127.0.0.1:1")
        + "[rotation]\nmode = \"auto\"\n[trace]\nretention = \"2GiB\"\n";
    fs::write(&file, changed).unwrap();
    // However often: it stays so.
    for times in 1..=2 {
        insta::allow_duplicates! {
            insta::assert_snapshot!(user.run("reload").good().told(), @"
            0
            --- out
            --- err
            warning: changed, but not in force before a restart: proxy.listen, rotation.mode, trace.retention
            hint: `kmi stop`, then `kmi serve`
            reloaded: 2 keys
            ");
        }
        eventually("it is told", || Proxy::said(&user).matches("reloaded").count() == times);
    }
    assert_eq!(Proxy::said(&user).matches("proxy.listen").count(), 1, "the log says it once");
    fs::write(&file, config).unwrap();
    assert_eq!(user.run("reload").good().err, "reloaded: 2 keys\n");
    assert_eq!(proxy.chat().status, 200);
}

#[test]
fn verbose_says_what_is_used() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let home = user.path(".kmi");
    let proxy = Proxy::start_with(&user, "-vv serve");
    let said = Proxy::said(&user).replace(home.to_str().unwrap(), "HOME");
    assert!(said.starts_with("home: HOME\nconfiguration: HOME/kmi.config.toml\n"), "{said}");
    assert!(said.contains("proxy.listen = \"127.0.0.1:0\" (HOME/kmi.config.toml:2)\n"), "{said}");
    drop(proxy);
}

#[test]
fn many_that_start_at_once_make_one_token_and_one_secret() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let start = |args: &str| {
        let mut command = user.std_command(args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Background::spawn(command)
    };
    let mut runs: Vec<_> = (0..6).map(|_| start("status")).collect();
    let _proxy = start("serve");
    assert!(runs.iter_mut().all(|run| run.wait() == Some(0)));
    let read = |name: &str| fs::read_to_string(user.path(".kmi/state").join(name)).unwrap();
    let (token, secret) = (read("token"), read("secret"));
    assert_eq!((token.trim().len(), secret.trim().len()), (64, 64));
    let ids = |run: serde_json::Value| run["keys"][0]["key"].clone();
    let id = ids(user.run("status --json").json());
    assert_eq!(ids(user.run("status --json").json()), id);
    assert_eq!((read("token"), read("secret")), (token, secret));
    let left = fs::read_dir(user.path(".kmi/state")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("tmp")), "{left:?}");
}

#[test]
fn a_home_that_cannot_be_used_is_told() {
    let user = User::new();
    user.file("file", "");
    insta::assert_snapshot!(user.run("--home ../file status").told(), @"
    2
    --- out
    --- err
    error: ~/work/../file is no directory
    hint: name kmi's home with `--home DIR`
    ");
    let long = format!("--home {} --set proxy.listen=127.0.0.1:0", "x".repeat(120));
    let run = user.run(&format!("{long} serve"));
    assert_eq!(run.code, 1);
    assert!(
        run.err.ends_with("hint: use a home with a shorter path: `--home DIR`\n"),
        "{}",
        run.err
    );
    user.run(&format!("{long} status")).good();

    user.file("broken/state/ledger.db", "this is no database, is it?");
    for args in ["status", "verify", "serve", "trace export"] {
        let run = user.run(&format!("--home ../broken {args}"));
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{args}");
        assert!(run.err.contains("ledger.db is no kmi ledger"), "{}", run.err);
        assert_eq!(run.err.lines().count(), 2, "{}", run.err);
    }
}

#[test]
fn a_second_signal_ends_requests_at_once() {
    let endless = Shape::sized(10, 10, Duration::from_mins(1));
    let upstream = Upstream::start(Scenario::healthy(1).with_shape(endless));
    let user = upstream.user();
    let mut proxy = Proxy::start(&user);
    let mut client = proxy.client();
    let asked = std::thread::spawn(move || client.stream());
    eventually("the request is under way", || upstream.stand_in.requests_per_key() == [1]);
    proxy.process.signal(Signal::INT);
    eventually("it is stopping", || Proxy::said(&user).starts_with("stopping: "));
    proxy.process.signal(Signal::INT);
    assert_eq!(proxy.process.wait(), Some(0));
    assert!(!asked.join().unwrap().is_ok_and(|answer| answer.body.contains("[DONE]")));
    let trace = user.run("trace export").good().out;
    assert!(trace.contains("\"outcome\":\"shutdown\""), "{trace}");
}

#[test]
fn a_configuration_that_is_away_for_a_moment_changes_nothing() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    let proxy = Proxy::start(&user);
    let file = user.path(".kmi/kmi.config.toml");
    let away = user.path("away.toml");
    fs::rename(&file, &away).unwrap();
    user.file(".kmi/_auths/odd.toml", "api_key = 7\n");
    eventually("it is told", || Proxy::said(&user).contains("the configuration file is gone"));
    assert_eq!(proxy.chat().status, 200, "what was in force stays");
    fs::rename(&away, &file).unwrap();
    fs::remove_file(user.path(".kmi/_auths/odd.toml")).unwrap();
    eventually("it is back", || Proxy::said(&user).contains("reloaded: 2 keys"));
    assert_eq!(proxy.chat().status, 200);
}
