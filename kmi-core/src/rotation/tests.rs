//! The laws of FAIRNESS section 2: by property test for arbitrary rings and flapping, and
//! exhaustively for up to 5 keys over short horizons.

use proptest::prelude::*;

use super::*;
use crate::ring::Seat;

fn ring(weights: &[u32]) -> Arc<Ring> {
    let seats: Vec<Seat> = weights.iter().map(|weight| Seat { weight: *weight, tier: 0 }).collect();
    Arc::new(Ring::new(&seats).unwrap())
}

/// Serves one turn per eligibility set; `None` where nothing was eligible.
fn serve(ring: &Arc<Ring>, history: &[KeySet]) -> Vec<Option<usize>> {
    let mut rotation = Rotation::new(Arc::clone(ring));
    let mut eligible = Eligible::all(Arc::clone(ring));
    history
        .iter()
        .map(|set| {
            (0..ring.keys()).for_each(|key| eligible.set(key, set.contains(key)));
            rotation.next(&eligible, &KeySet::default()).map(|turn| turn.key)
        })
        .collect()
}

/// Law 1 for every pair and every stretch in which both stay eligible: the largest minus the
/// smallest running difference of weighted counts is at most 1.
fn pairwise_fair(ring: &Ring, history: &[KeySet], served: &[Option<usize>]) -> Result<(), String> {
    for i in 0..ring.keys() {
        for j in 0..i {
            // Counted in units of 1 / (w_i * w_j), so that everything stays whole.
            let (wi, wj) = (i64::from(ring.weight(i)), i64::from(ring.weight(j)));
            let (mut now, mut low, mut high) = (0, 0, 0);
            for (set, key) in history.iter().zip(served) {
                if !(set.contains(i) && set.contains(j)) {
                    (now, low, high) = (0, 0, 0);
                    continue;
                }
                now += if *key == Some(i) { wj } else { 0 } - if *key == Some(j) { wi } else { 0 };
                (low, high) = (low.min(now), high.max(now));
                if high - low > wi * wj {
                    return Err(format!("keys {i} and {j} part by {}/{}", high - low, wi * wj));
                }
            }
        }
    }
    Ok(())
}

/// Law 2: a key that stays eligible is served within (number of slots) turns.
fn nobody_starves(ring: &Ring, history: &[KeySet], served: &[Option<usize>]) -> Result<(), String> {
    for key in 0..ring.keys() {
        let mut waited = 0;
        for (set, chosen) in history.iter().zip(served) {
            waited = if set.contains(key) && *chosen != Some(key) { waited + 1 } else { 0 };
            if waited >= ring.slots() {
                return Err(format!("key {key} waited {waited} turns"));
            }
        }
    }
    Ok(())
}

/// Law 3: somebody eligible is served whenever somebody is eligible.
fn work_conserving(history: &[KeySet], served: &[Option<usize>]) -> Result<(), String> {
    for (at, (set, key)) in history.iter().zip(served).enumerate() {
        match key {
            Some(key) if set.contains(*key) => {}
            None if set.is_empty() => {}
            other => return Err(format!("turn {at}: {other:?} of {set:?}")),
        }
    }
    Ok(())
}

fn laws(ring: &Arc<Ring>, history: &[KeySet]) -> Result<(), String> {
    let served = serve(ring, history);
    pairwise_fair(ring, history, &served)?;
    nobody_starves(ring, history, &served)?;
    work_conserving(history, &served)?;
    // Law 4: the same ring, start and sets give the same choices, by the plain rule alone.
    let mut cursor = None;
    for (set, key) in history.iter().zip(&served) {
        let slot = successor(ring, cursor, set, &KeySet::default());
        if slot.map(|slot| ring.key_at(slot)) != *key {
            return Err(format!("replay parts at {slot:?}"));
        }
        cursor = slot.or(cursor);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_laws_hold_under_arbitrary_flapping(
        weights in prop::collection::vec(1u32..5, 1..9),
        masks in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let ring = ring(&weights);
        let history: Vec<KeySet> = masks
            .iter()
            .map(|mask| (0..ring.keys()).filter(|key| mask & (1 << key) != 0).collect())
            .collect();
        prop_assert_eq!(laws(&ring, &history), Ok(()));
    }

    /// Long stretches of a stable pair among flapping others: where the popular rules fail.
    #[test]
    fn two_steady_keys_stay_within_one(n in 3usize..80, masks in prop::collection::vec(any::<u128>(), 50..300)) {
        let ring = ring(&vec![1; n]);
        let history: Vec<KeySet> = masks
            .iter()
            .map(|mask| (0..n).filter(|key| *key < 2 || mask & (1 << key) != 0).collect())
            .collect();
        prop_assert_eq!(laws(&ring, &history), Ok(()));
    }

    /// A retry never gets a key it has tried, and falls back tier by tier.
    #[test]
    fn retries_leave_tried_keys_out(tiers in prop::collection::vec(0i32..3, 1..9), mask in any::<u8>()) {
        let seats: Vec<Seat> = tiers.iter().map(|tier| Seat { weight: 1, tier: *tier }).collect();
        let ring = Arc::new(Ring::new(&seats).unwrap());
        let usable: KeySet = (0..ring.keys()).filter(|key| mask & (1 << key) != 0).collect();
        let eligible = Eligible::of(&usable, Arc::clone(&ring));
        let mut rotation = Rotation::new(Arc::clone(&ring));
        let (mut tried, mut order) = (KeySet::default(), Vec::new());
        loop {
            let before = rotation.cursor();
            let peeked = rotation.peek(&eligible, &tried);
            let turn = rotation.next(&eligible, &tried);
            prop_assert_eq!(peeked, turn.as_ref().map(|turn| turn.key));
            let Some(turn) = turn else { break };
            prop_assert_eq!(successor(&ring, before, &turn.eligible, &tried), Some(turn.slot));
            prop_assert!(tried.insert(turn.key));
            order.push(ring.tier(turn.key));
        }
        prop_assert_eq!(tried, usable);
        prop_assert!(order.is_sorted());
    }
}

/// Every history of eligibility sets over a short horizon, for 1 to 5 keys.
#[test]
fn the_laws_hold_exhaustively() {
    for (weights, horizon) in [
        (&[1][..], 12),
        (&[1, 1], 7),
        (&[2, 1], 7),
        (&[1, 1, 1], 5),
        (&[3, 1, 2], 5),
        (&[1, 1, 1, 1], 4),
        (&[1, 1, 1, 1, 1], 3),
        (&[1, 2, 1, 3, 1], 3),
    ] {
        let ring = ring(weights);
        let sets = 1usize << ring.keys();
        for number in 0..sets.pow(horizon) {
            let history: Vec<KeySet> = (0..horizon)
                .map(|turn| number / sets.pow(turn) % sets)
                .map(|mask| (0..ring.keys()).filter(|key| mask & (1 << key) != 0).collect())
                .collect();
            assert_eq!(laws(&ring, &history), Ok(()), "{weights:?} {history:?}");
        }
    }
}

#[test]
fn turns_are_numbered_and_say_where_they_came_from() {
    let ring = ring(&[1, 1, 1]);
    let eligible = Eligible::all(Arc::clone(&ring));
    let mut rotation = Rotation::resume(ring, 4, Some(2), 99);
    let turn = rotation.next(&eligible, &KeySet::default()).unwrap();
    assert_eq!((turn.number, turn.epoch, turn.prev_slot, turn.slot), (100, 4, Some(2), 0));
    assert_eq!((rotation.last_turn(), rotation.cursor(), rotation.epoch()), (100, Some(0), 4));
}

#[test]
fn a_cursor_from_elsewhere_is_before_slot_0() {
    let ring = ring(&[1, 1]);
    let mut rotation = Rotation::resume(Arc::clone(&ring), 1, Some(2), 0);
    let turn = rotation.next(&Eligible::all(ring), &KeySet::default()).unwrap();
    assert_eq!((turn.prev_slot, turn.slot), (None, 0));
}

#[test]
fn with_nobody_eligible_nothing_moves() {
    let ring = ring(&[1, 1]);
    let mut rotation = Rotation::new(Arc::clone(&ring));
    let nobody = Eligible::of(&KeySet::default(), Arc::clone(&ring));
    assert_eq!(rotation.next(&nobody, &KeySet::default()), None);
    assert_eq!((rotation.last_turn(), rotation.cursor()), (0, None));
    assert_eq!(rotation.next(&Eligible::all(ring), &KeySet::full(2)), None);
}
