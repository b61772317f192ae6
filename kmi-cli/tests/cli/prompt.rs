//! `kmi keys add` on a terminal: the key is not shown, and the terminal is given back.

use std::{
    fs::{self, File},
    io::{BufReader, Read as _, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
    process::{ChildStderr, Stdio},
};

use rustix::{
    fs::{Mode, OFlags},
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use crate::{kmi::User, proxy::Background};

const SECRET: &str = "sk-secret-of-mine-4711";

/// A terminal: where the user types and looks, and what programs get.
struct Terminal {
    user: File,
    program: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let program = rustix::fs::open(
            Path::new(std::ffi::OsStr::from_bytes(name.as_bytes())),
            flags,
            Mode::empty(),
        );
        Self { user: user.into(), program: program.unwrap() }
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.program).unwrap().local_modes.contains(LocalModes::ECHO)
    }
}

/// `kmi keys add work` on a terminal, once it asks for the key, and what it says afterwards.
fn asked(user: &User, terminal: &Terminal) -> (Background, BufReader<ChildStderr>) {
    let mut command = user.std_command("keys add work");
    command.stdin(terminal.program.try_clone().unwrap());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Background::spawn(command);
    let (mut said, mut stderr, mut piece) = (String::new(), process.stderr(), [0; 256]);
    while !said.ends_with("API key for work: ") {
        let n = stderr.read(&mut piece).unwrap();
        assert_ne!(n, 0, "{said}");
        said.push_str(std::str::from_utf8(&piece[..n]).unwrap());
    }
    (process, stderr)
}

#[test]
fn a_signal_at_the_prompt_gives_the_terminal_back() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let (user, terminal) = (User::new(), Terminal::new());
        let (mut process, _stderr) = asked(&user, &terminal);
        assert!(!terminal.echoes());
        process.signal(signal);
        assert_eq!(process.wait(), Some(code));
        assert!(terminal.echoes());
        assert!(!user.path(".kmi/_auths/work.toml").exists());
    }
}

#[test]
fn a_key_is_typed_without_being_shown() {
    let (user, mut terminal) = (User::new(), Terminal::new());
    let (mut process, _stderr) = asked(&user, &terminal);
    terminal.user.write_all(format!("{SECRET}\n").as_bytes()).unwrap();
    assert_eq!(process.wait(), Some(0));
    assert!(terminal.echoes());
    let mut shown = [0; 256];
    let n = terminal.user.read(&mut shown).unwrap();
    assert_eq!(&shown[..n], b"\r\n");
    assert!(fs::read_to_string(user.path(".kmi/_auths/work.toml")).unwrap().contains(SECRET));
}

#[test]
fn an_answer_that_is_not_given_ends_the_line() {
    let (user, mut terminal) = (User::new(), Terminal::new());
    let (mut process, mut stderr) = asked(&user, &terminal);
    terminal.user.write_all(b"\x04").unwrap();
    assert_eq!(process.wait(), Some(2));
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("\nerror: the key is empty\n"), "{said}");
}
