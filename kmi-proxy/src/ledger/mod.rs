//! The ledger: the durable, chained trace of every attempt (FAIRNESS section 5).
//!
//! Records go to a [`Sink`], which never waits; one thread chains them and commits them to
//! SQLite; committed lines go on to those who [subscribed](Ledger::subscribe). Turns are noted on
//! a [`TurnPage`] the moment they are given out, so that not even a SIGKILL loses one silently.
//! [`Reader`]s read beside it, in this process or another, and export.
//!
//! The invariants: lines are only ever appended, each chained to the one before; every turn number
//! that was given out is in an `attempt` line, in a `gap` line, or still in flight; no turn number
//! is used twice for the life of the state directory; one process writes.

mod around;
mod csv;
mod error;
mod export;
mod files;
mod live;
mod lock;
mod lost;
mod page;
mod progress;
mod queue;
mod reader;
mod recovery;
mod retention;
#[cfg(test)]
pub(crate) mod samples;
mod schema;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, Weak},
    thread::JoinHandle,
};

use jiff::Timestamp;
use kmi_core::trace::ChainHash;
use kmi_stats::checkpoint::Signer;
use parking_lot::Mutex;

pub use error::LedgerError;
pub use export::Export;
pub use live::{Live, LiveLine, Subscription};
pub use page::{TurnPage, turns_given_out};
pub use queue::Sink;
pub use reader::{Lines, Reader, StoredLine};
pub use recovery::{Recovered, Resumed};
pub use settings::StoredSettings;

use self::{
    live::{Publisher, Subscriptions},
    lock::StateLock,
    page::PageError,
    queue::Queue,
    store::Store,
    writer::{SharedHead, Writer},
};
use crate::settings::TraceSettings;

/// An open ledger: the only writer of its state directory.
#[derive(Debug)]
pub struct Ledger {
    state_dir: PathBuf,
    queue: Arc<Queue>,
    settings: StoredSettings,
    subscriptions: Subscriptions,
    head: SharedHead,
    signer: Arc<OnceLock<Signer>>,
    pages: Mutex<HashMap<Arc<str>, Weak<()>>>,
    writer: Option<JoinHandle<Result<(), LedgerError>>>,
    /// Let go of last, when the writer has ended.
    _lock: StateLock,
}

impl Ledger {
    /// Opens or creates the ledger of a state directory, declares the turns whose end is not
    /// known, and starts the writer.
    pub fn open(
        state_dir: &Path,
        settings: &TraceSettings,
        now: Timestamp,
    ) -> Result<(Self, Recovered), LedgerError> {
        Self::open_with_queue(state_dir, settings, now, queue::CAPACITY)
    }

    fn open_with_queue(
        state_dir: &Path,
        settings: &TraceSettings,
        now: Timestamp,
        capacity: usize,
    ) -> Result<(Self, Recovered), LedgerError> {
        files::create_private_dir(state_dir)?;
        let lock = StateLock::take(state_dir)?;
        let mut store = Store::open(state_dir)?;
        let recovered = recovery::recover(&mut store, state_dir, files::boot_id().as_deref(), now)?;

        let queue = Arc::new(Queue::new(capacity));
        let stored = StoredSettings::new(store.settings()?, Arc::clone(&queue));
        let head = Arc::new(Mutex::new((store.books.seq, store.books.head)));
        let (live, subscriptions) = Publisher::new();
        let signer = Arc::new(OnceLock::new());
        let writer = Writer {
            state_dir: state_dir.to_owned(),
            signed: store.books.seq,
            signer: Arc::clone(&signer),
            store,
            queue: Arc::clone(&queue),
            live,
            head: Arc::clone(&head),
            retention: settings.retention,
        };
        let writer = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run())
            .map_err(LedgerError::io(state_dir))?;
        let ledger = Self {
            state_dir: state_dir.to_owned(),
            settings: stored,
            queue,
            subscriptions,
            head,
            signer,
            pages: Mutex::default(),
            writer: Some(writer),
            _lock: lock,
        };
        Ok((ledger, recovered))
    }

    /// Where records go. After an epoch record, [`Self::flush`] before its first turn is given
    /// out: so no turn can outlive the line that spells its ring out.
    pub fn sink(&self) -> Sink {
        Sink(Arc::clone(&self.queue))
    }

    /// The page on which an upstream's rotation notes its turns; there is one at a time.
    pub fn page(&self, upstream: &str) -> Result<TurnPage, LedgerError> {
        let mut pages = self.pages.lock();
        if pages.get(upstream).is_some_and(|taken| taken.strong_count() > 0) {
            return Err(LedgerError::PageTaken(upstream.to_owned()));
        }
        let path = page::path_for(&self.state_dir, upstream);
        let page = if path.exists() {
            TurnPage::open(&path).map_err(|error| match error {
                PageError::Fatal(error) => error,
                PageError::Damaged(what) => {
                    LedgerError::Foreign { path, what: format!("as a turn page: {what}") }
                }
            })?
        } else {
            TurnPage::create(&path, upstream, 0)?
        };
        let taken = Arc::new(());
        pages.insert(upstream.into(), Arc::downgrade(&taken));
        Ok(page.taken_by(taken))
    }

    /// From now on the trace has a signed checkpoint about every thousand lines.
    pub fn sign_with(&self, signer: Signer) {
        // Whoever came first signs.
        let _ = self.signer.set(signer);
    }

    /// Committed lines from now on.
    pub fn subscribe(&self) -> Subscription {
        self.subscriptions.subscribe()
    }

    /// Run-time state that outlives restarts.
    pub fn settings(&self) -> &StoredSettings {
        &self.settings
    }

    /// The newest committed line and its hash; 0 and 64 zeros before the first.
    pub fn head(&self) -> (u64, ChainHash) {
        *self.head.lock()
    }

    /// Waits until everything pushed and set before is on the disk, synced; blocks, so not for
    /// async code. An error when the disk refuses (the records are kept and tried again).
    pub fn flush(&self) -> Result<(), LedgerError> {
        self.queue.flush()
    }

    /// Writes what waits, syncs it and ends; sinks that are left drop (and count) what they get.
    pub fn close(mut self) -> Result<(), LedgerError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), LedgerError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        self.queue.close();
        let panicked = |_| LedgerError::NotRecording("its writer panicked".to_owned());
        writer.join().map_err(panicked)?
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Whoever wants to hear of an error calls `close`.
        let _ = self.end();
    }
}
