//! What is wrong with a key file, in words a user can act on.

use std::{fmt, io, sync::Arc};

use kmi_core::{display, key::ApiKey};
use rustix::io::Errno;

/// How much a [`Problem`] costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A key (or a whole file) is not used.
    Refused,
    /// Everything is used, but something should be put right.
    Warning,
    /// Nothing is wrong; the user may have expected something else.
    Notice,
}

/// One thing that is wrong in the key directory, with its place and its remedy.
///
/// No text of it ever holds a key or a piece of a file's line: values are described, not quoted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What it costs.
    pub severity: Severity,
    /// The file (or directory) it is about, ready to be shown.
    pub file: Arc<str>,
    /// The line, from 1, where there is one.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    hint: String,
    passing: bool,
}

impl Problem {
    /// What to do about it, in one line.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Whether it says nothing of what is there: the system could not look just now.
    pub fn is_passing(&self) -> bool {
        self.passing
    }

    /// Whether it is about the file, or the directory of the file, that something stands in
    /// (`FILE`, or `FILE:LINE`).
    pub(super) fn is_about(&self, origin: &str) -> bool {
        let rest = origin.strip_prefix(&*self.file);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
    }

    /// Masks keys that stand in a file's *name*; texts made by this module hold none.
    pub(super) fn mask(&mut self, key: &ApiKey) {
        mask(&mut self.file, key);
        for text in [&mut self.message, &mut self.hint] {
            if key.is_in(text) {
                *text = text.replace(key.expose(), &key.masked());
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// A [`Problem`] whose file is known to the caller only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    severity: Severity,
    line: Option<u32>,
    message: String,
    hint: String,
    passing: bool,
}

impl Fault {
    pub(super) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Severity::Refused, message, hint)
    }

    pub(super) fn new(
        severity: Severity,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (message, hint) = (message.into(), hint.into());
        Self { severity, line: None, message, hint, passing: false }
    }

    /// That `what` could not be done; unless the system had no means to do it, `hint` is the
    /// remedy.
    pub(super) fn of_system(what: &str, error: &io::Error, hint: impl Into<String>) -> Self {
        if !is_passing(error) {
            return Self::refused(format!("{what}: {}", error.kind()), hint);
        }
        let hint = "the system is short of something, or a disk fails: `ulimit -a`, `df`, `dmesg`";
        Self::refused(format!("{what}: {error}"), hint).passing()
    }

    /// It says nothing of what is there.
    pub(super) fn passing(self) -> Self {
        Self { passing: true, ..self }
    }

    pub(super) fn on(mut self, line: impl Into<Option<u32>>) -> Self {
        self.line = line.into();
        self
    }

    /// Says what in the file it is about.
    pub(super) fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The line, unless it is known already.
    pub(super) fn or_on(mut self, line: Option<u32>) -> Self {
        self.line = self.line.or(line);
        self
    }

    pub(super) fn in_file(self, file: &Arc<str>) -> Problem {
        let Self { severity, line, message, hint, passing } = self;
        Problem { severity, file: Arc::clone(file), line, message, hint, passing }
    }
}

/// Whether the system could not say what is there, now: no descriptors, memory or processes left,
/// a disk or a server of files that does not answer.
pub(super) fn is_passing(error: &io::Error) -> bool {
    const PASSING: [Errno; 11] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::AGAIN,
        Errno::INTR,
        Errno::IO,
        Errno::STALE,
        Errno::NOTCONN,
        Errno::TIMEDOUT,
        Errno::HOSTDOWN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| PASSING.contains(&errno))
}

/// Masks a key in the name of a file.
pub(super) fn mask(file: &mut Arc<str>, key: &ApiKey) {
    if key.is_in(file) {
        *file = file.replace(key.expose(), &key.masked()).into();
    }
}

/// A path as it may be shown.
pub(super) fn shown(path: &std::path::Path) -> Arc<str> {
    display::visible(&path.to_string_lossy()).into()
}

/// A path as a word of a shell command that the user may copy.
pub(super) fn word(path: &std::path::Path) -> String {
    let shown = shown(path);
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,=…".contains(c);
    if shown.chars().all(plain) && !shown.starts_with('-') {
        return shown.to_string();
    }
    format!("'{}'", shown.replace('\'', "'\\''"))
}

/// The known name that an unknown one was most likely meant to be.
///
/// Only a name that is close to a known one is ever repeated to the user: anything else on that
/// line may be a key in the wrong place.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.get(..64).unwrap_or(unknown);
    known
        .map(|name| {
            (strsim::damerau_levenshtein(&unknown.to_lowercase(), &name.to_lowercase()), name)
        })
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .map(|(_, name)| name)
}
