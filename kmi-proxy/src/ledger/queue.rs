//! The bounded queue between those who have something to record and the thread that writes it.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kmi_core::trace::Record;

use super::{
    error::LedgerError,
    lost::{Lost, Reason},
    store::SettingChanges,
};
use crate::lock::{Condvar, Mutex};

/// Most attempts that wait to be written.
pub(super) const CAPACITY: usize = 65_536;
/// Room beyond that for what no gap could stand for: health and mode. As much again is for epochs
/// alone: turns cannot be verified without the line of theirs, so no flood of others keeps it out.
/// An epoch begins when key files have changed, seldom more than once in a disk's failure.
pub(super) const RESERVE: usize = 4096;

/// Where records go; every part of kmi that records holds one.
#[derive(Debug, Clone)]
pub struct Sink(pub(super) Arc<Queue>);

impl Sink {
    /// Records, without ever waiting.
    ///
    /// When the queue is full the record is dropped and counted, and its turn is declared by a
    /// `gap` line as soon as lines can be written again.
    pub fn push(&self, record: Record) {
        self.0.push(record);
    }

    /// Whether records reach the ledger now: false while the disk refuses them, while the queue
    /// is full, and after the end. For `trace.required`; costs one relaxed load.
    pub fn is_recording(&self) -> bool {
        self.0.recording.load(Ordering::Relaxed)
    }

    /// How many records were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Why records do not reach the ledger now, where the disk is the cause.
    pub fn failure(&self) -> Option<String> {
        self.0.state.lock().failure.clone()
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// For the writer: there is something to do.
    work: Condvar,
    /// For those who wait for the writer.
    done: Condvar,
    recording: AtomicBool,
    dropped: AtomicU64,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    /// How many records the writer has taken and not yet written.
    in_hand: usize,
    lost: Lost,
    settings: SettingChanges,
    /// Flushes asked for, and the number of the newest one that is done.
    asked: u64,
    flushed: u64,
    /// Counts failed commits, so that a flush can tell a new failure from an old one.
    failures: u64,
    failure: Option<String>,
    closing: bool,
    closed: bool,
}

/// What the writer takes in one go.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) records: Vec<Record>,
    pub(super) lost: Lost,
    pub(super) settings: SettingChanges,
    /// The newest flush that this work answers; `Some` when one waits.
    pub(super) flush: Option<u64>,
    pub(super) closing: bool,
}

impl Work {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.lost.is_empty() && self.settings.is_empty()
    }
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            done: Condvar::new(),
            recording: AtomicBool::new(true),
            dropped: AtomicU64::new(0),
            capacity,
        }
    }

    fn push(&self, record: Record) {
        let mut state = self.state.lock();
        let room = match record {
            Record::Attempt(_) => self.capacity,
            Record::Epoch(_) => self.capacity + 2 * RESERVE,
            _ => self.capacity + RESERVE,
        };
        if state.records.len() < room && !state.closed {
            // The writer that waits for a first one is woken by it; then it lets them gather.
            let wakes = state.records.is_empty();
            state.records.push(record);
            drop(state);
            if wakes {
                self.work.notify_one();
            }
            return;
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.recording.store(false, Ordering::Relaxed);
        let reason = if state.failure.is_some() { Reason::DiskError } else { Reason::QueueFull };
        if let Record::Attempt(attempt) = &record
            && !state.closed
        {
            state.lost.add(attempt, reason);
        }
    }

    /// Has a setting written with the next batch.
    pub(super) fn set(&self, key: String, value: Option<String>) {
        self.state.lock().settings.insert(key, value);
        self.work.notify_one();
    }

    /// Waits until everything recorded before is on the disk, or a commit has failed.
    pub(super) fn flush(&self) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        state.asked += 1;
        let (ticket, failures) = (state.asked, state.failures);
        self.work.notify_one();
        while state.flushed < ticket {
            if state.failures > failures || state.closed {
                let why = state.failure.clone().unwrap_or_else(|| "it was closed".to_owned());
                return Err(LedgerError::NotRecording(why));
            }
            self.done.wait(&mut state);
        }
        Ok(())
    }

    /// Asks the writer to write what waits and to end.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.work.notify_one();
    }

    /// For the writer: waits until there is something to do, or until `deadline`.
    pub(super) fn wait(&self, deadline: Option<Instant>) {
        let mut state = self.state.lock();
        while state.is_idle() {
            match deadline {
                None => self.work.wait(&mut state),
                Some(deadline) => {
                    if self.work.wait_until(&mut state, deadline).timed_out() {
                        return;
                    }
                }
            }
        }
    }

    /// For the writer: lets records gather for so long, unless somebody waits for them.
    pub(super) fn gather(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.is_urgent() && !self.work.wait_until(&mut state, deadline).timed_out() {}
    }

    /// For the writer: all that waits. `spent` is the vector of the batch before, for its memory.
    pub(super) fn take(&self, mut spent: Vec<Record>) -> Work {
        const KEEP: usize = 1024;
        spent.clear();
        spent.shrink_to(KEEP);
        let mut state = self.state.lock();
        state.in_hand = state.records.len();
        Work {
            records: mem::replace(&mut state.records, spent),
            lost: mem::take(&mut state.lost),
            settings: mem::take(&mut state.settings),
            flush: (state.flushed < state.asked).then_some(state.asked),
            closing: state.closing,
        }
    }

    /// For the writer: a commit is in.
    pub(super) fn succeeded(&self, flushed: Option<u64>) {
        let mut state = self.state.lock();
        state.in_hand = 0;
        state.failure = None;
        state.flushed = state.flushed.max(flushed.unwrap_or(0));
        // Under the lock, so that a record dropped meanwhile is not taken for an old one.
        self.recording.store(state.lost.is_empty(), Ordering::Relaxed);
        drop(state);
        if flushed.is_some() {
            self.done.notify_all();
        }
    }

    /// For the writer: a commit has failed. Waits a moment before the next try; true when the
    /// ledger is being closed and no further try makes sense.
    pub(super) fn failed(&self, why: &str, pause: Duration) -> bool {
        self.recording.store(false, Ordering::Relaxed);
        let deadline = Instant::now() + pause;
        let mut state = self.state.lock();
        state.failures += 1;
        state.failure = Some(why.to_owned());
        self.done.notify_all();
        while !state.closing && !self.work.wait_until(&mut state, deadline).timed_out() {}
        state.closing
    }

    /// For the writer: nothing is taken any more, and what it has in hand stays unwritten. Whether
    /// nothing was left behind.
    pub(super) fn closed(&self) -> bool {
        let mut state = self.state.lock();
        state.closed = true;
        let left = state.records.len() + mem::take(&mut state.in_hand);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let nothing_left = left == 0 && state.lost.is_empty();
        state.records = Vec::new();
        self.dropped.fetch_add(left, Ordering::Relaxed);
        self.recording.store(false, Ordering::Relaxed);
        drop(state);
        self.done.notify_all();
        nothing_left
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.records.is_empty()
            && self.lost.is_empty()
            && self.settings.is_empty()
            && !self.is_urgent()
    }

    /// Whether somebody waits for a commit.
    fn is_urgent(&self) -> bool {
        self.flushed < self.asked || self.closing
    }
}
