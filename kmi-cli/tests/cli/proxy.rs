//! A running `kmi serve` before a stand-in for Kimi, and a plain HTTP client.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use kmi_proxy::demo::{Scenario, StandIn};
use rustix::process::{Pid, Signal, kill_process};

use crate::kmi::User;

/// How long anything may take; a test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stand-in for Kimi on a runtime of its own.
pub(crate) struct Upstream {
    pub(crate) stand_in: StandIn,
    _runtime: tokio::runtime::Runtime,
}

impl Upstream {
    pub(crate) fn start(scenario: Scenario) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stand_in = runtime.block_on(StandIn::start(scenario)).unwrap();
        Self { stand_in, _runtime: runtime }
    }

    /// With `n` keys that always work.
    pub(crate) fn healthy(n: usize) -> Self {
        Self::start(Scenario::healthy(n))
    }

    /// A user whose home is set up for this stand-in: its keys are `k1`, `k2`, …, any port will
    /// do.
    pub(crate) fn user(&self) -> User {
        let user = self.user_without_keys();
        for (at, key) in self.stand_in.scenario().keys.iter().enumerate() {
            user.file(&format!(".kmi/_auths/k{}.key", at + 1), &key.secret);
        }
        user
    }

    pub(crate) fn user_without_keys(&self) -> User {
        let user = User::new();
        let url = self.stand_in.base_url();
        let config =
            format!("[proxy]\nlisten = \"127.0.0.1:0\"\n[upstream.kimi]\nbase_url = \"{url}\"\n");
        user.file(".kmi/kmi.config.toml", &config);
        user
    }
}

/// A `kmi` that runs in the background; killed when the test ends.
pub(crate) struct Background {
    child: Child,
}

impl Background {
    pub(crate) fn spawn(mut command: Command) -> Self {
        Self { child: command.spawn().unwrap() }
    }

    pub(crate) fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    pub(crate) fn stderr(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.child.stderr.take().unwrap())
    }

    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin.take();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; the exit code, `None` after a signal.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `kmi serve`.
pub(crate) struct Proxy {
    pub(crate) process: Background,
    /// The line that it printed.
    pub(crate) line: String,
    /// As `http://ADDRESS/kmi-rotor/v1`.
    pub(crate) base_url: String,
    token: String,
}

impl Proxy {
    pub(crate) fn start(user: &User) -> Self {
        Self::start_with(user, "serve")
    }

    /// With these arguments; its stderr goes to `~/serve.err`.
    pub(crate) fn start_with(user: &User, args: &str) -> Self {
        Self::start_command(user, user.std_command(args))
    }

    /// The same with another program file.
    pub(crate) fn start_program(user: &User, program: &Path) -> Self {
        Self::start_command(user, user.program_command(program, "serve"))
    }

    fn start_command(user: &User, mut command: Command) -> Self {
        let err = fs::File::options().append(true).create(true).open(user.path("serve.err"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(err.unwrap());
        Self::of(user, Background::spawn(command))
    }

    /// A process whose stdout is a pipe, once it serves.
    pub(crate) fn of(user: &User, mut process: Background) -> Self {
        let mut line = String::new();
        process.stdout().read_line(&mut line).unwrap();
        let said = || fs::read_to_string(user.path("serve.err")).unwrap_or_default();
        let base_url = line.trim().strip_prefix("kmi serves at ");
        let base_url = base_url.unwrap_or_else(|| panic!("{line:?}\n{}", said())).to_owned();
        let token = fs::read_to_string(user.path(".kmi/state/token")).unwrap().trim().to_owned();
        Self { process, line, base_url, token }
    }

    /// What it said on stderr so far.
    pub(crate) fn said(user: &User) -> String {
        fs::read_to_string(user.path("serve.err")).unwrap()
    }

    /// A client with a connection of its own.
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.base_url, &self.token)
    }

    /// One chat request on a connection of its own.
    pub(crate) fn chat(&self) -> Answer {
        self.client().chat().unwrap()
    }

    /// The labels of the keys that serve the next `n` requests.
    pub(crate) fn keys(&self, n: usize) -> Vec<String> {
        let mut client = self.client();
        (0..n).map(|_| client.chat().unwrap().header("x-kmi-key")).collect()
    }
}

/// A client on one connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    base_url: String,
    token: String,
    head: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn connect(base_url: &str, token: &str) -> Self {
        Self::try_connect(base_url, token).unwrap()
    }

    fn try_connect(base_url: &str, token: &str) -> std::io::Result<Self> {
        let rest = base_url.strip_prefix("http://").unwrap();
        let (address, path) = rest.split_at(rest.find('/').unwrap());
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST {path}/chat/completions HTTP/1.1\r\nhost: {address}\r\n\
             authorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        );
        let (base_url, token) = (base_url.to_owned(), token.to_owned());
        Ok(Self { stream: BufReader::new(stream), base_url, token, head })
    }

    /// The same on another connection.
    pub(crate) fn again(&self) -> Self {
        self.try_again().unwrap()
    }

    /// The same; an error when nobody listens any more.
    pub(crate) fn try_again(&self) -> std::io::Result<Self> {
        Self::try_connect(&self.base_url, &self.token)
    }

    /// A streamed chat request; what came until the connection was closed, its body as it came.
    pub(crate) fn stream(&mut self) -> std::io::Result<Answer> {
        let body = r#"{"model":"kimi-for-coding","messages":[],"stream":true}"#;
        let head = format!("{}connection: close\r\n", self.head);
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut answer = String::new();
        // A connection that breaks is one that ends: what came before counts.
        let _ = self.stream.read_to_string(&mut answer);
        let (head, body) =
            answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(Answer { status: status(head), head: head.to_owned(), body: body.to_owned() })
    }

    /// A small chat request; an error when the proxy is gone.
    pub(crate) fn chat(&mut self) -> std::io::Result<Answer> {
        self.post(r#"{"model":"kimi-for-coding","messages":[{"role":"user","content":"hi"}]}"#)
    }

    /// A chat request with this body.
    pub(crate) fn post(&mut self, body: &str) -> std::io::Result<Answer> {
        let request = format!("{}content-length: {}\r\n\r\n{body}", self.head, body.len());
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut answer = Answer { status: status(&head), head, body: String::new() };
        let length: usize = answer.header("content-length").parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).unwrap();
        Ok(answer)
    }
}

impl Answer {
    /// A header's value, empty when there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        let line = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = line.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.to_owned()).unwrap_or_default()
    }

    /// The turn and the label of the key that served it, where the answer tells of them.
    pub(crate) fn served(&self) -> Option<(u64, String)> {
        let turn = self.header("x-kmi-turn").parse().ok()?;
        Some((turn, self.header("x-kmi-key")))
    }

    pub(crate) fn turn(&self) -> u64 {
        self.header("x-kmi-turn").parse().unwrap()
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Looks again and again until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
