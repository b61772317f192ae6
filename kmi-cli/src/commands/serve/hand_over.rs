//! A listener that comes from somebody else (systemd's socket activation), and ours for the program
//! that takes this one's place: both by the variables of `sd_listen_fds(3)`.

use std::{
    env,
    ffi::OsString,
    io::{self, Read as _},
    net::TcpListener,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::PathBuf,
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kmi_proxy::control::Failure;
use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::config::Environment;

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// The listener that this process was started with, if there is one and it is meant for it.
/// Only before any thread is started: the variables are taken out of the environment.
pub(super) fn inherited(env: &Environment) -> io::Result<Option<TcpListener>> {
    let own = process::id().to_string();
    if env.text("LISTEN_PID") != Some(&own) {
        return Ok(None);
    }
    ListenFd::from_env().take_tcp_listener(0)
}

/// The program that can take this one's place: whatever lies where this one was started from.
#[derive(Debug, Clone)]
pub(super) struct Successor {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Successor {
    /// To be asked at the start: later the file may be another one, and the system would only
    /// say that ours is gone.
    pub(super) fn of_this_process() -> io::Result<Self> {
        Ok(Self { program: env::current_exe()?, args: env::args_os().skip(1).collect() })
    }

    /// Whether it can be started at all.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let said = self.version().unwrap_or_else(|error| error.to_string());
        if said.starts_with("kmi ") {
            return Ok(());
        }
        let program = self.program.display();
        let message = format!("{program} is no kmi that can be started: {}", said.trim_end());
        let hint = "install it again; the running proxy stays as it is".to_owned();
        Err(Failure { message, hint: Some(hint) })
    }

    fn version(&self) -> io::Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let start = Instant::now();
        while child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other("it does not say its version"));
            }
            thread::sleep(PAUSE);
        }
        let mut said = String::new();
        let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        out.take(256).read_to_string(&mut said)?;
        Ok(said)
    }

    /// Makes it this process, which goes on with the same number and the same listener. Comes back
    /// only when that fails.
    pub(super) fn take_over(&self, listener: &TcpListener) -> io::Error {
        if let Err(error) = fcntl_setfd(listener, FdFlags::empty()) {
            return error.into();
        }
        let failed = Command::new(&self.program)
            .args(&self.args)
            .env("LISTEN_PID", process::id().to_string())
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDS_FIRST_FD", listener.as_raw_fd().to_string())
            .exec();
        // Other programs that are started from here have no business with it.
        let _ = fcntl_setfd(listener, FdFlags::CLOEXEC);
        failed
    }
}
