//! Conformity: does one turn follow the rule, and does it follow the turn before?
//! (FAIRNESS sections 1 and 3)
//!
//! The two halves are checked apart: [`EpochRing::check`] replays a turn's choice from what its
//! own line says, [`follow`] holds the line's `prev_slot` against the turn before, whenever that
//! turn's line comes in.

use std::{fmt, sync::Arc};

use kmi_core::{
    eligible::KeySet,
    ring::{Ring, RingError, Seat},
    rotation::successor,
    trace::{Epoch, EpochKey},
};

/// An epoch whose ring was checked.
#[derive(Debug, Clone)]
pub struct EpochRing {
    /// Its number.
    pub number: u64,
    /// Its keys in inventory order.
    pub keys: Vec<EpochKey>,
    /// Its ring.
    pub ring: Arc<Ring>,
    /// Where the rotation stood when it began; `None` before slot 0.
    pub cursor: Option<usize>,
}

/// What a turn's line says about its choice.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// The cursor before; `None` before slot 0.
    pub prev_slot: Option<usize>,
    /// The chosen slot.
    pub slot: Option<usize>,
    /// The id of the key that served.
    pub key: &'a str,
    /// The keys that were eligible, tried ones included.
    pub eligible: &'a KeySet,
    /// The keys that the request had tried before.
    pub tried: &'a KeySet,
}

/// How a turn, an epoch or a gap breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A mask names a key that the epoch does not have.
    #[error("a mask names a key that the epoch does not have")]
    MaskTooWide,
    /// A turn without a slot is none.
    #[error("the turn has no slot")]
    NoSlot,
    /// An attempt that was no turn claims a place in the rotation.
    #[error("an attempt that was no turn has a slot")]
    SlotWithoutTurn,
    /// The ring has no such slot.
    #[error("slot {0} is outside the ring")]
    SlotOutside(usize),
    /// Another key stands in the slot.
    #[error("{0} served, but another key stands in its slot")]
    WrongKey(Arc<str>),
    /// Nobody was eligible, yet somebody served.
    #[error("a key served though none was eligible")]
    NobodyEligible,
    /// The rule leads to another slot.
    #[error("slot {is} was chosen; the next eligible one is {should}")]
    WrongSlot {
        /// The slot in the line.
        is: usize,
        /// The slot that the rule gives.
        should: usize,
    },
    /// The turn does not start where the turn before ended.
    #[error("the turn starts after {is}, but the turn before ended at {should}")]
    Unconnected {
        /// The `prev_slot` in the line.
        is: Place,
        /// The slot of the turn before, or the cursor of the epoch.
        should: Place,
    },
    /// The epoch's cursor is not where the rule puts it.
    #[error(
        "epoch {epoch} starts at {is}; after the key that served last it must start at {should}"
    )]
    WrongCursor {
        /// The epoch.
        epoch: u64,
        /// The cursor in the epoch's line.
        is: Place,
        /// Where the rule puts it.
        should: Place,
    },
    /// A turn of an older epoch after one of a newer epoch.
    #[error("the turn goes back to epoch {is}; the turn before was in epoch {before}")]
    EarlierEpoch {
        /// The turn's epoch.
        is: u64,
        /// The epoch of the turn before.
        before: u64,
    },
    /// Turn numbers start at 1.
    #[error("there is no turn 0")]
    TurnZero,
    /// A turn's number was given twice, by attempts or gaps.
    #[error("the turn's number was used before")]
    Reused,
    /// The ring in an epoch's line cannot be one.
    #[error("the ring of epoch {0} is wrong: {1}")]
    BadRing(u64, RingError),
    /// The same key stands twice in an epoch's keys.
    #[error("epoch {0} names a key twice")]
    KeyTwice(u64),
    /// The epoch's cursor is outside its ring.
    #[error("the cursor of epoch {0} is outside its ring")]
    CursorOutside(u64),
    /// Epoch numbers only grow.
    #[error("epoch {0} begins after epoch {1}")]
    EpochNotNew(u64, u64),
    /// A gap that ends before it begins.
    #[error("a gap from turn {0} to turn {1}")]
    BackwardGap(u64, u64),
    /// A gap lists more or fewer slots than it has turns.
    #[error("a gap of {turns} turns lists {slots} slots")]
    WrongGapSlots {
        /// How many turns the gap claims.
        turns: u64,
        /// How many slots it lists.
        slots: usize,
    },
    /// A well-chained line of a known type whose fields make no sense.
    #[error("the line's fields are wrong: {0}")]
    Unreadable(String),
    /// More upstreams or keys than any trace of kmi's has.
    #[error("more than {0} {1} in one trace")]
    TooMany(usize, &'static str),
}

/// A place of the cursor, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub Option<usize>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(slot) => write!(f, "slot {slot}"),
            None => f.write_str("the start of the ring"),
        }
    }
}

impl EpochRing {
    /// Checks an epoch's line: a ring that holds every key exactly `weight` times (in the order of
    /// `keys` when the weights are equal), keys that are there once, a cursor inside.
    pub fn read(epoch: Epoch) -> Result<Self, Violation> {
        let number = epoch.epoch;
        let seat = |key: &EpochKey| Seat { weight: key.weight, tier: key.tier };
        let seats: Vec<Seat> = epoch.keys.iter().map(seat).collect();
        let ring = Ring::from_slots(&seats, &epoch.ring)
            .map_err(|error| Violation::BadRing(number, error))?;
        let mut ids: Vec<&str> = epoch.keys.iter().map(|key| &*key.key).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Violation::KeyTwice(number));
        }
        if epoch.cursor.is_some_and(|cursor| cursor >= ring.slots()) {
            return Err(Violation::CursorOutside(number));
        }
        Ok(Self { number, keys: epoch.keys, ring: Arc::new(ring), cursor: epoch.cursor })
    }

    /// Replays one choice: `ring[slot]` is its key and `slot = next(prev_slot, eligible & ~tried)`.
    pub fn check(&self, choice: &Choice<'_>) -> Result<(), Violation> {
        let within = |slot: &usize| *slot < self.ring.slots();
        let slot = choice.slot.ok_or(Violation::NoSlot)?;
        if let Some(outside) =
            [Some(slot), choice.prev_slot].into_iter().flatten().find(|s| !within(s))
        {
            return Err(Violation::SlotOutside(outside));
        }
        let too_wide = |mask: &KeySet| mask.at_or_after(self.keys.len()).is_some();
        if too_wide(choice.eligible) || too_wide(choice.tried) {
            return Err(Violation::MaskTooWide);
        }
        if *self.keys[self.ring.key_at(slot)].key != *choice.key {
            return Err(Violation::WrongKey(choice.key.into()));
        }
        match successor(&self.ring, choice.prev_slot, choice.eligible, choice.tried) {
            None => Err(Violation::NobodyEligible),
            Some(should) if should != slot => Err(Violation::WrongSlot { is: slot, should }),
            Some(_) => Ok(()),
        }
    }

    /// Where the cursor of this epoch must stand after `served`: on that key's first slot or, if
    /// the key is gone, on the slot before the next key in inventory order. `None` where that
    /// cannot be known: a key that is gone and of which only the id was read, or keys in another
    /// order than kmi's.
    pub fn inherited(&self, served: &Served) -> Option<usize> {
        if let Some(key) = self.keys.iter().position(|key| *key.key == *served.id()) {
            return self.ring.first_slot(key);
        }
        let gone = served.entry().filter(|_| self.keys.is_sorted_by_key(order))?;
        let next = self.keys.iter().position(|key| order(key) > order(gone)).unwrap_or(0);
        self.ring.first_slot(next).map(|slot| self.ring.before(slot))
    }
}

fn order(key: &EpochKey) -> (i32, &str, &str) {
    (key.tier, &key.label, &key.key)
}

/// The key that served a turn.
#[derive(Debug, Clone)]
pub enum Served {
    /// A key of an epoch that is known, by its index.
    Of(Arc<EpochRing>, usize),
    /// Only its id is known.
    Named(Arc<str>),
}

impl Served {
    /// Its id.
    pub fn id(&self) -> &str {
        self.as_serving().id()
    }

    /// Whether it is this key, whatever its epoch.
    pub fn is(&self, other: Serving<'_>) -> bool {
        match (self, other) {
            // An epoch names no key twice.
            (Self::Of(epoch, key), Serving::Of(its, other)) if Arc::ptr_eq(epoch, its) => {
                *key == other
            }
            _ => self.id() == other.id(),
        }
    }

    /// The same, only to be looked at.
    pub fn as_serving(&self) -> Serving<'_> {
        match self {
            Self::Of(epoch, key) => Serving::Of(epoch, *key),
            Self::Named(id) => Serving::Named(id),
        }
    }

    fn entry(&self) -> Option<&EpochKey> {
        match self {
            Self::Of(epoch, key) => epoch.keys.get(*key),
            Self::Named(_) => None,
        }
    }
}

/// A [`Served`] that is only looked at.
#[derive(Debug, Clone, Copy)]
pub enum Serving<'a> {
    /// A key of an epoch that is known, by its index.
    Of(&'a Arc<EpochRing>, usize),
    /// Only its id is known.
    Named(&'a str),
}

impl<'a> Serving<'a> {
    /// Its id.
    pub fn id(self) -> &'a str {
        match self {
            Self::Of(epoch, key) => &epoch.keys[key].key,
            Self::Named(id) => id,
        }
    }

    /// The key, to be kept.
    pub fn keep(self) -> Served {
        match self {
            Self::Of(epoch, key) => Served::Of(Arc::clone(epoch), key),
            Self::Named(id) => Served::Named(id.into()),
        }
    }
}

/// The end of a turn, for the turn after it.
#[derive(Debug, Clone)]
pub struct End {
    /// The turn's epoch; `None` where its line does not say, and for a gap without slots.
    pub epoch: Option<u64>,
    /// Its slot; `None` where it is not known (a gap without slots).
    pub slot: Option<usize>,
    /// Who served, where that is known.
    pub served: Option<Served>,
}

/// The start of a turn, for the turn before it.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The turn's epoch.
    pub epoch: &'a EpochRing,
    /// The cursor before the choice.
    pub prev_slot: Option<usize>,
}

/// Whether the slot of the turn before was there to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// The turn starts where the turn before ended.
    Yes,
    /// The turn before is known, but not where it ended.
    No,
}

/// Holds a turn against the turn before it.
pub fn follow(before: &End, turn: &Start<'_>) -> Result<Linked, Violation> {
    let (epoch, Some(epoch_before)) = (turn.epoch, before.epoch) else { return Ok(Linked::No) };
    if epoch.number < epoch_before {
        return Err(Violation::EarlierEpoch { is: epoch.number, before: epoch_before });
    }
    if epoch.number == epoch_before {
        return match before.slot {
            None => Ok(Linked::No),
            slot => connected(turn.prev_slot, slot).map(|()| Linked::Yes),
        };
    }
    if let Some(should) = before.served.as_ref().and_then(|served| epoch.inherited(served)) {
        begins_at(epoch, Some(should))?;
    }
    // The first turn of an epoch starts at the epoch's cursor, whatever is known of the turn
    // before.
    connected(turn.prev_slot, epoch.cursor)?;
    Ok(if before.slot.is_some() { Linked::Yes } else { Linked::No })
}

/// Checks turn 1, which has no turn before it: from the very start the cursor stands before
/// slot 0.
pub fn start(turn: &Start<'_>) -> Result<(), Violation> {
    begins_at(turn.epoch, None)?;
    connected(turn.prev_slot, None)
}

fn begins_at(epoch: &EpochRing, should: Option<usize>) -> Result<(), Violation> {
    if epoch.cursor == should {
        return Ok(());
    }
    let (is, should) = (Place(epoch.cursor), Place(should));
    Err(Violation::WrongCursor { epoch: epoch.number, is, should })
}

fn connected(is: Option<usize>, should: Option<usize>) -> Result<(), Violation> {
    if is == should {
        return Ok(());
    }
    Err(Violation::Unconnected { is: Place(is), should: Place(should) })
}

#[cfg(test)]
mod tests;
