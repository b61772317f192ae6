//! `kmi run`.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Stdio,
};

use assert_cmd::Command;
use rustix::process::Signal;

use crate::{
    kmi::{Run, User},
    proxy::{Background, Client, Proxy, Upstream, eventually},
};

/// `kmi run -- sh -c SCRIPT`.
fn sh(user: &User, script: &str) -> Run {
    let mut command = user.command("run --");
    command.args(["sh", "-c", script]);
    user.finish(command)
}

fn variables(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
    text.lines().filter_map(pair).collect()
}

#[test]
fn the_environment_is_the_documented_one() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let proxy = Proxy::start(&user);
    let script = "env | grep -v -e ^PWD= -e ^OLDPWD= -e ^SHLVL= -e ^_=";
    let mut command = user.command("run -- sh -c");
    command.arg(script).env("KMI_API_KEY_MINE", "sk-mine-12345").env("NO_PROXY", "corp");
    let mut told = variables(&user.finish(command).good().out);
    assert_eq!(told.remove("HOME").unwrap(), "~");
    assert_eq!(told.remove("PATH").unwrap(), "/usr/bin:/bin");
    let token = fs::read_to_string(user.path(".kmi/state/token")).unwrap().trim().to_owned();
    let base = proxy.base_url.trim_end_matches("/v1");
    let base = format!("{base}/t/{token}");
    let openai = format!("{base}/v1");
    let expected = BTreeMap::from(
        [
            ("ANTHROPIC_AUTH_TOKEN", token.as_str()),
            ("ANTHROPIC_BASE_URL", &base),
            ("KIMI_API_KEY", &token),
            ("KIMI_BASE_URL", &openai),
            ("KIMI_MODEL_API_KEY", &token),
            ("KIMI_MODEL_BASE_URL", &openai),
            ("KIMI_MODEL_NAME", "kimi-for-coding"),
            ("NO_PROXY", "corp,127.0.0.1,localhost"),
            ("OPENAI_API_KEY", &token),
            ("OPENAI_BASE_URL", &openai),
            ("no_proxy", "corp,127.0.0.1,localhost"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    assert_eq!(told, expected);
    let env = variables(&user.run("env").good().out.replace("export ", "").replace('\'', ""));
    assert_eq!(env["KIMI_BASE_URL"], openai, "`kmi env` asks the running proxy");
}

#[test]
fn a_model_that_is_asked_for_is_set() {
    let user = Upstream::healthy(1).user();
    let run = user.run("run --model kimi-k2 -- sh -c env").good();
    assert!(run.out.contains("KIMI_MODEL_NAME=kimi-k2\n"), "{}", run.out);
}

#[test]
fn the_exit_code_is_the_programs() {
    let user = Upstream::healthy(1).user();
    assert_eq!(sh(&user, "exit 0").code, 0);
    assert_eq!(sh(&user, "exit 42").code, 42);
    assert_eq!(sh(&user, "kill -KILL $$").code, 137);
    insta::assert_snapshot!(user.run("run -- no-such-program").told(), @"
    127
    --- out
    --- err
    error: cannot start `no-such-program`: No such file or directory (os error 2)
    hint: check the spelling, or give the whole path
    ");
    insta::assert_snapshot!(user.run("run").told(), @"
    2
    --- out
    --- err
    error: `kmi run` needs <CMD>...
    hint: `kmi run --help` shows what is possible
    ");
}

#[test]
fn a_proxy_runs_beside_the_program() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    let mut command = user.std_command("run -- sh -c");
    command.arg("echo $OPENAI_BASE_URL; read line");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Background::spawn(command);
    let mut url = String::new();
    process.stdout().read_line(&mut url).unwrap();
    assert_eq!(
        Client::connect(url.trim(), "a login of the client's own").chat().unwrap().status,
        200
    );
    let second = sh(&user, "echo $OPENAI_BASE_URL").good();
    assert_eq!(second.out, url, "a second one uses the first one's");
    assert!(second.err.contains("runs inside another command, and ends with it"), "{}", second.err);
    process.signal(Signal::KILL);
    assert_eq!(process.wait(), None);
    assert_ne!(sh(&user, "echo $OPENAI_BASE_URL").good().out, url);
}

#[test]
fn programs_see_a_running_proxy() {
    let user = Upstream::healthy(1).user();
    let run = sh(&user, &format!("{} status --json", env!("CARGO_BIN_EXE_kmi"))).good();
    assert_eq!(run.json()["proxy"]["running"], true);
    assert_eq!(user.run("status --json").json()["proxy"]["running"], false);
    let _proxy = Proxy::start(&user);
    assert_eq!(sh(&user, "echo done").good().err, "", "one of its own stays");
}

#[test]
fn a_taken_port_is_no_obstacle() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let user = Upstream::healthy(1).user();
    let mut command = user.command("run -- sh -c");
    command.arg("echo $KIMI_BASE_URL").env("KMI_PROXY_LISTEN", address.to_string());
    let run = user.finish(command).good();
    assert!(run.out.starts_with("http://127.0.0.1:") && run.err.is_empty(), "{}", run.told());
    assert!(!run.out.contains(&address.to_string()), "{}", run.out);
}

#[test]
fn many_at_once_in_a_fresh_home() {
    let user = Upstream::healthy(1).user();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..5).map(|_| scope.spawn(|| sh(&user, "echo done"))).collect();
        for run in runs {
            assert_eq!(run.join().unwrap().good().out, "done\n");
        }
    });
}

#[test]
fn ctrl_c_is_the_programs_to_handle() {
    let user = Upstream::healthy(1).user();
    let mut command = user.std_command("run -- sh -c");
    command.arg("trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.02; done");
    // Out of the terminal's group, if there is one: here the signal comes from us.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut process = Background::spawn(command);
    let mut out: BufReader<_> = process.stdout();
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    process.signal(Signal::INT);
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\ncaught\n");
    assert_eq!(process.wait(), Some(7));
}

#[test]
fn a_program_that_goes_past_is_told() {
    let user = Upstream::healthy(1).user();
    user.file("bin/kimi", "#!/bin/sh\n# exec node\nexit 3\n");
    let kimi = user.path("bin/kimi");
    fs::set_permissions(&kimi, fs::Permissions::from_mode(0o700)).unwrap();
    let run = user.run(&format!("run -- {} -m work", kimi.display()));
    assert_eq!(run.code, 3, "{}", run.told());
    insta::assert_snapshot!(run.err, @"
    warning: with a model named on its command line Kimi Code goes past the proxy
    hint: leave its `-m` out and name the model as `kmi run --model MODEL -- kimi …`
    ");
    assert_eq!(user.run(&format!("run -- {}", kimi.display())).err, "");
}

#[test]
fn its_proxy_can_be_stopped_by_itself() {
    let user = Upstream::healthy(1).user();
    let mut command = user.std_command("run -- sh -c");
    command.arg("echo ready; read line; exit 5");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Background::spawn(command);
    process.stdout().read_line(&mut String::new()).unwrap();
    user.run("stop").good();
    assert_eq!(user.run("status --json").json()["proxy"]["running"], false);
    process.close_stdin();
    assert_eq!(process.wait(), Some(5));
}

#[test]
fn quota_is_asked_while_the_program_runs() {
    let upstream = Upstream::healthy(1);
    let user = upstream.user();
    let mut command = user.std_command("run -- sh -c");
    command.arg("echo ready; read line");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Background::spawn(command);
    process.stdout().read_line(&mut String::new()).unwrap();
    eventually("the quota is known", || {
        let status = user.run("status --json").good().json();
        assert_eq!(status["proxy"]["running"], true);
        !status["keys"][0]["quota"]["checked_at"].is_null()
    });
    process.close_stdin();
    process.wait();
}

#[cfg(target_os = "linux")]
#[test]
fn a_proxy_may_open_what_its_connections_take_and_its_client_what_it_could_before() {
    let user = Upstream::healthy(1).user();
    let with = |limit: &str| {
        let mut command = user.program_command(Path::new("/bin/sh"), "-c");
        let script = "ulimit -Sn; grep '^Max open files' /proc/$PPID/limits";
        command.arg(format!("{limit}; exec \"$0\" run -- sh -c \"$1\""));
        command.args([env!("CARGO_BIN_EXE_kmi"), script]);
        user.finish(Command::from_std(command)).good()
    };
    let run = with("ulimit -Sn 300");
    let (clients, proxys) = run.out.split_once('\n').unwrap();
    assert_eq!(clients, "300");
    assert_eq!(proxys.split_whitespace().nth(3), Some("2560"), "{proxys}");
    assert!(!run.err.contains("too few"), "{}", run.err);

    let run = with("ulimit -n 300");
    assert!(run.out.starts_with("300\n"), "{}", run.out);
    let words = "warning: the system lets kmi open 300 files, too few for 1024 connections\n\
                 hint: raise the hard limit (`ulimit -Hn`), or lower `proxy.max_connections`\n";
    assert!(run.err.contains(words), "{}", run.err);
}
