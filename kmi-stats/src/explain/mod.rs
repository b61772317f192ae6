//! Why a key served an attempt, from the trace alone.
//!
//! [`Evidence`] is given the records of the trace in their order and keeps what concerns one
//! attempt, so its memory does not grow with the trace. Who was eligible is not concluded from
//! the health lines: it stands in the attempt's masks, and health lines only say why.

mod because;
#[cfg(test)]
mod tests;
mod words;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use kmi_core::{
    outcome::Outcome,
    rotation::successor,
    state::{KeyState, Mode, Policy},
    trace::{Attempt, Epoch, Gap, HealthChange, ModeChange, Record},
};
use serde::{Serialize, Serializer};

pub use self::because::Because;
use crate::conformity::{Choice, EpochRing};

/// Times in the trace are in milliseconds, and a choice's time is the difference of two of them.
const BLUR: SignedDuration = SignedDuration::from_millis(2);
/// Most changes of one key that are kept for the blur's sake.
const MAX_NOTES: usize = 8;
/// Most keys whose changes are kept; no upstream has as many.
const MAX_KEYS: usize = 65_536;

/// Why a key served.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The upstream.
    pub upstream: Arc<str>,
    /// The turn; `None` where the attempt was none.
    pub turn: Option<u64>,
    /// The request.
    pub request_id: Arc<str>,
    /// 1 for the first attempt of the request.
    pub attempt: u32,
    /// The id of the key that served.
    pub key: Arc<str>,
    /// Its label.
    pub label: Arc<str>,
    /// When it was chosen: the attempt's end less its duration.
    #[serde(serialize_with = "millis")]
    pub chosen_at: Timestamp,
    /// How the attempt ended.
    pub outcome: Outcome,
    /// The upstream's status.
    pub status: Option<u16>,
    /// The mode in force.
    pub mode: Mode,
    /// The policy in force.
    pub policy: Policy,
    /// What the choice was.
    pub why: Why,
    /// The label of the key after which the search began; `None` at the ring's beginning, and for
    /// no turn.
    pub after: Option<Arc<str>>,
    /// Whether a replay leads to the same key; `None` for no turn, and without the epoch's line.
    pub follows_rule: Option<bool>,
    /// The other keys, in the order in which the search meets them.
    pub others: Vec<Other>,
}

/// What a choice was.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Why {
    /// The rotation's next eligible key.
    Turn {
        /// The session that keeps this key from now on, under `policy = "session"`.
        session: Option<Arc<str>>,
        /// Where that session was before.
        moved_from: Option<Earlier>,
    },
    /// Manual mode.
    Manual {
        /// The label of the active key, where the trace names it.
        active: Option<Arc<str>>,
    },
    /// The session keeps its key.
    Session {
        /// The session.
        session: Arc<str>,
        /// The turn that gave it the key, where the trace still has it.
        since: Option<Earlier>,
    },
    /// The request names an uploaded file, which only its account can serve.
    File,
}

/// An earlier turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Earlier {
    /// Its number.
    pub turn: u64,
    /// The label of its key.
    pub label: Arc<str>,
}

/// A key that did not serve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Other {
    /// Its id.
    pub key: Arc<str>,
    /// Its label.
    pub label: Arc<str>,
    /// Whether it would have been next, had it been eligible.
    pub passed_over: bool,
    /// Why it did not serve.
    pub because: Because,
}

/// A turn whose end is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The upstream.
    pub upstream: Arc<str>,
    /// The turn.
    pub turn: u64,
    /// The label of its key, where its slot is known.
    pub label: Option<Arc<str>>,
    /// The first and the last turn of the gap.
    pub from_turn: u64,
    /// The last turn of the gap.
    pub to_turn: u64,
    /// Why the end is not known.
    pub reason: Arc<str>,
}

impl Lost {
    /// What a gap and its epoch say of a turn; `None` when the turn is not in the gap.
    pub fn of(gap: &Gap, turn: u64, epoch: Option<&Epoch>) -> Option<Self> {
        let at = turn.checked_sub(gap.from_turn).filter(|_| turn <= gap.to_turn)?;
        let slot = gap.slots.as_ref().and_then(|slots| slots.get(usize::try_from(at).ok()?));
        let label = slot.zip(epoch).and_then(|(slot, epoch)| {
            let key = usize::try_from(*epoch.ring.get(*slot)?).ok()?;
            Some(Arc::clone(&epoch.keys.get(key)?.label))
        });
        Some(Self {
            upstream: Arc::clone(&gap.upstream),
            turn,
            label,
            from_turn: gap.from_turn,
            to_turn: gap.to_turn,
            reason: Arc::clone(&gap.reason),
        })
    }
}

/// When the key of an attempt was chosen.
pub fn chosen_at(attempt: &Attempt) -> Timestamp {
    let took = SignedDuration::from_millis(i64::try_from(attempt.latency_ms).unwrap_or(i64::MAX));
    attempt.ts.checked_sub(took).unwrap_or(Timestamp::MIN)
}

/// What the trace says about one attempt.
#[derive(Debug, Clone)]
pub struct Evidence {
    attempt: Attempt,
    chosen: Timestamp,
    epoch: Option<Epoch>,
    notes: BTreeMap<Arc<str>, Vec<Note>>,
    mode: Option<ModeChange>,
    tried: Vec<Attempt>,
    session: Option<Earlier>,
}

/// A change of a key's health, and the provider's words that brought it about.
#[derive(Debug, Clone)]
struct Note {
    change: HealthChange,
    /// Since when, where it goes on what a change before it began.
    since: Timestamp,
    cause: Option<Arc<str>>,
}

impl Note {
    /// Whether a change only says more of the same block: a new end, say.
    fn is_continued_by(&self, change: &HealthChange) -> bool {
        let blocked = |state| state == KeyState::Blocked;
        blocked(self.change.to)
            && blocked(change.from)
            && blocked(change.to)
            && self.change.reason == change.reason
    }
}

impl Evidence {
    /// Nothing but the attempt itself.
    pub fn new(attempt: Attempt) -> Self {
        Self {
            chosen: chosen_at(&attempt),
            attempt,
            epoch: None,
            notes: BTreeMap::new(),
            mode: None,
            tried: Vec::new(),
            session: None,
        }
    }

    /// Takes a record. They come in the order of the trace; those that do not concern the attempt
    /// are passed over, and what comes long after it need not be given.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Epoch(epoch) => {
                if epoch.upstream == self.attempt.upstream && epoch.epoch == self.attempt.epoch {
                    self.epoch = Some(epoch.clone());
                }
            }
            Record::Health(change) if change.ts <= later(self.chosen) => self.health(change),
            Record::Mode(mode) if mode.ts <= later(self.chosen) => self.mode = Some(mode.clone()),
            Record::Attempt(other) if other.upstream == self.attempt.upstream => {
                self.attempt(other);
            }
            Record::Attempt(_)
            | Record::Checkpoint(_)
            | Record::Gap(_)
            | Record::Health(_)
            | Record::Mode(_) => {}
        }
    }

    fn health(&mut self, change: &HealthChange) {
        let elsewhere = |upstream: &Arc<str>| *upstream != self.attempt.upstream;
        if change.upstream.as_ref().is_some_and(elsewhere)
            || self.notes.len() >= MAX_KEYS && !self.notes.contains_key(&change.key)
        {
            return;
        }
        let notes = self.notes.entry(Arc::clone(&change.key)).or_default();
        let before = notes.last().filter(|note| note.is_continued_by(change));
        let since = before.map_or(change.ts, |note| note.since);
        let cause = before.and_then(|note| note.cause.clone());
        // Whether a change within the blur came before the choice cannot be told: both are kept.
        if later(change.ts) <= self.chosen || notes.len() == MAX_NOTES {
            notes.clear();
        }
        notes.push(Note { change: change.clone(), since, cause });
    }

    fn attempt(&mut self, other: &Attempt) {
        let ours = &self.attempt;
        if other.request_id == ours.request_id && other.attempt < ours.attempt {
            self.tried.retain(|known| known.attempt != other.attempt);
            self.tried.push(other.clone());
        }
        // An attempt and the changes that it brings about have one time.
        if let (Some(words), Some(_)) = (&other.error, other.outcome.fault()) {
            for note in self.notes.values_mut().filter_map(|notes| notes.last_mut()) {
                let same = note.change.ts.as_millisecond() == other.ts.as_millisecond();
                if same && (note.cause.is_none() || note.change.key == other.key) {
                    note.cause = Some(Arc::clone(words));
                }
            }
        }
        if let (Some(session), Some(turn)) = (&other.session_id, other.turn)
            && ours.session_id.as_ref() == Some(session)
            && other.policy == Policy::Session
            && ours.turn.is_none_or(|ours| turn < ours)
            && chosen_at(other) <= later(self.chosen)
            && self.session.as_ref().is_none_or(|known| known.turn < turn)
        {
            self.session = Some(Earlier { turn, label: Arc::clone(&other.label) });
        }
    }

    /// What all of it comes to.
    pub fn explain(&self) -> Explanation {
        let it = &self.attempt;
        let ring = self.epoch.clone().and_then(|epoch| EpochRing::read(epoch).ok());
        let follows_rule = ring.as_ref().filter(|_| it.turn.is_some()).map(|ring| {
            let (eligible, tried) = (&*it.eligible, &it.tried);
            let (prev_slot, slot, key) = (it.prev_slot, it.slot, &*it.key);
            ring.check(&Choice { prev_slot, slot, key, eligible, tried }).is_ok()
        });
        let after = ring.as_ref().zip(it.prev_slot).and_then(|(ring, slot)| {
            let key = (slot < ring.ring.slots()).then(|| ring.ring.key_at(slot))?;
            Some(Arc::clone(&ring.keys[key].label))
        });
        Explanation {
            upstream: Arc::clone(&it.upstream),
            turn: it.turn,
            request_id: Arc::clone(&it.request_id),
            attempt: it.attempt,
            key: Arc::clone(&it.key),
            label: Arc::clone(&it.label),
            chosen_at: self.chosen,
            outcome: it.outcome,
            status: it.status,
            mode: it.mode,
            policy: it.policy,
            why: self.why(ring.as_ref()),
            after,
            follows_rule,
            others: ring.map(|ring| self.others(&ring)).unwrap_or_default(),
        }
    }

    fn why(&self, ring: Option<&EpochRing>) -> Why {
        let it = &self.attempt;
        let session = it.session_id.as_ref().filter(|_| it.policy == Policy::Session);
        if it.turn.is_some() {
            let moved_from = self.session.clone().filter(|before| before.label != it.label);
            return Why::Turn { session: session.cloned(), moved_from };
        }
        if it.mode == Mode::Manual {
            let active = self.mode.as_ref().and_then(|mode| mode.key.as_ref()).zip(ring);
            let active = active.and_then(|(id, ring)| {
                let at = ring.keys.iter().position(|key| key.key == *id)?;
                Some((at, Arc::clone(&ring.keys[at].label)))
            });
            // The active key serves whenever it can; only a file's account comes before it.
            let could = |at: usize| it.eligible.contains(at) && !it.tried.contains(at);
            return match active {
                Some((at, label)) if label != it.label && could(at) => Why::File,
                active => Why::Manual { active: active.map(|(_, label)| label) },
            };
        }
        let since = self.session.clone();
        let elsewhere = since.as_ref().is_some_and(|since| since.label != it.label);
        match session {
            Some(session) if !elsewhere && !it.path.starts_with("/files/") => {
                Why::Session { session: Arc::clone(session), since }
            }
            _ => Why::File,
        }
    }

    /// The other keys in the order of the search: from the slot after the cursor, going round.
    fn others(&self, ring: &EpochRing) -> Vec<Other> {
        let it = &self.attempt;
        let slots = ring.ring.slots();
        let within = |slot: &usize| *slot < slots;
        let cursor = it.prev_slot.filter(within);
        let start = cursor.map_or(0, |slot| slot + 1);
        let replay = || successor(&ring.ring, cursor, &it.eligible, &it.tried);
        let end = it.turn.and_then(|_| it.slot.filter(within).or_else(replay));
        let (mut others, mut before_served) = (Vec::<(usize, bool)>::new(), end.is_some());
        for slot in (start..start + slots).map(|at| at % slots) {
            if Some(slot) == end {
                before_served = false;
            }
            let key = ring.ring.key_at(slot);
            if *ring.keys[key].key != *it.key && !others.iter().any(|(known, _)| *known == key) {
                others.push((key, before_served));
            }
        }
        let other = |(at, passed_over): (usize, bool)| Other {
            key: Arc::clone(&ring.keys[at].key),
            label: Arc::clone(&ring.keys[at].label),
            passed_over,
            because: self.because(ring, at),
        };
        others.into_iter().map(other).collect()
    }
}

fn later(at: Timestamp) -> Timestamp {
    at.checked_add(BLUR).unwrap_or(Timestamp::MAX)
}

/// With milliseconds, as all times of the trace.
fn millis<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{at:.3}"))
}
