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

/// What turns meet when they are accounted for.
#[derive(Debug)]
pub(super) struct Met {
    /// Where the turn before them ended, if that is there.
    pub(super) before: Option<End>,
    /// The turn after them, if that came first and was no gap.
    pub(super) later: Option<Joint>,
}

/// A number of the run is accounted for already.
#[derive(Debug)]
pub(super) struct Overlap;

impl Spans {
    /// Accounts for the turns `from..=to` and returns the neighbours that have met.
    ///
    /// `first` is asked for only where the turn before is not there yet; it gives `None` for a gap:
    /// what that starts from is not known.
    pub(super) fn add(
        &mut self,
        from: u64,
        to: u64,
        last: End,
        first: impl FnOnce() -> Option<First>,
    ) -> Result<Met, Overlap> {
        let is_newest = self.spans.last_key_value().is_none_or(|(at, _)| *at <= to);
        let near = if is_newest {
            self.spans.last_entry().map(|span| (*span.key(), span.into_mut()))
        } else {
            self.spans.range_mut(..=to).next_back().map(|(at, span)| (*at, span))
        };
        let (at, before) = match near {
            Some((_, span)) if span.to >= from => return Err(Overlap),
            Some((at, span)) if span.to + 1 == from => {
                span.to = to;
                (at, Some(mem::replace(&mut span.last, last)))
            }
            _ => {
                self.spans.insert(from, Span { to, first: first(), last });
                (from, None)
            }
        };
        let later = if is_newest { None } else { self.close_up(at, to) };
        self.bound();
        Ok(Met { before, later })
    }

    /// Joins the span that starts at `from` and ends at `to` with the one behind it, if they touch.
    fn close_up(&mut self, from: u64, to: u64) -> Option<Joint> {
        let right = to.checked_add(1)?;
        let behind = self.spans.remove(&right)?;
        let span = self.spans.get_mut(&from)?;
        span.to = behind.to;
        let before = mem::replace(&mut span.last, behind.last);
        behind.first.map(|first| Joint { turn: right, before, first })
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

    fn add(spans: &mut Spans, from: u64, to: u64) -> Result<Met, Overlap> {
        spans.add(from, to, end(), || Some(First { seq: from, ..first() }))
    }

    #[test]
    fn neighbours_meet_whatever_order_they_come_in() {
        let mut spans = Spans::default();
        let mut met = |turn: u64| {
            let met = add(&mut spans, turn, turn).unwrap();
            (met.before.is_some(), met.later.map(|joint| (joint.turn, joint.first.seq)))
        };
        assert_eq!((met(1), met(3)), ((false, None), (false, None)));
        assert_eq!(met(2), (true, Some((3, 3))));
        assert_eq!(met(4), (true, None));
        assert!(add(&mut spans, 2, 9).is_err());
        assert!(add(&mut spans, 4, 4).is_err());
    }

    #[test]
    fn huge_numbers_cost_nothing() {
        let mut spans = Spans::default();
        assert!(spans.add(5, 1 << 60, end(), || None).is_ok());
        assert!(add(&mut spans, u64::MAX, u64::MAX).is_ok());
        assert!(add(&mut spans, u64::MAX, u64::MAX).is_err());
        assert_eq!(spans.newest(), u64::MAX);
        assert_eq!(spans.missing(1, 1 << 60), 4);
        assert_eq!(spans.missing(1, u64::MAX), u64::MAX - 1 - (1 << 60) + 4);
    }

    #[test]
    fn holes_are_bounded() {
        let mut spans = Spans::default();
        for turn in 1..=2 * MAX_SPANS as u64 {
            assert!(add(&mut spans, 2 * turn, 2 * turn).is_ok());
        }
        assert_eq!(spans.spans.len(), MAX_SPANS);
        assert_eq!(spans.missing(1, spans.newest()) + spans.closed(), 2 * MAX_SPANS as u64);
        assert!(add(&mut spans, 3, 3).is_err(), "a closed hole cannot be filled");
        let later = add(&mut spans, 1, 1).unwrap().later;
        assert_eq!(later.unwrap().first.seq, 2, "what comes before the oldest turn still meets it");
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(runs in prop::collection::vec((1u64..60, 0u64..4), 0..40)) {
            let (mut spans, mut model) = (Spans::default(), BTreeSet::new());
            for (from, more) in runs {
                let free = (from..=from + more).all(|n| !model.contains(&n));
                let met = add(&mut spans, from, from + more);
                prop_assert_eq!(met.is_ok(), free);
                if let Ok(met) = met {
                    prop_assert_eq!(met.before.is_some(), model.contains(&(from - 1)));
                    prop_assert_eq!(met.later.is_some(), model.contains(&(from + more + 1)));
                }
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
