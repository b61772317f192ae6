//! What is said over the control socket.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use kmi_core::{
    snapshot::{QuotaRow, Snapshot},
    state::Mode,
};
use serde::{Deserialize, Serialize};

use crate::{keys, rotor::InFlight};

/// What a caller wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Trace lines as they are committed, from the one after `after`.
    Follow {
        /// The last line the caller has; `None`: only what comes from now on.
        after: Option<u64>,
    },
    /// Trace lines as they are committed, and the whole picture when it has changed: what the
    /// dashboards show ([`feed`](super::feed) reads the answer).
    Feed {
        /// The last line that the caller has; `None`: see `back`.
        after: Option<u64>,
        /// Without `after`: so many of the newest lines come first.
        #[serde(default)]
        back: u64,
    },
    /// Lets requests end and has the program file that is there now take this program's place, on
    /// the same listener.
    HandOver,
    /// The turns under way; everything that ended before is on the disk when the answer comes.
    InFlight,
    /// Lines of the past, for scrolling back.
    Lines {
        /// Those before this one; `None`: the newest ones.
        before: Option<u64>,
        /// How many at most; there is a bound.
        limit: u64,
    },
    /// Sets the mode.
    Mode {
        /// The mode.
        mode: Mode,
    },
    /// Key files were changed, and are read at once instead of a moment later. What other programs
    /// answered stays known.
    KeysChanged,
    /// Reads keys and configuration again, and asks other programs again.
    Reload,
    /// Ends whatever blocks a key, and its account; one that is switched off stays so.
    Reset {
        /// Label or id.
        key: String,
    },
    /// Switches the active key.
    Rotate {
        /// Label or id; `None`: the next usable one.
        key: Option<String>,
    },
    /// What `kmi status` shows.
    Status,
    /// Drains and stops.
    Stop,
    /// Asks the provider about one key, or all of them: do they work, what is left?
    Test {
        /// Label or id; `None`: all keys.
        key: Option<String>,
    },
    /// Switches a key off, or on again.
    Switch {
        /// Label or id.
        key: String,
        /// Whether it is to serve.
        on: bool,
    },
}

/// What a caller gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It could not be done.
    Failed(Failure),
    /// The turns under way, by upstream.
    InFlight(HashMap<Arc<str>, InFlight>),
    /// The key that is meant.
    Key(KeyName),
    /// It was done.
    Done,
    /// Lines, oldest first; none when there are no older ones.
    Lines(Vec<String>),
    /// What a reload found.
    Reloaded(Reloaded),
    /// The status.
    Status(Box<Status>),
    /// What a test found, key by key.
    Tested(Vec<Tested>),
}

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A key as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyName {
    /// Its label.
    pub label: String,
    /// Its masked form.
    pub masked: String,
}

/// What asking the provider about one key brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// Its label.
    pub label: String,
    /// Its masked form.
    pub masked: String,
    /// Whether the provider takes it.
    pub ok: bool,
    /// Why not, if it does not.
    pub error: Option<String>,
    /// What is left of its quota, as far as it is known.
    pub quota: QuotaRow,
}

/// What a reload found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The number of keys.
    pub keys: usize,
    /// What is wrong with key files.
    pub problems: Vec<Problem>,
    /// The settings that have changed and are in force only from the next start on.
    #[serde(default)]
    pub at_next_start: Vec<String>,
}

/// The status of a running proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The rows.
    pub snapshot: Snapshot,
    /// What is wrong with key files.
    pub problems: Vec<Problem>,
    /// Why the trace cannot be written, if it cannot.
    pub trace_failure: Option<String>,
    /// Keys that turned out to be of one account, by label: rotation among them gains nothing.
    pub siblings: Vec<Vec<String>>,
    /// Upstreams that fail over and over.
    #[serde(default)]
    pub outages: Vec<Outage>,
    /// When the home was opened: tells a program from the one that took its place.
    pub since: Timestamp,
    /// The proxy runs inside another command (`kmi run`, say), and ends with it.
    #[serde(default)]
    pub transient: bool,
}

/// An upstream that fails over and over; no key is to blame, so none is blocked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Its name.
    pub upstream: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is wrong with a key file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Whether a key is not used because of it.
    pub refused: bool,
    /// File, line and reason.
    pub message: String,
    /// The remedy.
    pub hint: String,
}

impl From<&keys::Problem> for Problem {
    fn from(problem: &keys::Problem) -> Self {
        Self {
            refused: problem.severity == keys::Severity::Refused,
            message: problem.to_string(),
            hint: problem.hint().to_owned(),
        }
    }
}
