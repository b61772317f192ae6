//! What can go wrong with the ledger, in the words that the user reads.

use std::{io, path::PathBuf};

/// Why the ledger could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another process holds the state directory.
    #[error("another kmi{} uses {}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, where the file says so.
        pid: Option<u32>,
    },
    /// Written by a newer kmi.
    #[error("{} has format {found}, and this kmi knows formats up to {known}: update kmi", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this version can read.
        known: u64,
    },
    /// The file is something else, or damaged beyond reading.
    #[error("{} is no kmi ledger ({what}): move it away, and kmi starts a new one", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        what: String,
    },
    /// There is no ledger yet.
    #[error("there is no ledger at {} yet: it is written once kmi has run", .0.display())]
    Missing(PathBuf),
    /// The page of an upstream is already in use in this process.
    #[error("the turn page of upstream {0} is already in use")]
    PageTaken(String),
    /// Lines were removed by retention between two reads; the read may be repeated.
    #[error("the lines from {expected} to {found} were removed by retention meanwhile: try again")]
    Retired {
        /// The line that was to be read next.
        expected: u64,
        /// The oldest line that is left.
        found: u64,
    },
    /// Records do not reach the disk at the moment.
    #[error("the ledger cannot be written: {0}")]
    NotRecording(String),
    /// A line is stored that is no trace line.
    #[error("line {seq} of the ledger is damaged: {what}")]
    Damaged {
        /// Its number.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// An export could not be written.
    #[error("the export could not be written: {0}")]
    Export(#[source] io::Error),
    /// SQLite refused.
    #[error("the ledger's database: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl LedgerError {
    /// Wraps an error of the file system with the path it concerns.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
