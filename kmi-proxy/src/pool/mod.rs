//! The keys of one upstream at work: who serves next, and what became of it.
//!
//! Rotation, health and the turn page stand under one short lock: choosing a key, numbering the
//! turn and noting it in the page are one step (FAIRNESS section 1). The lock is never held over
//! an await; nothing under it touches a disk or a socket.

mod affinity;
mod epoch;
mod files;
mod journal;
mod quota;
mod sessions;
mod state;
#[cfg(test)]
mod tests;
mod waiting;

use std::{collections::HashSet, sync::Arc, time::Duration};

pub(crate) use self::waiting::{Wait, WaitingRoom};
pub use self::{
    affinity::Affinity,
    files::{Owner, SeveralAccounts, is_file_id},
    journal::Journal,
};
use self::{files::Files, state::State};
use crate::{
    ledger::{Resumed, TurnPage},
    lock::Mutex,
    upstream::Upstream,
};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use kmi_core::{
    eligible::KeySet,
    inventory::{Inventory, Key},
    key::{KeyId, Label},
    ring::RingError,
    snapshot::KeyRow,
    state::Mode,
    trace::HealthChange,
};
use kmi_health::{
    Policy,
    account::AccountId,
    board::{Board, Exhausted},
    breaker::AttemptId,
    classify::Verdict,
};

/// The keys of one upstream.
#[derive(Debug)]
pub struct Pool {
    journal: Journal,
    upstream: ArcSwap<Upstream>,
    state: Mutex<State>,
    files: Files,
    waiting: WaitingRoom,
    refused: quota::Refused,
}

/// What a pool starts from.
#[derive(Debug)]
pub struct Start {
    /// The keys.
    pub inventory: Inventory,
    /// When keys are blocked.
    pub policy: Policy,
    /// Where an earlier process stopped.
    pub resumed: Option<Resumed>,
    /// Where turns are noted as they are given out.
    pub page: TurnPage,
    /// How keys are chosen, and the active one.
    pub mode: Mode,
    /// Whether in manual mode another key serves what the active one cannot.
    pub failover: bool,
    /// The active key; the first usable one when `None` or gone.
    pub active: Option<KeyId>,
    /// The keys that the user has switched off.
    pub disabled: HashSet<KeyId>,
}

/// A key that was chosen for an attempt.
#[derive(Debug, Clone)]
pub struct Picked {
    /// The key.
    pub key: Arc<Key>,
    /// Its id as the trace has it.
    pub key_id: Arc<str>,
    /// Its turn; `None` in manual mode, and where something ties the request to its key.
    pub turn: Option<Place>,
    /// The epoch that the masks refer to.
    pub epoch: u64,
    /// The keys that were eligible.
    pub eligible: Arc<KeySet>,
    /// The keys that the request had tried before, in that epoch.
    pub tried: KeySet,
    /// The key's number in that epoch.
    pub index: usize,
    /// The mode in force.
    pub mode: Mode,
    /// The attempt's number on the health board.
    attempt: AttemptId,
    /// Whether its key, or the account, is being probed by it.
    is_probe: bool,
}

/// Why no key was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoKey {
    /// What the client is told.
    pub why: Exhausted,
    /// When a key that the request has not tried may serve; `None`: waiting is of no use.
    pub next: Option<Timestamp>,
    /// Keys that may have the request's model rest: what others said of it is not the last word.
    pub model_rests: bool,
}

/// A turn's place in the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The turn's number.
    pub number: u64,
    /// The cursor before it.
    pub prev_slot: Option<usize>,
    /// Its slot.
    pub slot: usize,
}

impl Pool {
    /// Opens a pool; a new ring becomes a new epoch in the trace.
    pub fn open(
        upstream: Upstream,
        journal: Journal,
        start: Start,
        now: Timestamp,
    ) -> Result<Self, RingError> {
        let state = State::open(start, &journal, now)?;
        let files = Files::open(&journal);
        let (upstream, state) = (ArcSwap::from_pointee(upstream), Mutex::new(state));
        let (waiting, refused) = (WaitingRoom::default(), quota::Refused::default());
        Ok(Self { journal, upstream, state, files, waiting, refused })
    }

    /// The upstream's name.
    pub fn name(&self) -> &Arc<str> {
        self.journal.upstream()
    }

    /// The way to the upstream.
    pub fn upstream(&self) -> Arc<Upstream> {
        self.upstream.load_full()
    }

    /// Replaces the way to the upstream; running requests end on the old one.
    pub fn set_upstream(&self, upstream: Upstream) {
        self.upstream.store(Arc::new(upstream));
    }

    /// Chooses the key of the next attempt at a request that names `model`, has `tried` keys and
    /// may be tied to one.
    pub fn pick(
        &self,
        tried: &Tried,
        model: Option<&str>,
        affinity: &Affinity,
        now: Timestamp,
    ) -> Result<Picked, NoKey> {
        let mut state = self.state.lock();
        state.refresh(now, &self.journal);
        state.pick(tried, model, affinity, now)
    }

    /// Whether a key that a request has not tried serves now, or will by itself until `by`.
    pub fn has_another(&self, tried: &Tried, by: Timestamp, now: Timestamp) -> bool {
        self.state.lock().has_another(tried, by, now)
    }

    /// Asks for a retry of an attempt that the upstream, not the key, has failed: the pause before
    /// it. `None` when there are too many already: an outage must not be multiplied.
    pub fn retry(self: &Arc<Self>, random: f64) -> Option<Retry> {
        let pause = self.state.lock().upstream.retry(random)?;
        Some(Retry { pool: Arc::clone(self), pause })
    }

    /// Since when the upstream fails over and over; `None`: it does not.
    pub fn outage(&self) -> Option<Timestamp> {
        self.state.lock().upstream.outage()
    }

    /// For how long the keys that may have a model rest, where all others are known to lack it;
    /// `None` when one of them is usable, or none will be soon.
    pub fn model_rests(&self, model: &str, now: Timestamp) -> Option<Exhausted> {
        self.state.lock().model_rests(model, now)
    }

    /// Takes note of how an attempt ended; whether it was refused as every key is refused now, so
    /// that the trouble is the upstream's.
    pub fn observe(&self, picked: &Picked, seen: &Seen<'_>, now: Timestamp) -> bool {
        let everybodys = self.state.lock().observe(picked, seen, now, &self.journal);
        self.refused.note(picked.key.id, seen.verdict);
        self.waiting.changed();
        everybodys
    }

    /// Takes note that the line of an attempt that was observed is with the trace. Until then its turn
    /// counts as in flight: whoever looks between the two must not miss it.
    pub fn recorded(&self, picked: &Picked) {
        if picked.turn.is_some() {
            self.state.lock().open_turns -= 1;
        }
    }

    /// Takes note that the head of a good answer has come: the probe of a key need not wait for
    /// the end of a long stream.
    pub fn answered(&self, picked: &Picked) {
        if picked.is_probe {
            self.state.lock().answered(picked, Timestamp::now(), &self.journal);
            self.waiting.changed();
        }
    }

    /// Where requests wait for the next usable key.
    pub(crate) fn waiting(&self) -> &WaitingRoom {
        &self.waiting
    }

    /// Replaces the keys; running attempts end on the old ones.
    pub fn adopt(
        &self,
        inventory: Inventory,
        policy: Policy,
        now: Timestamp,
    ) -> Result<(), RingError> {
        self.state.lock().adopt(inventory, policy, now, &self.journal)?;
        self.waiting.changed();
        Ok(())
    }

    /// Sets how keys are chosen.
    pub fn set_mode(&self, mode: Mode) {
        self.state.lock().mode = mode;
    }

    /// Sets whether in manual mode another key serves what the active one cannot.
    pub fn set_failover(&self, failover: bool) {
        self.state.lock().failover = failover;
    }

    /// Makes a key the active one: the one that is named, or the next usable one.
    pub fn rotate(&self, name: Option<&str>, now: Timestamp) -> Result<Arc<Key>, RotateError> {
        let mut state = self.state.lock();
        state.refresh(now, &self.journal);
        state.rotate(name)
    }

    /// Switches a key off or on again; `None` when no key has this label or id. Switching a key
    /// on also ends whatever blocked it.
    pub fn set_disabled(&self, name: &str, disabled: bool, now: Timestamp) -> Option<Arc<Key>> {
        let key = self.state.lock().set_disabled(name, disabled, now, &self.journal);
        self.waiting.changed();
        key
    }

    /// Ends whatever blocks a key, and its account; `None` when no key has this label or id.
    pub fn reset(&self, name: &str, now: Timestamp) -> Option<Arc<Key>> {
        let key = self.state.lock().reset(name, now, &self.journal);
        self.waiting.changed();
        key
    }

    /// The active key, and the rows of all keys.
    pub fn rows(&self, now: Timestamp) -> (Option<Label>, Vec<KeyRow>) {
        let mut state = self.state.lock();
        state.refresh(now, &self.journal);
        (state.active_key().map(|key| key.label.clone()), state.rows())
    }

    /// The active key's id, to be kept over restarts.
    pub fn active(&self) -> Option<KeyId> {
        self.state.lock().active_key().map(|key| key.id)
    }

    /// The only key that may serve: the active one, in manual mode without failover.
    pub fn alone(&self) -> Option<Arc<Key>> {
        let state = self.state.lock();
        state.inventory.keys().get(state.alone()?).cloned()
    }

    /// The keys now in force.
    pub fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.state.lock().inventory)
    }

    /// Changes the board under the lock, by a key's number; nothing when the key is gone.
    fn on_board(&self, key: KeyId, change: impl FnOnce(&mut Board, usize) -> Vec<HealthChange>) {
        let mut state = self.state.lock();
        if let Some(key) = state.board.position(key) {
            let changes = change(&mut state.board, key);
            state.settle(changes, &self.journal);
        }
        drop(state);
        self.waiting.changed();
    }

    /// How many turns are under way, and the newest one that was given out.
    pub fn turns_in_flight(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.open_turns, state.last_turn())
    }
}

/// Why the active key could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// There is no key at all.
    #[error("there is no key")]
    NoKeys,
    /// No key has this label or id.
    #[error("no key is called `{0}`")]
    Unknown(String),
    /// No other key is usable.
    #[error("no key is usable now")]
    NoneUsable,
}

/// Leave to try once more; given back when dropped.
#[derive(Debug)]
pub struct Retry {
    pool: Arc<Pool>,
    /// How long to wait before.
    pub pause: Duration,
}

impl Drop for Retry {
    fn drop(&mut self) {
        self.pool.state.lock().upstream.retry_ended();
    }
}

/// What is known of an attempt when it has ended.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What its end means.
    pub verdict: &'a Verdict,
    /// The model that was asked for.
    pub model: Option<&'a str>,
    /// From the choice to the end.
    pub latency: Duration,
    /// Prompt and completion tokens, as far as the upstream counted them.
    pub tokens: u64,
    /// The account that the answer's headers name.
    pub account: Option<&'a AccountId>,
}

/// The keys that a request has tried, in the epoch in which it tried them.
///
/// A reload between two attempts may renumber the keys, so each key is remembered by its id too.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    epoch: u64,
    mask: KeySet,
    ids: Vec<KeyId>,
}

impl Tried {
    /// Adds the key of an attempt.
    pub fn add(&mut self, picked: &Picked) {
        // What a reload has renumbered since the attempt before is right in `picked`.
        self.epoch = picked.epoch;
        self.mask.clone_from(&picked.tried);
        self.mask.insert(picked.index);
        self.ids.push(picked.key.id);
    }

    /// The mask in the given epoch.
    pub fn mask(&self, epoch: u64, inventory: &Inventory) -> KeySet {
        if self.ids.is_empty() || self.epoch == epoch {
            return self.mask.clone();
        }
        self.ids.iter().filter_map(|id| inventory.position(*id)).collect()
    }

    /// How many keys were tried.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether this is the first attempt.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
