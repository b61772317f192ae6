//! Which turns of an upstream the ledger accounts for, and where its rotation stood.
//!
//! Kept by the writer and stored in the same transaction as the lines, so that recovery costs the
//! same however long the ledger is: the turns up to a watermark are all in lines, and of the few
//! above it (requests end out of order) the ranges are known.

use std::{collections::BTreeMap, fmt::Write as _};

use kmi_core::trace::Epoch;

/// What the ledger knows of one upstream's turns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Every turn up to this one is in a line.
    pub(super) done_to: u64,
    /// Ranges above `done_to` that are in lines too; they neither touch nor overlap.
    above: BTreeMap<u64, u64>,
    /// The newest turn in any line; 0 for none.
    pub(super) last_turn: u64,
    /// The newest epoch that has a line; 0 for none.
    pub(super) epoch: u64,
    /// The newest epoch that any line speaks of.
    pub(super) top_epoch: u64,
    /// Where the rotation stands in `epoch`'s ring.
    pub(super) cursor: Option<usize>,
    /// Of epochs above the oldest open one: the first turn seen. Not stored: at a start every
    /// turn is accounted for and only the newest epoch is open.
    first_turns: BTreeMap<u64, u64>,
}

impl Progress {
    /// Takes up what was stored; `above` as [`Self::above_text`] wrote it.
    pub(super) fn restore(
        (done_to, last_turn): (u64, u64),
        (epoch, top_epoch): (u64, u64),
        cursor: Option<usize>,
        above: &str,
    ) -> Option<Self> {
        let mut ranges = BTreeMap::new();
        for range in above.split_terminator(' ') {
            let (from, to) = range.split_once('-')?;
            ranges.insert(from.parse().ok()?, to.parse().ok()?);
        }
        let first_turns = BTreeMap::new();
        Some(Self { done_to, above: ranges, last_turn, epoch, top_epoch, cursor, first_turns })
    }

    /// The ranges above the watermark, as text for the database.
    pub(super) fn above_text(&self) -> String {
        self.above.iter().fold(String::new(), |mut text, (from, to)| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{from}-{to} ");
            text
        })
    }

    /// A new ring is in force.
    pub(super) fn begin(&mut self, epoch: &Epoch) {
        if epoch.epoch >= self.epoch {
            self.epoch = epoch.epoch;
            self.cursor = epoch.cursor;
        }
        self.top_epoch = self.top_epoch.max(epoch.epoch);
    }

    /// The turns `from..=to` of an epoch are in a line; `slot` is that of the last one.
    pub(super) fn account(&mut self, from: u64, to: u64, epoch: u64, slot: Option<usize>) {
        if epoch == self.epoch && to > self.last_turn && slot.is_some() {
            self.cursor = slot;
        }
        self.last_turn = self.last_turn.max(to);
        self.top_epoch = self.top_epoch.max(epoch);
        let first = self.first_turns.entry(epoch).or_insert(from);
        *first = from.min(*first);
        self.insert(from, to);
    }

    fn insert(&mut self, from: u64, to: u64) {
        let (mut from, mut to) = (from.max(self.done_to + 1), to);
        if from > to {
            return;
        }
        // Swallow every range that touches or overlaps.
        while let Some((start, end)) = self.above.range(..=to + 1).next_back() {
            let (start, end) = (*start, *end);
            if end + 1 < from {
                break;
            }
            (from, to) = (from.min(start), to.max(end));
            self.above.remove(&start);
        }
        if from == self.done_to + 1 {
            self.done_to = to;
        } else {
            self.above.insert(from, to);
        }
    }

    /// The oldest epoch that a later line can still speak of, when that has changed: every turn
    /// of the epochs below it is accounted for.
    pub(super) fn take_closed(&mut self) -> Option<u64> {
        if self.first_turns.len() < 2 {
            return None;
        }
        let reached = self.first_turns.iter().rfind(|(_, first)| **first <= self.done_to);
        let open = *reached?.0;
        let before = self.first_turns.len();
        self.first_turns.retain(|epoch, _| *epoch >= open);
        (self.first_turns.len() < before).then_some(open)
    }

    /// The turns up to `last` that are in no line, as ranges, ascending.
    pub(super) fn missing(&self, last: u64) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut next = self.done_to + 1;
        for (from, to) in &self.above {
            if next < *from {
                holes.push((next, last.min(from - 1)));
            }
            next = to + 1;
        }
        holes.push((next, last));
        holes.retain(|(from, to)| from <= to);
        holes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::samples;

    fn again(progress: &Progress) -> Progress {
        let turns = (progress.done_to, progress.last_turn);
        let epochs = (progress.epoch, progress.top_epoch);
        Progress::restore(turns, epochs, progress.cursor, &progress.above_text()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_missing_is_what_was_not_accounted(
            ranges in prop::collection::vec((1u64..60, 0u64..6), 0..20),
            last in 0u64..70,
        ) {
            let (mut progress, mut model) = (Progress::default(), BTreeSet::new());
            for (from, more) in ranges {
                progress.account(from, from + more, 1, None);
                model.extend(from..=from + more);
            }
            let missing = again(&progress).missing(last);
            let turns: Vec<u64> = missing.iter().flat_map(|(from, to)| *from..=*to).collect();
            let expected: Vec<u64> = (1..=last).filter(|turn| !model.contains(turn)).collect();
            prop_assert_eq!(turns, expected);
            prop_assert!(missing.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "runs are whole");
            prop_assert_eq!(progress.last_turn, model.last().copied().unwrap_or(0));
        }
    }

    #[test]
    fn the_cursor_is_the_newest_turns_slot_in_the_newest_epoch() {
        let mut progress = Progress::default();
        progress.begin(&samples::epoch("kimi", 1, 3));
        progress.account(2, 2, 1, Some(1));
        progress.account(1, 1, 1, Some(0));
        assert_eq!(progress.cursor, Some(1));
        let mut second = samples::epoch("kimi", 2, 3);
        second.cursor = Some(2);
        progress.begin(&second);
        progress.account(3, 3, 1, Some(0));
        assert_eq!(progress.cursor, Some(2), "a straggler of the old ring does not move it");
        progress.account(4, 4, 2, Some(0));
        assert_eq!((progress.cursor, again(&progress).cursor), (Some(0), Some(0)));
    }

    #[test]
    fn an_epoch_closes_when_its_last_turn_is_in() {
        let mut progress = Progress::default();
        progress.account(1, 1, 1, None);
        progress.account(3, 3, 2, None);
        assert_eq!(progress.take_closed(), None, "turn 2 may be of either epoch");
        progress.account(2, 2, 1, None);
        assert_eq!(progress.take_closed(), Some(2));
        assert_eq!(progress.take_closed(), None);
    }

    #[test]
    fn a_damaged_text_is_refused() {
        for text in ["4", "4-", "a-b ", "1-2,3-4"] {
            assert_eq!(Progress::restore((0, 0), (0, 0), None, text), None, "{text}");
        }
    }
}
