//! Errors for people: what, where, one hint, and the exit code (CONTRACT section 3).

use std::{fmt, io, process::ExitCode};

use kmi_core::display::visible;
use kmi_proxy::{
    control::CallError, engine::EngineError, home::HomeError, ledger::LedgerError,
    rotor::RotorError,
};

use crate::{args::UsageError, config::ConfigError, output::Output};

/// Failed.
pub(crate) const FAILED: u8 = 1;
/// Bad usage or configuration.
pub(crate) const USAGE: u8 = 2;

/// An error with its own hint and exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: String,
    code: u8,
}

impl Failure {
    /// Exit code 1; foreign text in the message is made visible.
    pub(crate) fn new(message: impl AsRef<str>, hint: impl Into<String>) -> Self {
        Self { message: visible(message.as_ref()).into_owned(), hint: hint.into(), code: FAILED }
    }

    /// The same with another exit code.
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Prints why a command line leads to no command, or the help that was asked for.
pub(crate) fn usage(error: UsageError, output: Output) -> ExitCode {
    match error {
        UsageError::Info(text) => match output.raw(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure(&error.into(), output),
        },
        UsageError::Wrong { message, hint } => {
            output.error(message, hint);
            ExitCode::from(USAGE)
        }
    }
}

/// Prints an error with its hint and gives its exit code.
pub(crate) fn failure(error: &anyhow::Error, output: Output) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    if let Some(config) = error.downcast_ref::<ConfigError>() {
        for problem in &config.problems {
            output.error(problem, problem.remedy());
        }
        return ExitCode::from(USAGE);
    }
    if let Some(failure) = error.downcast_ref::<Failure>() {
        output.error(failure, &failure.hint);
        return ExitCode::from(failure.code);
    }
    let hint = error.chain().find_map(hint);
    let hint = hint.unwrap_or_else(|| "`kmi config path` names the files that kmi uses".to_owned());
    output.error(one_line(error), hint);
    ExitCode::from(FAILED)
}

/// What to do about an error of the libraries.
fn hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(EngineError::Rotor(error)) = error.downcast_ref() {
        return hint(error);
    }
    match error.downcast_ref() {
        Some(RotorError::Home(error)) => return Some(error.hint()),
        Some(RotorError::Ledger(error)) => return Some(ledger_hint(error).to_owned()),
        Some(RotorError::Upstream { .. } | RotorError::Ring { .. }) => {
            return Some(
                "`kmi config check` and `kmi keys list` show what is configured".to_owned(),
            );
        }
        _ => {}
    }
    if let Some(error) = error.downcast_ref::<HomeError>() {
        return Some(error.hint());
    }
    if let Some(error) = error.downcast_ref() {
        return Some(ledger_hint(error).to_owned());
    }
    if let Some(error) = error.downcast_ref() {
        return Some(call_hint(error));
    }
    error.downcast_ref().and_then(file_hint).map(str::to_owned)
}

/// What to do about a proxy that cannot be asked.
fn call_hint(error: &CallError) -> String {
    match error {
        CallError::Silent(Some(pid)) => {
            format!("it hangs, or was stopped: `kill -9 {pid}` ends it, `kmi serve` starts another")
        }
        CallError::Answer(_) => "restart the proxy if kmi was updated".to_owned(),
        _ => "`kmi doctor` looks what is wrong with it".to_owned(),
    }
}

/// What to do where only the system said something.
fn file_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::NotFound => Some("check the path: is its directory there?"),
        io::ErrorKind::PermissionDenied => Some("choose a place that you may write to"),
        io::ErrorKind::StorageFull => Some("make room on that disk"),
        io::ErrorKind::IsADirectory => Some("name a file, not a directory"),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            Some("a file stands where a directory has to be: name another path")
        }
        _ => None,
    }
}

fn ledger_hint(error: &LedgerError) -> &'static str {
    match error {
        LedgerError::Damaged { .. } => "`kmi verify` shows what is damaged; what is whole stays",
        LedgerError::Export(_) => "make room, or name another file with `-o FILE`",
        LedgerError::Foreign { .. } => "if it was a ledger once, restore it from a backup instead",
        LedgerError::Locked { .. } => "try again in a moment",
        LedgerError::Missing(_) => "start kmi first: `kmi serve`, or `kmi run -- CMD`",
        LedgerError::Newer { .. } => "update kmi; an older one must not write into newer files",
        LedgerError::NotRecording(_) => "make room on the disk of the state directory",
        LedgerError::Retired { .. } => "try again",
        _ => "`kmi config path` names the state directory; look at its permissions and its disk",
    }
}

/// An error and its causes; some of their texts may come from elsewhere.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors name their cause themselves.
        if !text.ends_with(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{colon}{cause}");
        }
    }
    visible(&text.replace('\n', " ")).into_owned()
}

/// The reader of our output went away (`kmi … | head`): it has what it wanted.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
