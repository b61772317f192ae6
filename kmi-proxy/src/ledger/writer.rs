//! The thread that writes: natural group commit, no timer while there is nothing to do.
//!
//! It takes all that waits, chains it and commits it in one transaction. A commit survives the
//! death of the process at once; about every second one is synced and survives a power loss too,
//! and the last one always is. While the disk refuses, the batch is kept and tried again, so that
//! nothing is lost before the queue is full.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use kmi_core::trace::{ChainHash, Checkpoint, Record};
use kmi_stats::checkpoint::Signer;
use parking_lot::Mutex;

use super::{
    error::LedgerError,
    live::Publisher,
    page,
    queue::{Queue, Work},
    store::{SettingChanges, Store},
};

/// At most this much recorded time is lost with the power.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Lines gather for this long: a commit costs as much for one as for many, and the request that
/// made the line, or the next one, has the processor meanwhile. With the time of the commit itself
/// it is what the death of the process may cost: 10 ms (RELIABILITY P10).
const GATHER: Duration = Duration::from_millis(5);
/// Between two tries while the disk refuses.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// The trace states its own head after about so many lines.
const CHECKPOINT_EVERY: u64 = 1_000;

/// The newest line, for those who ask while the writer runs.
pub(super) type SharedHead = Arc<Mutex<(u64, ChainHash)>>;

/// All that the thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    /// Where the turn pages are.
    pub(super) state_dir: PathBuf,
    pub(super) store: Store,
    pub(super) queue: Arc<Queue>,
    pub(super) live: Publisher,
    pub(super) head: SharedHead,
    /// Who signs checkpoints, once that is known.
    pub(super) signer: Arc<OnceLock<Signer>>,
    /// The newest line when the last checkpoint was written, or at the start.
    pub(super) signed: u64,
    /// Bytes of lines that are kept.
    pub(super) retention: u64,
}

/// Tells those who wait that the thread has ended, even if it panicked.
struct Ended(Arc<Queue>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.closed();
    }
}

impl Writer {
    /// Runs until the ledger is closed; hands back the last error if lines were left behind.
    pub(super) fn run(mut self) -> Result<(), LedgerError> {
        let _ended = Ended(Arc::clone(&self.queue));
        let mut synced = Synced { at: Instant::now(), behind: false };
        let mut work = Work::default();
        loop {
            let deadline = if self.store.retiring {
                Some(Instant::now())
            } else {
                synced.behind.then(|| synced.at + SYNC_EVERY)
            };
            self.queue.wait(deadline);
            self.queue.gather(GATHER);
            work = self.queue.take(work.records);
            self.write_until_in(&work, &mut synced)?;
            // One that cannot be written now comes after a later batch.
            if self.write_checkpoint().is_ok_and(|written| written) {
                synced.note(false);
            }
            if work.closing {
                return self.end();
            }
            // A ledger that cannot be trimmed now is trimmed after a later batch.
            let _ = self.store.retire(self.retention);
        }
    }

    /// Tries until the work is in the ledger, or until it fails while the ledger is closing.
    fn write_until_in(&mut self, work: &Work, synced: &mut Synced) -> Result<(), LedgerError> {
        let mut last_try = work.closing;
        loop {
            let sync = work.closing || work.flush.is_some() || synced.is_due();
            if work.is_empty() && !sync {
                return Ok(());
            }
            match self.write(work, sync) {
                Ok(()) => {
                    synced.note(sync);
                    self.queue.succeeded(work.flush);
                    if sync {
                        // Readers in the way, or a full disk: the next one will do it.
                        let _ = self.store.checkpoint();
                    }
                    return Ok(());
                }
                Err(error) if last_try => return Err(error),
                Err(error) => last_try = self.queue.failed(&error.to_string(), RETRY_EVERY),
            }
        }
    }

    fn write(&mut self, work: &Work, sync: bool) -> Result<(), LedgerError> {
        let gaps = work.lost.gaps();
        self.append(work.records.iter().chain(&gaps), &work.settings, sync)
    }

    /// Writes lines, and shows them to those who look.
    fn append<'r>(
        &mut self,
        records: impl Iterator<Item = &'r Record>,
        settings: &SettingChanges,
        sync: bool,
    ) -> Result<(), LedgerError> {
        self.store.append(records, settings, sync)?;
        *self.head.lock() = (self.store.books.seq, self.store.books.head);
        self.live.publish(self.store.appended());
        Ok(())
    }

    /// Has the trace state its own head, when it is time; says whether it did.
    fn write_checkpoint(&mut self) -> Result<bool, LedgerError> {
        let (count, head) = (self.store.books.seq, self.store.books.head);
        if count / CHECKPOINT_EVERY == self.signed / CHECKPOINT_EVERY {
            return Ok(false);
        }
        let Some(signer) = self.signer.get() else { return Ok(false) };
        let record = Record::Checkpoint(Checkpoint {
            ts: self.store.books.time(),
            count,
            head: head.as_str().into(),
            note: signer.sign(count, &head).into(),
        });
        self.append(std::iter::once(&record), &SettingChanges::new(), false)?;
        self.signed = self.store.books.seq;
        Ok(true)
    }

    /// The last words of a writer that stops in order.
    ///
    /// The mark vouches that the disk knows of every turn, whatever happens to the machine now. So
    /// the pages go to the disk first, after the last line that could be taken.
    pub(super) fn end(&mut self) -> Result<(), LedgerError> {
        let nothing_left = self.queue.closed();
        let synced = page::sync_all(&self.state_dir);
        self.store.mark(nothing_left && synced.is_ok(), None)?;
        self.store.append(std::iter::empty::<&Record>(), &SettingChanges::new(), true)?;
        self.store.checkpoint()?;
        synced
    }
}

/// When the last commit was synced, and whether there were others since.
struct Synced {
    at: Instant,
    behind: bool,
}

impl Synced {
    fn is_due(&self) -> bool {
        self.behind && self.at.elapsed() >= SYNC_EVERY
    }

    fn note(&mut self, sync: bool) {
        if sync {
            *self = Self { at: Instant::now(), behind: false };
        } else if !self.behind {
            // The second starts with the first commit that is not synced.
            *self = Self { at: Instant::now(), behind: true };
        }
    }
}
