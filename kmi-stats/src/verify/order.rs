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

    /// Takes a turn whose choice is known; most often it is the one that comes next.
    pub(super) fn turn(&mut self, turn: u64, ring: &Arc<Ring>, key: usize, eligible: &KeySet) {
        if *self.next.get_or_insert(turn) == turn {
            self.gap.turn(ring, key, eligible);
            self.next = Some(turn.saturating_add(1));
            return self.play_what_is_next();
        }
        let (ring, eligible) = (Arc::clone(ring), eligible.clone());
        self.take(turn, Step::Turn { ring, key, eligible });
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

#[cfg(test)]
mod tests {
    use kmi_core::ring::Seat;

    use super::*;

    fn ring() -> Arc<Ring> {
        Arc::new(Ring::new(&[Seat::default(); 2]).unwrap())
    }

    fn steps() -> impl Fn(usize) -> Step {
        let ring = ring();
        move |key| Step::Turn { ring: Arc::clone(&ring), key, eligible: KeySet::full(2) }
    }

    fn assert_widest(order: &InOrder, should: f64) {
        assert!((order.widest() - should).abs() < 1e-12, "{}", order.widest());
    }

    #[test]
    fn turns_are_measured_in_the_order_of_their_numbers() {
        let (step, mut order) = (steps(), InOrder::starting_at(1));
        // As they come the second key is served twice in a row, as they were chosen it is not.
        for (turn, key) in [(2, 1), (4, 1), (1, 0), (3, 0)] {
            order.take(turn, step(key));
        }
        assert_widest(&order, 1.0);
        assert!(order.waiting.is_empty());
    }

    #[test]
    fn turns_come_one_by_one_too() {
        let (ring, all, mut order) = (ring(), KeySet::full(2), InOrder::starting_at(1));
        for (turn, key) in [(1, 0), (3, 0), (2, 1), (4, 0), (2, 0)] {
            order.turn(turn, &ring, key, &all);
        }
        assert_widest(&order, 2.0);
        assert!(order.waiting.is_empty());
        assert_eq!(order.next, Some(5));
    }

    #[test]
    fn a_turn_that_comes_too_late_is_left_out() {
        let (step, mut order) = (steps(), InOrder::default());
        order.take(7, step(0));
        order.take(3, step(0));
        assert!(order.waiting.is_empty());
        assert_eq!(order.next, Some(8));
        assert_widest(&order, 1.0);
    }

    #[test]
    fn turns_that_wait_are_measured_apart() {
        let (step, mut order) = (steps(), InOrder::starting_at(1));
        for turn in [2, 3, 4, 6, 7] {
            order.take(turn, step(0));
        }
        assert_widest(&order, 3.0);
        assert_eq!(order.waiting.len(), 5, "and go on waiting");
    }

    #[test]
    fn waiting_is_bounded() {
        let (step, mut order) = (steps(), InOrder::starting_at(1));
        let mut most = 0;
        for turn in (2..).take(3 * MAX_WAITING) {
            order.take(2 * turn, step(0));
            most = most.max(order.waiting.len());
        }
        assert_eq!(most, MAX_WAITING);
        assert_widest(&order, 1.0);
    }
}
