//! Where a view's data comes from, and where its wishes go: the only door between the terminal
//! views and the rest of kmi.
//!
//! A [`Feed`] hands over what is new, a [`Desk`] takes wishes; neither ever waits. Time comes in
//! with the news, so the views have no clock. [`Mailbox`] stands between the threads that fetch
//! things and the screen, and bounds what can pile up there.

mod mailbox;

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    snapshot::{FleetRow, ProxyRow, Snapshot},
    state::{Mode, Policy},
};
use kmi_stats::report::Report;

pub use mailbox::Mailbox;

/// Where news comes from.
pub trait Feed: Send + 'static {
    /// All that is new since the last call. Called about 25 times a second; must not wait.
    fn news(&mut self) -> News;
}

/// Where wishes go; answers come back as news.
pub trait Desk {
    /// Hands a wish over without waiting for its fulfilment; `false` when too many are waiting.
    fn ask(&self, wish: Wish) -> bool;
}

/// What is new.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// The time now.
    pub now: Timestamp,
    /// The newest state of proxy and keys.
    pub status: Option<Arc<Status>>,
    /// The newest proof.
    pub proof: Option<Arc<Report>>,
    /// Trace lines as they were committed, oldest first.
    pub lines: Vec<String>,
    /// How many lines were left out before `lines`, because they came faster than they were taken.
    pub missed: u64,
    /// An older stretch of the trace that was asked for.
    pub page: Option<Page>,
    /// Answers to other wishes.
    pub answers: Vec<Answer>,
}

/// The state of proxy and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The rows.
    pub snapshot: Snapshot,
    /// What is wrong, as with key files or the disk; each text is one line.
    pub problems: Vec<String>,
}

impl Default for Status {
    /// Of a home without keys, on which no proxy runs.
    fn default() -> Self {
        let snapshot = Snapshot {
            proxy: ProxyRow::default(),
            mode: Mode::default(),
            policy: Policy::default(),
            active_key: None,
            keys: Vec::new(),
            fleet: FleetRow::default(),
        };
        Self { snapshot, problems: Vec::new() }
    }
}

/// A stretch of the stored trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The line that it ends before, as asked for; `None` for the newest lines.
    pub before: Option<u64>,
    /// Its lines, oldest first; none when nothing older is stored.
    pub lines: Vec<String>,
}

/// What a view wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Something is to be done to keys or rotation; the user has confirmed it.
    Act(Action),
    /// Why a key was chosen: the reasons for the trace line with this number.
    Explain(u64),
    /// Lines are to be written to a new file; `by` says which ones were picked.
    Export {
        /// The lines as they are stored.
        lines: Vec<Arc<str>>,
        /// What they were picked by; `None` when nothing was left out between them.
        by: Option<String>,
    },
    /// The lines before this one; `None` for the newest lines.
    Page {
        /// The line that the page ends before.
        before: Option<u64>,
    },
}

/// What can be done to keys and rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Switches a key off.
    Disable {
        /// Its id.
        key: String,
    },
    /// Switches a key on, which also ends whatever blocked it.
    Enable {
        /// Its id.
        key: String,
    },
    /// Sets the mode.
    Mode(Mode),
    /// Ends whatever blocks a key.
    Reset {
        /// Its id.
        key: String,
    },
    /// Makes a key the active one; the mode becomes manual.
    Rotate {
        /// Its id.
        key: String,
    },
    /// Asks the provider whether a key works, and what is left of its quota.
    Test {
        /// Its id.
        key: String,
    },
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was done; the text says what.
    Done(String),
    /// Why a key was chosen for the line with this number.
    Explained {
        /// The line's number.
        seq: u64,
        /// The reasons, in lines.
        text: String,
    },
    /// It could not be done; what is wrong and what to do.
    Failed(String),
}
