//! Rules for taking turns that look right and are not, side by side with kmi's (FAIRNESS
//! section 2).
//!
//!     cargo run -p kmi-core --example other_rules
//!
//! Five keys, 10,000 turns. Four keys are always healthy; the fifth flaps, as a key does that runs
//! into its rate limit: each time it has served, it is blocked for some turns. Every position of
//! the flapping key and every block of 1 to 10 turns is tried, and the worst case is shown. The
//! healthy keys should have served equally often, whatever the fifth one does.

#![expect(clippy::print_stdout, reason = "printing is what the example is for")]

use std::sync::Arc;

use kmi_core::{
    eligible::{Eligible, KeySet},
    ring::{Ring, RingError, Seat},
    rotation::Rotation,
};

const KEYS: usize = 5;
const TURNS: usize = 10_000;
const LONGEST_BLOCK: usize = 10;

/// Chooses the key of the next turn out of those that are eligible.
type Rule = Box<dyn FnMut(&Eligible) -> usize>;

/// A rule's name, and how it starts.
type Named = (&'static str, fn(&Arc<Ring>) -> Rule);

const RULES: [Named; 5] = [
    ("cursor over the full ring (kmi)", cursor_over_the_ring),
    ("uniform random", uniform_random),
    ("counter % n, then probe forward", counter_then_probe),
    ("counter % len(available)", counter_over_the_available),
    ("cursor over a rebuilt filtered list", cursor_over_the_available),
];

fn main() -> Result<(), RingError> {
    let ring = Arc::new(Ring::new(&[Seat::default(); KEYS])?);
    println!("{KEYS} keys, {TURNS} turns; turns of the four keys that are always healthy:\n");
    println!("{:36} {:>6} {:>6} {:>6}   worst when", "rule", "spread", "least", "most");
    for (name, start) in RULES {
        let Worst { spread, least, most, flapping, block } = worst(&ring, start);
        println!(
            "{name:36} {spread:6} {least:6} {most:6}   key {} rests for {block} after each turn",
            flapping + 1
        );
    }
    Ok(())
}

/// What kmi does: the first eligible key after the one that served last. The cursor means the same
/// key whoever is eligible, so nobody's place moves because somebody else came or went.
fn cursor_over_the_ring(ring: &Arc<Ring>) -> Rule {
    let mut rotation = Rotation::new(Arc::clone(ring));
    let none_tried = KeySet::default();
    Box::new(move |eligible| rotation.next(eligible, &none_tried).map_or(0, |turn| turn.key))
}

/// Even in the long run only: the spread grows with the square root of the turns.
fn uniform_random(_: &Arc<Ring>) -> Rule {
    let mut state = 0;
    Box::new(move |eligible| {
        let available = available(eligible);
        available[split_mix(&mut state) % available.len()]
    })
}

/// The neighbour after a blocked key serves its turns as well as its own.
fn counter_then_probe(ring: &Arc<Ring>) -> Rule {
    let (mut counter, keys) = (0, ring.keys());
    Box::new(move |eligible| {
        let start = counter % keys;
        counter += 1;
        let probes = (start..start + keys).map(|at| at % keys);
        probes.into_iter().find(|key| eligible.is_usable(*key)).unwrap_or(start)
    })
}

/// The divisor changes with every flap, so the same counter means another key: the flapping beats
/// against the counter, and some keys are skipped over and over.
fn counter_over_the_available(_: &Arc<Ring>) -> Rule {
    let mut counter = 0;
    Box::new(move |eligible| {
        let available = available(eligible);
        counter += 1;
        available[(counter - 1) % available.len()]
    })
}

/// Every flap shifts the keys behind the flapping one under the cursor: one is skipped, another
/// serves twice, and with the right beat it is always the same one.
fn cursor_over_the_available(_: &Arc<Ring>) -> Rule {
    let mut cursor = 0;
    Box::new(move |eligible| {
        let available = available(eligible);
        if cursor >= available.len() {
            cursor = 0;
        }
        cursor += 1;
        available[cursor - 1]
    })
}

fn available(eligible: &Eligible) -> Vec<usize> {
    eligible.usable().iter().collect()
}

/// `SplitMix64`: the same numbers at every run.
#[expect(clippy::cast_possible_truncation, reason = "any bits of a random number will do")]
fn split_mix(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize
}

/// The case in which the healthy keys' turns lie furthest apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Worst {
    spread: usize,
    least: usize,
    most: usize,
    flapping: usize,
    block: usize,
}

fn worst(ring: &Arc<Ring>, start: fn(&Arc<Ring>) -> Rule) -> Worst {
    let cases = (1..=LONGEST_BLOCK).flat_map(|block| (0..KEYS).map(move |key| (key, block)));
    let mut worst = Worst::default();
    for (flapping, block) in cases {
        let turns = serve(ring, start(ring), flapping, block);
        let healthy = (0..KEYS).filter(|key| *key != flapping).map(|key| turns[key]);
        let most = healthy.clone().max().unwrap_or(0);
        let least = healthy.min().unwrap_or(0);
        if block == 1 && flapping == 0 || most - least > worst.spread {
            worst = Worst { spread: most - least, least, most, flapping, block };
        }
    }
    worst
}

/// How many turns each key serves when one is blocked for `block` turns after each of its own.
fn serve(ring: &Arc<Ring>, mut rule: Rule, flapping: usize, block: usize) -> [usize; KEYS] {
    let mut eligible = Eligible::all(Arc::clone(ring));
    let (mut turns, mut blocked_to) = ([0; KEYS], 0);
    for turn in 0..TURNS {
        eligible.set(flapping, turn >= blocked_to);
        let key = rule(&eligible);
        turns[key] += 1;
        if key == flapping {
            blocked_to = turn + 1 + block;
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of FAIRNESS section 2.
    #[test]
    fn the_numbers_of_the_table() {
        let ring = Arc::new(Ring::new(&[Seat::default(); KEYS]).unwrap());
        let [kmi, random, probe, counter, filtered] = RULES.map(|(_, start)| worst(&ring, start));
        assert_eq!(kmi.spread, 1);
        assert_eq!(probe.spread, 1_333);
        assert_eq!(counter.spread, 2_000);
        assert_eq!((filtered.spread, filtered.least), (4_000, 0), "one healthy key never serves");
        // The standard deviation of a key's turns is about 42.
        assert!((80..400).contains(&random.spread), "{random:?}");
    }
}
