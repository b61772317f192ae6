//! Puts turns that come in the order of their ends back into the order of their choice, for the
//! one measure that needs it: the pair gap.

use std::{collections::BTreeMap, sync::Arc};

use kmi_core::{eligible::KeySet, ring::Ring};

use crate::pair_gap::PairGap;

/// Most turns that wait for an earlier one. When more would, the earlier one is given up and the
/// runs it would have joined are measured apart.
const MAX_WAITING: usize = 16_384;

/// What comes at a turn's number.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A turn whose choice is known.
    Turn { ring: Arc<Ring>, key: usize, eligible: KeySet },
    /// Turns up to this number whose choice is not known.
    Unknown { to: u64 },
}

/// The turns of one upstream on their way into a [`PairGap`].
///
/// By default it starts with whichever turn comes first.
#[derive(Debug, Clone, Default)]
pub(super) struct InOrder {
    /// The number that comes next.
    next: Option<u64>,
    waiting: BTreeMap<u64, Step>,
    gap: PairGap,
}

impl InOrder {
    /// Waits for this turn as the first one.
    pub(super) fn starting_at(turn: u64) -> Self {
        Self { next: Some(turn), ..Self::default() }
    }

    /// Takes the step at a number. One that comes too late is left out: the run was broken there.
    pub(super) fn take(&mut self, turn: u64, step: Step) {
        let next = *self.next.get_or_insert(turn);
        if turn < next {
            return;
        }
        self.waiting.insert(turn, step);
        self.play_what_is_next();
        if self.waiting.len() > MAX_WAITING {
            self.give_up_waiting();
        }
    }

    /// The largest gap, with the turns that still wait taken apart from those before the holes.
    pub(super) fn widest(&self) -> f64 {
        if self.waiting.is_empty() {
            return self.gap.widest();
        }
        let mut all = self.clone();
        while !all.waiting.is_empty() {
            all.give_up_waiting();
        }
        all.gap.widest()
    }

    fn play_what_is_next(&mut self) {
        while let Some(next) = self.next
            && let Some(step) = self.waiting.remove(&next)
        {
            let last = match step {
                Step::Turn { ring, key, eligible } => {
                    self.gap.turn(&ring, key, &eligible);
                    next
                }
                Step::Unknown { to } => {
                    self.gap.interrupt();
                    to
                }
            };
            self.next = Some(last.saturating_add(1));
        }
    }

    fn give_up_waiting(&mut self) {
        if let Some((first, _)) = self.waiting.first_key_value() {
            self.next = Some(*first);
            self.gap.interrupt();
            self.play_what_is_next();
        }
    }
}
