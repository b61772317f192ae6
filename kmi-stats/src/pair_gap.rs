//! How far any two keys ever drifted apart while both could serve: the promise of pairwise
//! fairness, measured (FAIRNESS section 4).
//!
//! For each pair the running difference `n_i / w_i - n_j / w_j` is followed; over every stretch
//! of a run in which both stayed eligible the largest gap is the difference's maximum minus its
//! minimum. A turn moves only the pairs of the key that served, so a turn costs O(keys): a pair's
//! run that has started anew is noticed when the pair is next touched, for nothing can have
//! changed in between.

use std::sync::Arc;

use kmi_core::{eligible::KeySet, ring::Ring};

/// Rings of more keys are not measured: the pairs' memory grows with the square.
pub const MAX_KEYS: usize = 1024;

/// Follows turns in their order and keeps the largest gap.
#[derive(Debug, Clone, Default)]
pub struct PairGap {
    ring: Option<Arc<Ring>>,
    now: u64,
    eligible: KeySet,
    /// The turn (by `now`) since which each key has been eligible without a break.
    since: Vec<u64>,
    served: Vec<i64>,
    pairs: Vec<Pair>,
    widest: f64,
}

/// The running difference of two keys in units of `1 / (w_i * w_j)`, so that it stays whole.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    /// When the run began that `low` and `high` are of; 0 before the first.
    run: u64,
    low: i64,
    high: i64,
}

impl PairGap {
    /// Takes the next turn: its ring, the key that served, and the set it was chosen from.
    ///
    /// Another ring than before ends all runs: the promise holds within an epoch.
    pub fn turn(&mut self, ring: &Arc<Ring>, key: usize, eligible: &KeySet) {
        if !self.ring.as_ref().is_some_and(|known| Arc::ptr_eq(known, ring)) {
            self.enter(ring);
        }
        if ring.keys() > MAX_KEYS {
            return;
        }
        self.now += 1;
        if self.eligible != *eligible {
            for key in eligible.without(&self.eligible).iter().take_while(|it| *it < ring.keys()) {
                self.since[key] = self.now;
            }
            self.eligible.clone_from(eligible);
        }
        if key < ring.keys() && eligible.contains(key) {
            self.serve(ring, key);
        }
    }

    /// Ends all runs: what happened between the last turn and the next one is not known.
    pub fn interrupt(&mut self) {
        self.eligible = KeySet::default();
    }

    /// The largest gap so far, in turns per weight; 0 without a pair.
    pub fn widest(&self) -> f64 {
        self.widest
    }

    fn enter(&mut self, ring: &Arc<Ring>) {
        self.ring = Some(Arc::clone(ring));
        self.interrupt();
        let keys = ring.keys();
        if keys <= MAX_KEYS && keys > self.since.len() {
            self.since.resize(keys, 0);
            self.served.resize(keys, 0);
            self.pairs.resize(keys * (keys - 1) / 2, Pair::default());
        }
    }

    fn serve(&mut self, ring: &Ring, key: usize) {
        let weight = |key| i64::from(ring.weight(key));
        for other in self.eligible.iter().take_while(|other| *other < ring.keys()) {
            if other == key {
                continue;
            }
            let (i, j) = (key.max(other), key.min(other));
            let difference = |served: &[i64]| served[i] * weight(j) - served[j] * weight(i);
            let before = difference(&self.served);
            let step = if key == i { weight(j) } else { -weight(i) };
            let run = self.since[i].max(self.since[j]);
            let pair = &mut self.pairs[i * (i - 1) / 2 + j];
            if pair.run != run {
                *pair = Pair { run, low: before, high: before };
            }
            let after = before + step;
            if after < pair.low || after > pair.high {
                pair.low = pair.low.min(after);
                pair.high = pair.high.max(after);
                self.widest = self.widest.max(ratio(pair.high - pair.low, weight(i) * weight(j)));
            }
        }
        self.served[key] += 1;
    }
}

/// Both are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn ratio(gap: i64, unit: i64) -> f64 {
    gap as f64 / unit as f64
}

#[cfg(test)]
mod tests {
    use kmi_core::ring::Seat;
    use proptest::prelude::*;

    use super::*;

    fn ring(weights: &[u32]) -> Arc<Ring> {
        let seat = |weight: &u32| Seat { weight: *weight, tier: 0 };
        Arc::new(Ring::new(&weights.iter().map(seat).collect::<Vec<_>>()).unwrap())
    }

    fn all_eligible(weights: &[u32], keys: impl IntoIterator<Item = usize>) -> f64 {
        let (ring, mut gap) = (ring(weights), PairGap::default());
        let all = KeySet::full(weights.len());
        keys.into_iter().for_each(|key| gap.turn(&ring, key, &all));
        gap.widest()
    }

    fn assert_gap(is: f64, should: f64) {
        assert!((is - should).abs() < 1e-12, "{is} instead of {should}");
    }

    #[test]
    fn a_rotation_stays_within_one() {
        assert_gap(all_eligible(&[1; 5], (0..200).map(|t| t % 5)), 1.0);
        assert_gap(all_eligible(&[2, 1], [0, 1, 0, 0, 1, 0, 0, 1, 0]), 1.0);
        assert_gap(all_eligible(&[1], [0, 0, 0]), 0.0);
    }

    /// Even totals hide nothing: every stretch counts.
    #[test]
    fn blocks_with_even_totals_show() {
        assert_gap(all_eligible(&[1, 1], [0, 0, 0, 0, 1, 1, 1, 1]), 4.0);
        assert_gap(all_eligible(&[1; 5], (0..200).map(|_| 0)), 200.0);
    }

    #[test]
    fn a_break_in_eligibility_or_knowledge_starts_a_new_run() {
        let (ring, mut gap) = (ring(&[1, 1, 1]), PairGap::default());
        let (all, without) = (KeySet::full(3), KeySet::from_iter([0, 2]));
        for set in [&all, &without, &all, &without, &all] {
            gap.turn(&ring, 0, set);
        }
        assert_gap(gap.widest(), 5.0);
        let mut gap = PairGap::default();
        for _ in 0..5 {
            gap.turn(&ring, 0, &all);
            gap.interrupt();
        }
        assert_gap(gap.widest(), 1.0);
    }

    #[test]
    fn numbers_that_are_no_key_are_ignored() {
        let (ring, mut gap) = (ring(&[1, 1]), PairGap::default());
        gap.turn(&ring, 99, &KeySet::from_iter([0, 1, 64, 99]));
        gap.turn(&ring, 0, &KeySet::from_iter([1]));
        assert_gap(gap.widest(), 0.0);
        let many = self::ring(&vec![1; MAX_KEYS + 1]);
        gap.turn(&many, 0, &KeySet::full(MAX_KEYS + 1));
        gap.turn(&many, 0, &KeySet::full(MAX_KEYS + 1));
        assert_gap(gap.widest(), 0.0);
    }

    /// The definition, pair by pair and turn by turn.
    fn by_definition(weights: &[u32], turns: &[(KeySet, usize)]) -> f64 {
        let mut widest = 0f64;
        for i in 0..weights.len() {
            for j in 0..i {
                let (mut now, mut low, mut high) = (0.0, 0f64, 0f64);
                for (set, key) in turns {
                    if !(set.contains(i) && set.contains(j)) {
                        (now, low, high) = (0.0, 0.0, 0.0);
                        continue;
                    }
                    now += f64::from(u8::from(*key == i)) / f64::from(weights[i]);
                    now -= f64::from(u8::from(*key == j)) / f64::from(weights[j]);
                    (low, high) = (low.min(now), high.max(now));
                    widest = widest.max(high - low);
                }
            }
        }
        widest
    }

    proptest! {
        /// Any choices at all, fair or not, over two rings one after the other.
        #[test]
        fn it_is_the_definition(
            weights in prop::collection::vec(1u32..5, 1..8),
            turns in prop::collection::vec((any::<u8>(), 0usize..8), 0..120),
            then in prop::collection::vec((any::<u8>(), 0usize..8), 0..60),
        ) {
            let n = weights.len();
            let read = |turns: Vec<(u8, usize)>| -> Vec<(KeySet, usize)> {
                let set = |mask: u8| (0..n).filter(|key| mask & (1 << key) != 0).collect();
                turns.into_iter().map(|(mask, key)| (set(mask), key % n)).collect()
            };
            let (turns, then) = (read(turns), read(then));
            let mut gap = PairGap::default();
            let first = ring(&weights);
            for (set, key) in &turns {
                gap.turn(&first, *key, set);
            }
            prop_assert!((gap.widest() - by_definition(&weights, &turns)).abs() < 1e-9);
            let turned: Vec<u32> = weights.iter().rev().copied().collect();
            let second = ring(&turned);
            for (set, key) in &then {
                gap.turn(&second, *key, set);
            }
            let both = by_definition(&weights, &turns).max(by_definition(&turned, &then));
            prop_assert!((gap.widest() - both).abs() < 1e-9);
        }
    }
}
