//! Starts a program with the client environment and becomes its exit code.

use std::{ffi::OsString, io, os::unix::process::ExitStatusExt as _, process::ExitStatus};

use kmi_core::display::visible_bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use super::Variables;
use crate::{config::Environment, hardening, report::Failure};

/// The shell's exit code for a program that does not exist.
const NOT_FOUND: u8 = 127;
/// The shell's exit code for a file that cannot be run.
const NOT_EXECUTABLE: u8 = 126;

/// Runs a program to its end; the result is its exit code, 128+n when signal n ended it.
///
/// It shares our terminal and input. It does not get kmi's own keys (`KMI_API_KEY_*`): it has the
/// token, and needs no more.
pub(crate) async fn launch(
    command: &[OsString],
    variables: &Variables,
    env: &Environment,
) -> anyhow::Result<u8> {
    let Some((program, args)) = command.split_first() else {
        return Err(Failure::new("there is no program to start", "kmi run -- CMD").into());
    };
    let mut command = Command::new(program);
    command.args(args).envs(variables.expose());
    for name in env.key_variables() {
        command.env_remove(name);
    }
    // Before the program starts, so that no signal can end us and leave it behind.
    let signals = Signals::new()?;
    let child = hardening::with_given_limits(|| command.spawn()).map_err(|error| {
        let name = visible_bytes(program.as_encoded_bytes());
        let (code, hint) = match error.kind() {
            io::ErrorKind::NotFound => (NOT_FOUND, "check the spelling, or give the whole path"),
            _ => (NOT_EXECUTABLE, "check that the file may be executed"),
        };
        Failure::new(format!("cannot start `{name}`: {error}"), hint).code(code)
    })?;
    Ok(exit_code(signals.pass_on(child).await?))
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Hands our signals on until the program ends.
    ///
    /// Keys such as Ctrl-C reach every process of the terminal's foreground group by themselves;
    /// handing them on too would make two of one, and two mean "leave now" to most clients.
    async fn pass_on(mut self, mut child: Child) -> io::Result<ExitStatus> {
        let on_terminal = is_foreground();
        loop {
            let (signal, by_key) = tokio::select! {
                status = child.wait() => return status,
                _ = self.interrupt.recv() => (Signal::INT, true),
                _ = self.quit.recv() => (Signal::QUIT, true),
                _ = self.terminate.recv() => (Signal::TERM, false),
                _ = self.hangup.recv() => (Signal::HUP, false),
            };
            // The child is not reaped before `wait` returns, so its number is still its own.
            let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            if let Some(pid) = pid
                && !(by_key && on_terminal)
            {
                // It may have ended in this moment; `wait` will tell.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

/// Whether the keys of our terminal reach us, wherever input and output lead.
fn is_foreground() -> bool {
    std::fs::File::open("/dev/tty").is_ok_and(|terminal| {
        rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(script: &str) -> u8 {
        let env: Environment = std::iter::empty::<(&str, &str)>().collect();
        let command = ["sh", "-c", script].map(OsString::from);
        let variables = Variables(vec![("KIMI_BASE_URL", "http://here".into())]);
        launch(&command, &variables, &env).await.unwrap()
    }

    #[tokio::test]
    async fn the_programs_code_is_ours() {
        assert_eq!(run("exit 0").await, 0);
        assert_eq!(run("exit 75").await, 75);
        assert_eq!(run("kill -TERM $$").await, 143);
        assert_eq!(run("test \"$KIMI_BASE_URL\" = http://here").await, 0);
    }

    #[tokio::test]
    async fn what_cannot_start_is_told() {
        let env: Environment = std::iter::empty::<(&str, &str)>().collect();
        for (program, code) in [("/no/such/program", "127"), ("/", "126")] {
            let error = launch(&[program.into()], &Variables(vec![]), &env).await.unwrap_err();
            let failure = error.downcast_ref::<Failure>();
            assert!(format!("{failure:?}").contains(&format!("code: {code}")), "{failure:?}");
        }
    }
}
