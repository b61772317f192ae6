//! What is counted: the same in whatever order the lines come, in a window as in a whole trace,
//! and within bounds.

use kmi_core::ring::MAX_SLOTS;
use proptest::prelude::*;

use super::*;
use crate::report::{MAX_GAPS, Numbers};

/// One turn of a scheduler that may break every rule.
#[derive(Debug, Clone)]
struct Chosen {
    key: usize,
    /// Who else was eligible: 4 bits.
    others: u8,
    /// Where it says that it started; `None` for where the turn before ended.
    start: Option<usize>,
    written: Written,
}

#[derive(Debug, Clone, Copy)]
enum Written {
    Attempt,
    Gap,
    GapWithoutSlots,
    Nowhere,
}

fn chosen_turn() -> impl Strategy<Value = Chosen> {
    let written = prop_oneof![
        16 => Just(Written::Attempt),
        1 => Just(Written::Gap),
        1 => Just(Written::GapWithoutSlots),
        1 => Just(Written::Nowhere),
    ];
    let start = prop_oneof![6 => Just(None), 1 => (0usize..4).prop_map(Some)];
    (0usize..4, 0u8..16, start, written).prop_map(|(key, others, start, written)| Chosen {
        key,
        others,
        start,
        written,
    })
}

/// The lines of these turns, without the epoch's.
fn written(turns: &[Chosen]) -> Vec<Record> {
    let mut before = None;
    let mut records = Vec::new();
    for (number, it) in (1..).zip(turns) {
        let eligible = (0..4).filter(|key| *key == it.key || it.others & (1 << key) != 0);
        let turn = Turn {
            number,
            epoch: 1,
            prev_slot: it.start.or(before),
            slot: it.key,
            key: it.key,
            eligible: Arc::new(eligible.collect()),
        };
        before = Some(it.key);
        records.push(match it.written {
            Written::Attempt => Record::Attempt(attempt(&turn, &KeySet::default())),
            Written::Gap => Record::Gap(gap(number, number, Some(vec![it.key]))),
            Written::GapWithoutSlots => Record::Gap(gap(number, number, None)),
            Written::Nowhere => continue,
        });
    }
    records
}

/// All of the numbers but the digits that depend on the order of additions.
fn exact(numbers: &Numbers) -> Numbers {
    let mut exact = numbers.clone();
    exact.chi_square = Numbers::default().chi_square;
    exact.gaps.sort_by_key(|gap| gap.from_turn);
    exact.shares.iter_mut().for_each(|share| share.expected = (1e6 * share.expected).round());
    exact
}

proptest! {
    /// Lines stand in the order in which attempts ended. That must not matter.
    #[test]
    fn the_order_of_lines_changes_no_number(
        (turns, lines) in prop::collection::vec(chosen_turn(), 1..40).prop_flat_map(|turns| {
            let lines = Just(written(&turns)).prop_shuffle();
            (Just(turns), lines)
        }),
        window in 1usize..50,
    ) {
        let epoch = Record::Epoch(epoch(1, &Ring::new(&[Seat::default(); 4]).unwrap(), None));
        let report = |lines: Vec<Record>| {
            let options = Options { window, ..Options::default() };
            verify_with(&sealed(&[vec![epoch.clone()], lines].concat()), options, &InFlight::None)
        };
        let (in_order, as_ended) = (report(written(&turns)), report(lines));
        prop_assert_eq!(exact(&in_order.all), exact(&as_ended.all));
        let of_window = |report: &Report| exact(&report.window.numbers);
        prop_assert_eq!(of_window(&in_order), of_window(&as_ended));
        let words = |report: Report| {
            let mut words: Vec<_> = report.findings.into_iter().map(|it| (it.turn, it.what)).collect();
            words.sort();
            words
        };
        if in_order.all.violations <= 20 {
            prop_assert_eq!(words(in_order), words(as_ended));
        }
    }
}

/// The same by hand: everything on one of five keys, and the lines in reverse.
#[test]
fn repeats_are_found_in_whatever_order_lines_come() {
    let mut records = chosen(5, (0..100).map(|_| 0));
    let all = verify_records(&records).all;
    assert_eq!((all.violations, all.repeats, all.unlinked), (99, 99, 0));
    records[1..].reverse();
    let report = verify_records(&records);
    let counts = |it: &Numbers| (it.violations, it.repeats, it.unlinked);
    assert_eq!(counts(&report.all), (99, 99, 0));
    assert_eq!(counts(&report.window.numbers), (99, 99, 0));
    // Turn 50 closes a hole: it meets the turn before it and the turn after it.
    records[1..].reverse();
    let last = records.remove(50);
    records.push(last);
    let report = verify_records(&records);
    assert_eq!(counts(&report.all), (99, 99, 0));
    assert_eq!(counts(&report.window.numbers), (99, 99, 0));
}

/// Whoever is alone serves again and again, and that is no repeat.
#[test]
fn a_key_without_rivals_repeats_nothing() {
    let report = verify_records(&rotation(&[1], 100));
    assert_eq!((report.all.verdict, report.all.repeats), (Verdict::Verified, 0));
    assert_eq!(report.window.numbers.repeats, 0);
    let mut records = chosen(3, [1, 1]);
    attempt_of(&mut records[2]).eligible = Arc::new([1].into_iter().collect());
    let report = verify_records(&records);
    assert_eq!((report.all.repeats, report.window.numbers.repeats), (0, 0));
}

/// A key that the epoch does not have repeats itself where any other could have served.
#[test]
fn a_stranger_s_repeats_are_counted() {
    let repeats = |eligible: KeySet| {
        let mut records = chosen(3, [0, 1]);
        for record in &mut records[1..] {
            attempt_of(record).key = "k-00000009".into();
            attempt_of(record).eligible = Arc::new(eligible.clone());
        }
        let report = verify_records(&records);
        (report.all.repeats, report.window.numbers.repeats)
    };
    assert_eq!(repeats(KeySet::full(3)), (1, 1));
    assert_eq!(repeats(KeySet::default()), (0, 0));
}

#[test]
fn shares_are_of_keys_that_served_or_could_have() {
    let mut records = chosen(4, [0, 1, 0]);
    for record in &mut records[1..] {
        attempt_of(record).eligible = Arc::new(KeySet::full(3));
    }
    let stranger = attempt_of(&mut records[3]);
    (stranger.key, stranger.label) = ("k-00000009".into(), "stranger".into());
    attempt_of(&mut records[2]).label = "renamed".into();
    let report = verify_records(&records);
    let shares = |it: &Numbers| -> Vec<_> {
        it.shares.iter().map(|it| (it.label.clone(), it.turns)).collect()
    };
    let expected = [("key-00", 1), ("renamed", 1), ("key-02", 0), ("stranger", 1)]
        .map(|(label, turns)| (label.to_owned(), turns));
    assert_eq!(shares(&report.all), expected);
    assert_eq!(shares(&report.window.numbers), expected);
}

/// Two gaps before the window, one in it, and one that reaches into it.
#[test]
fn a_window_has_the_gaps_among_its_turns() {
    let mut records = rotation(&[1; 4], 100);
    let slots = |from: usize, to: usize| Some((from..=to).map(|turn| (turn - 1) % 4).collect());
    records.splice(95..97, [Record::Gap(gap(95, 96, slots(95, 96)))]);
    records.splice(90..91, [Record::Gap(gap(90, 90, None))]);
    records.splice(50..53, [Record::Gap(gap(50, 52, slots(50, 52)))]);
    records.splice(20..22, [Record::Gap(gap(20, 21, None))]);
    let of = |window: usize| {
        let options = Options { window, ..Options::default() };
        let report = verify_with(&sealed(&records), options, &InFlight::None);
        assert_eq!((report.all.gap_count, report.all.gap_turns), (4, 8));
        assert_eq!((report.all.gaps.len(), report.all.gaps_without_slots), (4, 2));
        let it = report.window.numbers;
        assert_eq!(it.gaps.len() as u64, it.gap_count);
        (it.turns, it.gap_count, it.gap_turns, it.gaps_without_slots)
    };
    assert_eq!(of(1), (1, 0, 0, 0));
    assert_eq!(of(4), (4, 0, 0, 0), "turns 97 to 100");
    assert_eq!(of(5), (5, 1, 2, 0), "from turn 94 on");
    assert_eq!(of(9), (9, 2, 3, 1), "from turn 89 on");
    assert_eq!(of(200), (92, 4, 8, 2));
    // A gap that came up after the window's last turn is not among them.
    records.push(Record::Gap(gap(101, 101, slots(101, 101))));
    let report = verify_records(&records);
    assert_eq!((report.all.gap_count, report.window.numbers.gap_count), (5, 4));
}

#[test]
fn the_newest_gaps_are_listed() {
    let mut verifier = Verifier::new(Options::default());
    let many = MAX_GAPS as u64 + 1;
    for turn in 1..=many {
        verifier.unchained(Record::Gap(gap(turn, turn, None)));
    }
    let all = verifier.report(&InFlight::None).all;
    assert_eq!((all.gap_count, all.gap_turns, all.gaps_without_slots), (many, many, many));
    let listed: Vec<u64> = all.gaps.iter().map(|gap| gap.from_turn).collect();
    assert_eq!(listed, (2..=many).collect::<Vec<_>>());
}

/// Rings of 262,144 slots together are kept; of older epochs than that turns are unverifiable.
#[test]
fn epochs_are_kept_within_a_bound() {
    let long = u32::try_from(MAX_SLOTS).unwrap();
    let weights = [long, long, long, long, 1, long];
    let unverifiable = |epochs: usize| {
        let mut verifier = Verifier::new(Options::default());
        let weights = &weights[..epochs];
        for (number, weight) in (1..).zip(weights) {
            let ring = Ring::new(&[Seat { weight: *weight, tier: 0 }]).unwrap();
            let cursor = (number > 1).then_some(0);
            verifier.unchained(Record::Epoch(epoch(number, &ring, cursor)));
        }
        for (number, weight) in (1..).zip(weights) {
            let prev_slot = (number > 1).then_some(0);
            let slot = usize::from(number > 1 && *weight > 1);
            let eligible = Arc::new(KeySet::full(1));
            let turn = Turn { number, epoch: number, prev_slot, slot, key: 0, eligible };
            verifier.unchained_attempt(&attempt(&turn, &KeySet::default()));
        }
        let report = verifier.report(&InFlight::None);
        assert_eq!(report.findings, []);
        report.all.unverifiable
    };
    assert_eq!(unverifiable(4), 0);
    assert_eq!(unverifiable(5), 1);
    assert_eq!(unverifiable(6), 2);
}

/// Records that are in no line count as the same records in lines do, but for the chain.
#[test]
fn records_without_lines_count_alike() {
    let mut records = rotation(&[1; 4], 100);
    records.push(Record::Gap(gap(0, 3, None)));
    records.insert(1, mode());
    attempt_of(&mut records[50]).key = "k-00000009".into();
    let mut verifier = Verifier::new(Options::default());
    for record in &records {
        verifier.unchained(record.clone());
    }
    let (without, with) = (verifier.report(&InFlight::None), verify_records(&records));
    assert_eq!(with.findings.iter().map(|it| it.seq).collect::<Vec<_>>(), [51, 103]);
    assert_eq!((without.all, without.findings), (with.all, with.findings));
    assert_eq!((without.chain.records, without.first_bad_seq), (0, None));
}
