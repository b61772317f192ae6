//! Turns whose lines could not be kept, merged into runs until they can be declared as gaps.
//!
//! Memory stays bounded: at most [`MAX_SLOTS_KEPT`] slots are remembered, later turns only as
//! ranges, and ranges that touch become one.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use kmi_core::trace::{Attempt, Gap, Record};

/// Most slots that one `gap` line lists; longer runs become several lines.
pub(super) const MAX_SLOTS_PER_GAP: usize = 4096;
const MAX_SLOTS_KEPT: usize = 131_072;

/// Why a line could not be kept: the word in the gap's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// The disk did not take lines, and the queue was full of waiting ones.
    DiskError,
    /// Lines came faster than they could be written.
    QueueFull,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::DiskError => "disk_error",
            Self::QueueFull => "queue_full",
        }
    }
}

/// Upstream, epoch, reason: a gap never spans two of them.
type Place = (Arc<str>, u64, Reason);

/// The turns whose lines were lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    runs: BTreeMap<Place, BTreeMap<u64, Run>>,
    slots_kept: usize,
    newest: Option<Timestamp>,
}

#[derive(Debug)]
struct Run {
    to: u64,
    slots: Option<Vec<usize>>,
}

impl Lost {
    /// Takes note of an attempt that could not be kept; only turns need declaring.
    pub(super) fn add(&mut self, attempt: &Attempt, reason: Reason) {
        let Some(turn) = attempt.turn else { return };
        self.newest = self.newest.max(Some(attempt.ts));
        let slot = attempt.slot.filter(|_| self.slots_kept < MAX_SLOTS_KEPT);
        self.slots_kept += usize::from(slot.is_some());
        let place = (Arc::clone(&attempt.upstream), attempt.epoch, reason);
        let runs = self.runs.entry(place).or_default();
        runs.insert(turn, Run { to: turn, slots: slot.map(|slot| vec![slot]) });
        merge(runs, turn);
        if let Some((before, _)) = runs.range(..turn).next_back() {
            let before = *before;
            merge(runs, before);
        }
    }

    /// Whether no turn was lost.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The lines that declare the runs.
    pub(super) fn gaps(&self) -> Vec<Record> {
        let ts = self.newest.unwrap_or_default();
        let gap = |((upstream, epoch, reason), from, run): (&Place, u64, &Run)| {
            Record::Gap(Gap {
                ts,
                upstream: Arc::clone(upstream),
                epoch: *epoch,
                from_turn: from,
                to_turn: run.to,
                slots: run.slots.clone(),
                reason: reason.as_str().into(),
            })
        };
        let runs = self.runs.iter();
        runs.flat_map(|(place, runs)| runs.iter().map(move |(from, run)| (place, *from, run)))
            .map(gap)
            .collect()
    }
}

/// Joins the run at `from` with the one that follows it, where they touch and fit together.
fn merge(runs: &mut BTreeMap<u64, Run>, from: u64) {
    let Some(run) = runs.get(&from) else { return };
    let Some(next) = runs.get(&(run.to + 1)) else { return };
    let fit = match (&run.slots, &next.slots) {
        (Some(a), Some(b)) => a.len() + b.len() <= MAX_SLOTS_PER_GAP,
        (None, None) => true,
        _ => false,
    };
    if !fit {
        return;
    }
    let at = run.to + 1;
    if let (Some(next), Some(run)) = (runs.remove(&at), runs.get_mut(&from)) {
        run.to = next.to;
        if let (Some(slots), Some(more)) = (&mut run.slots, next.slots) {
            slots.extend(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::samples::attempt;

    /// Epoch, first turn, last turn, slots, reason.
    type Declared = (u64, u64, u64, Option<Vec<usize>>, String);

    fn declared(lost: &Lost) -> Vec<Declared> {
        let gaps = lost.gaps().into_iter().map(|record| match record {
            Record::Gap(gap) => {
                (gap.epoch, gap.from_turn, gap.to_turn, gap.slots, gap.reason.to_string())
            }
            other => panic!("{other:?}"),
        });
        gaps.collect()
    }

    #[test]
    fn turns_in_any_order_become_runs() {
        let mut lost = Lost::default();
        for turn in [7, 3, 5, 4, 9, 8] {
            lost.add(&attempt("kimi", turn, 1), Reason::QueueFull);
        }
        lost.add(&attempt("kimi", 10, 2), Reason::QueueFull);
        lost.add(&attempt("kimi", 11, 2), Reason::DiskError);
        let full = "queue_full".to_owned();
        assert_eq!(
            declared(&lost),
            [
                (1, 3, 5, Some(vec![2, 0, 1]), full.clone()),
                (1, 7, 9, Some(vec![0, 1, 2]), full.clone()),
                (2, 11, 11, Some(vec![1]), "disk_error".into()),
                (2, 10, 10, Some(vec![0]), full),
            ]
        );
    }

    #[test]
    fn memory_is_bounded_and_no_turn_forgotten() {
        let mut lost = Lost::default();
        let newest = MAX_SLOTS_KEPT as u64 + 10_000;
        for turn in 1..=newest {
            lost.add(&attempt("kimi", turn, 1), Reason::QueueFull);
        }
        let gaps = declared(&lost);
        assert_eq!(gaps.len(), MAX_SLOTS_KEPT / MAX_SLOTS_PER_GAP + 1);
        assert_eq!(gaps.iter().map(|gap| gap.2 - gap.1 + 1).sum::<u64>(), newest);
        assert_eq!(gaps.last().unwrap().3, None);
    }
}
