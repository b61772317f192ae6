//! Sums over turns: of a whole trace as it is read, or of a window.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use kmi_core::eligible::KeySet;

use super::order::{InOrder, Step};
use crate::{chi_square::ChiSquare, conformity::EpochRing, report::ShareReport};

/// Most keys of one upstream whose shares are counted, over all its epochs.
pub(super) const MAX_KEYS: usize = 65_536;

/// What a turn has been found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Conforming,
    Violation,
    /// Its epoch's line or its masks are missing.
    Unverifiable,
}

/// One ended turn, as the window keeps it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) turn: u64,
    /// The line's number; it tells a turn's number that was used twice.
    pub(super) seq: u64,
    pub(super) ts: Timestamp,
    pub(super) status: Status,
    /// Whether the turn before is not there to compare.
    pub(super) unlinked: bool,
    /// The key's number in [`Keys`]; `None` for one too many.
    pub(super) key: Option<usize>,
    pub(super) tokens: u64,
    pub(super) choice: Option<Exposure>,
}

/// Who could have served; only of a turn whose epoch and masks are known.
#[derive(Debug, Clone)]
pub(super) struct Exposure {
    pub(super) epoch: Arc<NumberedEpoch>,
    /// The key's index in the epoch, where it is one of the epoch's.
    pub(super) key: Option<usize>,
    /// `eligible & ~tried`.
    pub(super) set: KeySet,
}

impl Exposure {
    /// Whether another key than the one that served could have served.
    pub(super) fn had_choice(&self) -> bool {
        let others = |key: usize| self.set.len() > usize::from(self.set.contains(key));
        self.key.map_or(!self.set.is_empty(), others)
    }
}

/// An epoch, and the numbers of its keys in [`Keys`].
#[derive(Debug)]
pub(super) struct NumberedEpoch {
    pub(super) ring: Arc<EpochRing>,
    pub(super) numbers: Vec<usize>,
}

impl NumberedEpoch {
    /// The index of a key; most often it is the one in the slot.
    pub(super) fn position(&self, key: &str, slot: Option<usize>) -> Option<usize> {
        let ring = &self.ring.ring;
        let in_slot = slot.filter(|slot| *slot < ring.slots()).map(|slot| ring.key_at(slot));
        let is = |at: &usize| *self.ring.keys[*at].key == *key;
        in_slot.filter(is).or_else(|| (0..self.ring.keys.len()).find(is))
    }
}

/// Every key of one upstream, numbered as it came up.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    numbers: HashMap<Arc<str>, usize>,
    names: Vec<(Arc<str>, Arc<str>)>,
}

impl Keys {
    /// The number of a key; `None` when there are too many. A newer label replaces an older one.
    pub(super) fn number(&mut self, key: &str, label: &str) -> Option<usize> {
        if let Some(number) = self.numbers.get(key).copied() {
            self.label(number, label);
            return Some(number);
        }
        let number = self.names.len();
        if number == MAX_KEYS {
            return None;
        }
        let key: Arc<str> = key.into();
        self.numbers.insert(Arc::clone(&key), number);
        self.names.push((key, label.into()));
        Some(number)
    }

    /// Notes the newest label of a numbered key.
    pub(super) fn label(&mut self, number: usize, label: &str) {
        let known = &mut self.names[number].1;
        if **known != *label {
            *known = label.into();
        }
    }
}

/// The sums.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) turns: u64,
    pub(super) conforming: u64,
    pub(super) violations: u64,
    pub(super) unverifiable: u64,
    pub(super) unlinked: u64,
    pub(super) repeats: u64,
    shares: Vec<Share>,
    /// The last set that keys were chosen from, and for how many turns in a row: most turns have
    /// the same set as the one before.
    exposed: Option<(Arc<NumberedEpoch>, KeySet, u32)>,
}

#[derive(Debug, Clone, Default)]
struct Share {
    turns: u64,
    /// As `turns`, but only turns that also count in `expected`.
    observed: u64,
    expected: f64,
    tokens: u64,
}

impl Tally {
    /// Counts a turn.
    pub(super) fn add(&mut self, row: &Row) {
        self.turns += 1;
        self.unlinked += u64::from(row.unlinked);
        *self.of(row.status) += 1;
        if let Some(number) = row.key {
            let share = self.share(number);
            share.turns += 1;
            share.tokens = share.tokens.saturating_add(row.tokens);
            share.observed += u64::from(row.choice.is_some());
        }
        if let Some(exposure) = &row.choice {
            self.expose(exposure);
        }
    }

    /// A turn that was counted turns out to be something else.
    pub(super) fn correct(&mut self, from: Status, to: Status) {
        *self.of(from) -= 1;
        *self.of(to) += 1;
    }

    fn expose(&mut self, exposure: &Exposure) {
        if let Some((epoch, set, turns)) = &mut self.exposed
            && Arc::ptr_eq(epoch, &exposure.epoch)
            && *set == exposure.set
            && *turns < u32::MAX
        {
            *turns += 1;
            return;
        }
        let before = self.exposed.replace((Arc::clone(&exposure.epoch), exposure.set.clone(), 1));
        if let Some((epoch, set, turns)) = before {
            expect(&mut self.shares, &epoch, &set, turns);
        }
    }

    fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Conforming => &mut self.conforming,
            Status::Violation => &mut self.violations,
            Status::Unverifiable => &mut self.unverifiable,
        }
    }

    fn share(&mut self, number: usize) -> &mut Share {
        share(&mut self.shares, number)
    }

    /// The shares, with what the last turns expect.
    fn settled(&self) -> Vec<Share> {
        let mut shares = self.shares.clone();
        if let Some((epoch, set, turns)) = &self.exposed {
            expect(&mut shares, epoch, set, *turns);
        }
        shares
    }

    /// The shares against their expectation.
    pub(super) fn chi_square(&self) -> ChiSquare {
        ChiSquare::of(self.settled().iter().map(|share| (share.observed, share.expected)))
    }

    /// One row for each key that served or could have.
    pub(super) fn shares(&self, upstream: &str, keys: &Keys) -> Vec<ShareReport> {
        let shares = self.settled();
        let named = shares.iter().zip(&keys.names);
        let seen = named.filter(|(share, _)| share.turns > 0 || share.expected > 0.0);
        seen.map(|(share, (key, label))| ShareReport {
            upstream: upstream.to_owned(),
            key: key.to_string(),
            label: label.to_string(),
            turns: share.turns,
            expected: share.expected,
            tokens: share.tokens,
        })
        .collect()
    }

    /// The sums and the pair gap over some turns, which are in the order of their numbers.
    pub(super) fn of_window<'a>(rows: impl IntoIterator<Item = &'a Row>) -> (Self, f64) {
        let (mut tally, mut order) = (Self::default(), InOrder::default());
        let mut before: Option<&Row> = None;
        for row in rows {
            tally.add(row);
            row.in_order(&mut order);
            let neighbour = before.filter(|before| before.turn.checked_add(1) == Some(row.turn));
            tally.repeats += u64::from(neighbour.is_some_and(|before| row.repeats(before)));
            before = Some(row);
        }
        (tally, order.widest())
    }
}

fn share(shares: &mut Vec<Share>, number: usize) -> &mut Share {
    if number >= shares.len() {
        shares.resize(number + 1, Share::default());
    }
    &mut shares[number]
}

/// Of each turn every eligible key expects its weight's share; an exposure names keys of its epoch only.
fn expect(shares: &mut Vec<Share>, epoch: &NumberedEpoch, set: &KeySet, turns: u32) {
    let weight = |key| f64::from(epoch.ring.ring.weight(key));
    let all: f64 = set.iter().map(weight).sum();
    for key in set.iter() {
        share(shares, epoch.numbers[key]).expected += f64::from(turns) * weight(key) / all;
    }
}

impl Row {
    /// Puts the turn in order for the pair gap.
    pub(super) fn in_order(&self, order: &mut InOrder) {
        match self.choice.as_ref().and_then(|choice| Some((choice, choice.key?))) {
            Some((choice, key)) => {
                order.turn(self.turn, &choice.epoch.ring.ring, key, &choice.set);
            }
            None => order.take(self.turn, Step::Unknown { to: self.turn }),
        }
    }

    fn repeats(&self, before: &Self) -> bool {
        let same = self.key.is_some() && self.key == before.key;
        same && self.choice.as_ref().is_some_and(Exposure::had_choice)
    }
}

#[cfg(test)]
mod tests {
    use kmi_core::ring::{Ring, Seat};

    use super::*;
    use crate::trace_builder::{at, epoch};

    /// Turns with the same set are summed up once, in a number that cannot run over.
    #[test]
    fn a_long_run_of_the_same_set_counts_each_turn() {
        let ring = Ring::new(&[Seat::default(); 2]).unwrap();
        let ring = Arc::new(EpochRing::read(epoch(1, &ring, None)).unwrap());
        let epoch = Arc::new(NumberedEpoch { ring, numbers: vec![0, 1] });
        let row = |turn| Row {
            turn,
            seq: turn,
            ts: at(0),
            status: Status::Conforming,
            unlinked: false,
            key: Some(0),
            tokens: 0,
            choice: Some(Exposure {
                epoch: Arc::clone(&epoch),
                key: Some(0),
                set: KeySet::full(2),
            }),
        };
        let run = |tally: &Tally| tally.exposed.as_ref().map(|(_, _, turns)| *turns);
        let mut tally = Tally::default();
        tally.add(&row(1));
        tally.add(&row(2));
        assert_eq!(run(&tally), Some(2));
        tally.exposed = Some((Arc::clone(&epoch), KeySet::full(2), u32::MAX - 1));
        tally.add(&row(3));
        assert_eq!(run(&tally), Some(u32::MAX));
        tally.add(&row(4));
        assert_eq!(run(&tally), Some(1));
        let turns = f64::from(u32::MAX) + 1.0;
        for share in tally.settled() {
            assert!((share.expected - turns / 2.0).abs() < 1e-3, "{}", share.expected);
        }
    }
}
