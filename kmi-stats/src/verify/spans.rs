//! Which turn numbers are accounted for, as runs of neighbours.
//!
//! Attempts come in the order in which they ended, but whether a turn follows the one before it
//! needs only these two. So what is kept is not a turn but a *span*: an unbroken run of numbers
//! that are accounted for, with what its first turn starts from and where its last turn ended.
//! There are as many spans as holes (turns in flight), however long the trace is, and a gap that
//! claims 2^60 turns is one span.

use std::{collections::BTreeMap, mem, sync::Arc};

use super::tally::Status;
use crate::conformity::{End, EpochRing, Served, Start};

/// Most spans that are kept. Far fewer turns than this can be in flight; in a file with more
/// holes the oldest ones are closed and their numbers stay open for good.
const MAX_SPANS: usize = 16_384;

/// The spans of one upstream.
#[derive(Debug, Clone, Default)]
pub(super) struct Spans {
    /// By first number; they neither touch nor overlap.
    spans: BTreeMap<u64, Span>,
    /// Numbers that are in no line and lie in holes that were closed.
    closed: u64,
}

#[derive(Debug, Clone)]
struct Span {
    to: u64,
    first: Option<First>,
    last: End,
}

/// The first turn of a span, for when the turn before it comes in.
#[derive(Debug, Clone)]
pub(super) struct First {
    /// The line's number, for messages.
    pub(super) seq: u64,
    /// Its epoch; `None` where its start cannot be checked.
    pub(super) epoch: Option<Arc<EpochRing>>,
    /// The cursor before the choice.
    pub(super) prev_slot: Option<usize>,
    /// What it has been found to be.
    pub(super) status: Status,
    /// Who served.
    pub(super) served: Served,
    /// Whether another key could have served.
    pub(super) had_choice: bool,
}

impl First {
    /// What it starts from; `None` where that cannot be checked.
    pub(super) fn start(&self) -> Option<Start<'_>> {
        let epoch = self.epoch.as_deref()?;
        Some(Start { epoch, prev_slot: self.prev_slot })
    }
}

/// Two neighbouring turns, to be held against each other.
#[derive(Debug)]
pub(super) struct Joint {
    /// The later turn.
    pub(super) turn: u64,
    /// Where the earlier one ended.
    pub(super) before: End,
    /// What the later one starts from.
    pub(super) first: First,
}

/// A number of the run is accounted for already.
#[derive(Debug)]
pub(super) struct Overlap;

impl Spans {
    /// Accounts for a turn whose predecessor is there: where that one ended, and the turn after it
    /// if that one came first. `None`, and nothing done, for every other turn. [`Self::add`] does
    /// the same and more, with more steps.
    pub(super) fn append(
        &mut self,
        turn: u64,
        last: impl FnOnce() -> End,
    ) -> Option<(End, Option<Joint>)> {
        let (from, span) = self.spans.range_mut(..=turn).next_back()?;
        if span.to.checked_add(1) != Some(turn) {
            return None;
        }
        span.to = turn;
        let (from, before) = (*from, mem::replace(&mut span.last, last()));
        Some((before, self.close_up(from, turn)))
    }

    /// Joins the span that starts at `from` and ends at `to` with the one behind it, if they touch.
    fn close_up(&mut self, from: u64, to: u64) -> Option<Joint> {
        let right = to.checked_add(1)?;
        let behind = self.spans.remove(&right)?;
        let span = self.spans.get_mut(&from)?;
        span.to = behind.to;
        joint(right, mem::replace(&mut span.last, behind.last), behind.first)
    }

    /// Accounts for the turns `from..=to` and returns the neighbours that have met.
    ///
    /// `first` is `None` for a gap: what it starts from is not known.
    pub(super) fn add(
        &mut self,
        from: u64,
        to: u64,
        first: Option<First>,
        last: End,
    ) -> Result<[Option<Joint>; 2], Overlap> {
        let before = self.spans.range(..=to).next_back().map(|(at, span)| (*at, span.to));
        let left = match before {
            Some((_, end)) if end >= from => return Err(Overlap),
            Some((at, end)) if end + 1 == from => Some(at),
            _ => None,
        };
        let earlier = if let Some(span) = left.and_then(|at| self.spans.get_mut(&at)) {
            span.to = to;
            joint(from, mem::replace(&mut span.last, last), first)
        } else {
            self.spans.insert(from, Span { to, first, last });
            None
        };
        let later = self.close_up(left.unwrap_or(from), to);
        self.bound();
        Ok([earlier, later])
    }

    /// Closes the oldest hole when there are too many.
    fn bound(&mut self) {
        if self.spans.len() <= MAX_SPANS {
            return;
        }
        let (Some((from, oldest)), Some((next, second))) =
            (self.spans.pop_first(), self.spans.pop_first())
        else {
            return;
        };
        self.closed = self.closed.saturating_add(next - oldest.to - 1);
        self.spans.insert(from, Span { first: oldest.first, ..second });
    }

    /// The newest number that is accounted for; 0 for none.
    pub(super) fn newest(&self) -> u64 {
        self.spans.last_key_value().map_or(0, |(_, span)| span.to)
    }

    /// How many numbers are in no line and lie in holes that were closed: old ones.
    pub(super) fn closed(&self) -> u64 {
        self.closed
    }

    /// How many numbers of `from..=to` are in no line, closed holes left out.
    pub(super) fn missing(&self, from: u64, to: u64) -> u64 {
        let mut missing = 0u64;
        let mut next = from;
        for (at, span) in &self.spans {
            if *at > to {
                break;
            }
            missing = missing.saturating_add(at.saturating_sub(next));
            match span.to.checked_add(1) {
                Some(after) => next = next.max(after),
                None => return missing,
            }
        }
        missing.saturating_add(to.checked_add(1).map_or(0, |end| end.saturating_sub(next)))
    }
}

fn joint(turn: u64, before: End, first: Option<First>) -> Option<Joint> {
    first.map(|first| Joint { turn, before, first })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn end() -> End {
        End { epoch: Some(1), slot: None, served: None }
    }

    fn first() -> First {
        First {
            seq: 0,
            epoch: None,
            prev_slot: None,
            status: Status::Unverifiable,
            served: Served::Named("k".into()),
            had_choice: false,
        }
    }

    fn first_of(turn: u64) -> First {
        First { seq: turn, ..first() }
    }

    #[test]
    fn neighbours_meet_whatever_order_they_come_in() {
        let mut spans = Spans::default();
        let mut met = |turn: u64| {
            let joints = spans.add(turn, turn, Some(first()), end()).unwrap();
            joints.into_iter().flatten().map(|joint| joint.turn).collect::<Vec<_>>()
        };
        assert!(met(1).is_empty() && met(3).is_empty());
        assert_eq!(met(2), [2, 3]);
        assert_eq!(met(4), [4]);
        assert!(spans.add(2, 9, Some(first()), end()).is_err());
        assert!(spans.add(4, 4, Some(first()), end()).is_err());
    }

    #[test]
    fn huge_numbers_cost_nothing() {
        let mut spans = Spans::default();
        assert!(spans.add(5, 1 << 60, None, end()).is_ok());
        assert!(spans.add(u64::MAX, u64::MAX, Some(first()), end()).is_ok());
        assert!(spans.add(u64::MAX, u64::MAX, Some(first()), end()).is_err());
        assert_eq!(spans.newest(), u64::MAX);
        assert_eq!(spans.missing(1, 1 << 60), 4);
        assert_eq!(spans.missing(1, u64::MAX), u64::MAX - 1 - (1 << 60) + 4);
    }

    #[test]
    fn holes_are_bounded() {
        let mut spans = Spans::default();
        for turn in 1..=2 * MAX_SPANS as u64 {
            assert!(spans.add(2 * turn, 2 * turn, Some(first_of(2 * turn)), end()).is_ok());
        }
        assert_eq!(spans.spans.len(), MAX_SPANS);
        assert_eq!(spans.missing(1, spans.newest()) + spans.closed(), 2 * MAX_SPANS as u64);
        assert!(spans.add(3, 3, Some(first()), end()).is_err(), "a closed hole cannot be filled");
        let [_, later] = spans.add(1, 1, Some(first_of(1)), end()).unwrap();
        assert_eq!(later.unwrap().first.seq, 2, "what comes before the oldest turn still meets it");
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(runs in prop::collection::vec((1u64..60, 0u64..4), 0..40)) {
            let (mut spans, mut model) = (Spans::default(), BTreeSet::new());
            for (from, more) in runs {
                let free = (from..=from + more).all(|n| !model.contains(&n));
                if more == 0 {
                    let follows = free && model.contains(&(from - 1));
                    prop_assert_eq!(spans.append(from, end).is_some(), follows);
                    if follows {
                        model.insert(from);
                        continue;
                    }
                }
                prop_assert_eq!(spans.add(from, from + more, Some(first()), end()).is_ok(), free);
                if free {
                    model.extend(from..=from + more);
                }
                prop_assert_eq!(spans.newest(), model.last().copied().unwrap_or(0));
                for (a, b) in [(1, 80), (1, spans.newest()), (20, 30), (30, 20)] {
                    let missing = (a..=b).filter(|n| !model.contains(n)).count() as u64;
                    prop_assert_eq!(spans.missing(a, b), missing, "{}..={}", a, b);
                }
            }
        }
    }
}
