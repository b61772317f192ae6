//! The rotation: a cursor over the ring, and who serves the next turn (FAIRNESS section 1).
//!
//! `next(cursor, E)` is the first slot strictly after the cursor, going round, whose key is in
//! `E`. That rule alone gives pairwise fairness: between two passes over a slot of one key the
//! cursor passes every slot of any other key once, and a passed slot of an eligible key is a
//! served slot. The tests of this module prove it for arbitrary flapping.

use std::sync::Arc;

use crate::{
    eligible::{Eligible, KeySet},
    ring::Ring,
};

/// Where one upstream's rotation stands.
#[derive(Debug, Clone)]
pub struct Rotation {
    ring: Arc<Ring>,
    epoch: u64,
    cursor: Option<usize>,
    last_turn: u64,
}

/// One turn: a numbered choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// 1, 2, 3, … for the life of the state directory; never reused.
    pub number: u64,
    /// The epoch whose ring was used.
    pub epoch: u64,
    /// The cursor before the choice; `None` before slot 0.
    pub prev_slot: Option<usize>,
    /// The slot that was chosen; the cursor afterwards.
    pub slot: usize,
    /// The key that stands in the slot.
    pub key: usize,
    /// The mask for the trace: the keys that were eligible, tried ones included.
    pub eligible: Arc<KeySet>,
}

impl Rotation {
    /// A rotation from the very start: epoch 1, before slot 0, no turn given out.
    pub fn new(ring: Arc<Ring>) -> Self {
        Self { ring, epoch: 1, cursor: None, last_turn: 0 }
    }

    /// A rotation that goes on where an earlier process stopped.
    ///
    /// A cursor that the ring does not have is taken as "before slot 0".
    pub fn resume(ring: Arc<Ring>, epoch: u64, cursor: Option<usize>, last_turn: u64) -> Self {
        let cursor = cursor.filter(|slot| *slot < ring.slots());
        Self { ring, epoch, cursor, last_turn }
    }

    /// Chooses the next key and moves the cursor; `None` (and nothing moved) when no eligible
    /// key is left outside `tried`.
    ///
    /// Allocates nothing for rings of up to 64 keys, and for larger ones only in a retry that has
    /// to fall back to another tier.
    #[inline]
    pub fn next(&mut self, eligible: &Eligible, tried: &KeySet) -> Option<Turn> {
        if let Some(slot) = next_slot(&self.ring, self.cursor, eligible.slots(), tried) {
            return Some(self.take(slot, Arc::clone(eligible.mask())));
        }
        if tried.is_empty() {
            return None;
        }
        // Every key of the best tier was tried in this request: the next tier serves.
        let mask = eligible.best_tier_without(tried);
        let slot = successor(&self.ring, self.cursor, &mask, tried)?;
        Some(self.take(slot, Arc::new(mask)))
    }

    /// The key that [`Self::next`] would choose, with the cursor left where it is.
    ///
    /// Manual mode fails over with it: those attempts are no turns.
    pub fn peek(&self, eligible: &Eligible, tried: &KeySet) -> Option<usize> {
        let mask = eligible.best_tier_without(tried);
        successor(&self.ring, self.cursor, &mask, tried).map(|slot| self.ring.key_at(slot))
    }

    fn take(&mut self, slot: usize, eligible: Arc<KeySet>) -> Turn {
        let prev_slot = self.cursor.replace(slot);
        self.last_turn += 1;
        Turn {
            number: self.last_turn,
            epoch: self.epoch,
            prev_slot,
            slot,
            key: self.ring.key_at(slot),
            eligible,
        }
    }

    /// The ring in force.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The number of the epoch in force.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The slot of the last turn; `None` before slot 0.
    pub fn cursor(&self) -> Option<usize> {
        self.cursor
    }

    /// The newest turn that was given out; 0 for none.
    pub fn last_turn(&self) -> u64 {
        self.last_turn
    }
}

/// The first slot strictly after `cursor`, going round, whose key is in `eligible` and not in
/// `tried`: the whole rule, for replays.
pub fn successor(
    ring: &Ring,
    cursor: Option<usize>,
    eligible: &KeySet,
    tried: &KeySet,
) -> Option<usize> {
    if ring.is_plain() {
        return next_slot(ring, cursor, eligible, tried);
    }
    let start = cursor.map_or(0, |slot| slot + 1);
    (start..start + ring.slots()).map(|at| at % ring.slots()).find(|slot| {
        let key = ring.key_at(*slot);
        eligible.contains(key) && !tried.contains(key)
    })
}

/// As [`successor`], over a set of slots that is kept ready: one word per 64 slots.
#[inline]
fn next_slot(ring: &Ring, cursor: Option<usize>, slots: &KeySet, tried: &KeySet) -> Option<usize> {
    let start = cursor.map_or(0, |slot| slot + 1);
    let free = |slot: &usize| tried.is_empty() || !tried.contains(ring.key_at(*slot));
    let within = |from: usize, to: usize| {
        let mut at = from;
        std::iter::from_fn(move || {
            let slot = slots.at_or_after(at)?;
            at = slot + 1;
            Some(slot)
        })
        .take_while(move |slot| *slot < to)
        .find(free)
    };
    within(start, ring.slots()).or_else(|| within(0, start.min(ring.slots())))
}

#[cfg(test)]
mod tests;
