//! What traces prove, and what they do not: verdicts, counter-examples, gaps, open turns, exports.

mod counting;
mod damage;
mod laws;
mod tampering;

use super::*;
use crate::{
    report::Verdict,
    trace_builder::{attempt, attempt_of, epoch, gap, mode, rotation, sealed, verify, verify_with},
};
use kmi_core::{
    eligible::KeySet,
    ring::{Ring, Seat},
    rotation::Turn,
    trace::Gap,
};

fn verify_records(records: &[Record]) -> Report {
    verify(&sealed(records))
}

/// Turns that some scheduler chose: `keys` in a row over a plain ring whose keys are all
/// eligible all the time. Each says that it starts where the one before ended.
fn chosen(ring_keys: usize, keys: impl IntoIterator<Item = usize>) -> Vec<Record> {
    let ring = Ring::new(&vec![Seat::default(); ring_keys]).unwrap();
    let mut records = vec![Record::Epoch(epoch(1, &ring, None))];
    let mut prev_slot = None;
    for (number, key) in (1..).zip(keys) {
        let eligible = Arc::new(KeySet::full(ring_keys));
        let turn = Turn { number, epoch: 1, prev_slot, slot: key, key, eligible };
        prev_slot = Some(key);
        records.push(Record::Attempt(attempt(&turn, &KeySet::default())));
    }
    records
}

#[test]
fn a_true_rotation_is_verified() {
    let report = verify_records(&rotation(&[1; 7], 700));
    assert_eq!(report.all.verdict, Verdict::Verified);
    assert_eq!((report.all.turns, report.all.conforming, report.all.unlinked), (700, 700, 0));
    assert_eq!((report.all.open, report.all.repeats, report.all.max_pair_gap), (0, 0, 1.0));
    assert_eq!((report.all.chi_square.df, report.all.chi_square.p), (6, 1.0));
    assert_eq!((report.window.size, report.window.numbers.turns), (200, 200));
    assert_eq!(report.window.numbers.verdict, Verdict::Verified);
    assert_eq!((report.chain.ok, report.chain.records), (true, 701));
    assert_eq!(report.first_bad_seq, None);
    assert_eq!(report.exit_code(false), 0);
    for share in &report.all.shares {
        assert_eq!((share.turns, share.tokens), (100, 1500));
        assert!((share.expected - 100.0).abs() < 1e-9);
    }
}

#[test]
fn an_empty_trace_proves_nothing() {
    let report = verify(&[]);
    assert_eq!(report.all.verdict, Verdict::InsufficientData);
    assert_eq!((report.all.turns, report.all.confidence, report.all.lower_bound), (0, 0.0, 0.0));
    assert_eq!((report.exit_code(false), report.exit_code(true)), (3, 0));
    assert_eq!(report.chain.head, "0".repeat(64));
}

#[test]
fn the_59th_turn_makes_it_certain_enough() {
    let report = verify_records(&rotation(&[1; 5], 58));
    assert_eq!(report.all.verdict, Verdict::InsufficientData);
    let report = verify_records(&rotation(&[1; 5], 59));
    assert_eq!(report.all.verdict, Verdict::Verified);
}

/// The counter-examples of FAIRNESS section 4.
mod counter_examples {
    use super::*;

    #[test]
    fn all_turns_on_one_of_five() {
        let report = verify_records(&chosen(5, (0..200).map(|_| 0)));
        assert_eq!(report.all.verdict, Verdict::Violated);
        assert_eq!((report.all.conforming, report.all.repeats), (1, 199));
        assert!((report.all.chi_square.statistic - 800.0).abs() < 1e-6);
        assert!(report.all.chi_square.is_biased());
        assert!((report.all.max_pair_gap - 200.0).abs() < 1e-9);
    }

    #[test]
    fn blocks_with_even_totals() {
        let report = verify_records(&chosen(5, (0..200).map(|turn| turn / 40)));
        assert_eq!(report.all.verdict, Verdict::Violated);
        assert!(report.all.chi_square.statistic < 1e-9, "the totals look perfect");
        assert_eq!(report.all.repeats, 195);
        assert!((report.all.max_pair_gap - 40.0).abs() < 1e-9);
    }

    #[test]
    fn two_of_six_keys_used() {
        let report = verify_records(&chosen(6, (0..200).map(|turn| turn % 2)));
        assert_eq!(report.all.verdict, Verdict::Violated);
        assert!(report.all.chi_square.is_biased());
        assert_eq!(report.all.shares.len(), 6, "keys that never served stand there with 0");
    }

    /// Rings that do not divide the window must not be marked down.
    #[test]
    fn perfect_rotations_in_a_window_of_50() {
        for keys in [6, 7, 9, 12] {
            let options = Options { window: 50, ..Options::default() };
            let lines = sealed(&rotation(&vec![1; keys], 300));
            let report = verify_with(&lines, options, &InFlight::None);
            assert_eq!(report.all.verdict, Verdict::Verified, "{keys} keys");
            let window = report.window.numbers;
            assert_eq!((window.turns, window.conforming, window.violations), (50, 50, 0));
            assert_eq!((window.max_pair_gap, window.repeats, window.unlinked), (1.0, 0, 0));
            assert!(window.chi_square.p > 0.99, "{keys} keys: {:?}", window.chi_square);
            assert_eq!(window.verdict, Verdict::InsufficientData, "50 turns are too few");
        }
    }
}

#[test]
fn attempts_stand_in_the_order_of_their_ends() {
    let mut records = rotation(&[1; 4], 100);
    records[1..].reverse();
    let report = verify_records(&records);
    assert_eq!(report.all.verdict, Verdict::Verified);
    assert_eq!((report.all.unlinked, report.all.max_pair_gap, report.all.repeats), (0, 1.0, 0));
}

#[test]
fn open_turns_need_an_explanation() {
    let mut records = rotation(&[1; 4], 100);
    records.remove(50);
    let lines = sealed(&records);
    let report = verify(&lines);
    assert_eq!(report.all.verdict, Verdict::Incomplete);
    assert_eq!((report.all.open, report.all.unlinked, report.all.turns), (1, 1, 99));
    assert_eq!(report.exit_code(true), 1);
    let with = |turns, newest| {
        let turns = [("kimi".into(), Flight { turns, newest })].into();
        verify_with(&lines, Options::default(), &InFlight::Turns(turns)).all
    };
    assert_eq!((with(1, 100).verdict, with(1, 100).open), (Verdict::Verified, 1));
    assert_eq!((with(3, 102).verdict, with(3, 102).open), (Verdict::Verified, 3));
    assert_eq!((with(1, 102).verdict, with(1, 102).unexplained), (Verdict::Incomplete, 2));
    assert_eq!(with(0, 100).verdict, Verdict::Incomplete);
    assert_eq!(with(0, 49).open, 0, "later turns had not been given out yet");
}

#[test]
fn without_a_proxy_the_page_says_what_is_missing_at_the_end() {
    let lines = sealed(&rotation(&[1; 4], 100));
    let with = |newest| {
        let given_out = InFlight::GivenOut([("kimi".into(), newest)].into());
        let all = verify_with(&lines, Options::default(), &given_out).all;
        (all.verdict, all.open)
    };
    assert_eq!(with(100), (Verdict::Verified, 0));
    assert_eq!(with(103), (Verdict::Incomplete, 3));
    assert_eq!(with(40), (Verdict::Verified, 0), "a page that an outage has set back");
    let mut records = rotation(&[1; 4], 100);
    records.remove(50);
    let given_out = InFlight::GivenOut([("kimi".into(), 40)].into());
    let all = verify_with(&sealed(&records), Options::default(), &given_out).all;
    assert_eq!(all.open, 1, "it hides no hole");
}

#[test]
fn gaps_with_slots_spoil_nothing_and_gaps_without_do() {
    let whole = rotation(&[1; 4], 100);
    let with = |slots: Option<Vec<usize>>| {
        let mut records = whole.clone();
        records.splice(50..53, [Record::Gap(gap(50, 52, slots))]);
        verify_records(&records).all
    };
    let known = with(Some(vec![1, 2, 3]));
    assert_eq!(known.verdict, Verdict::Verified);
    assert_eq!((known.turns, known.open, known.unlinked, known.gap_turns), (97, 0, 0, 3));
    assert_eq!((known.gaps[0].from_turn, known.gaps[0].to_turn), (50, 52));
    let unknown = with(None);
    assert_eq!(unknown.verdict, Verdict::Incomplete);
    assert_eq!((unknown.unlinked, unknown.conforming), (1, 97));
    let wrong = with(Some(vec![1, 2, 2]));
    assert_eq!((wrong.verdict, wrong.violations, wrong.conforming), (Verdict::Violated, 1, 96));
}

/// Whoever declared it did not know the turns either, so what it says of their epoch proves nothing.
#[test]
fn the_epoch_of_a_gap_without_slots_is_held_against_nobody() {
    let mut whole = rotation(&[1; 4], 100);
    whole.insert(51, Record::Epoch(epoch(2, &Ring::new(&[Seat::default(); 4]).unwrap(), Some(1))));
    whole[52..].iter_mut().for_each(|it| attempt_of(it).epoch = 2);
    // Turn 30 in the middle of epoch 1, turn 50 at its end, turn 51 at the beginning of epoch 2.
    for (at, claimed) in [(30, 2), (30, 0), (50, 2), (52, 1), (52, 3)] {
        let mut records = whole.clone();
        let turn = attempt_of(&mut records[at]).turn.unwrap();
        let gap = Record::Gap(Gap { epoch: claimed, ..gap(turn, turn, None) });
        records.remove(at);
        for place in [at, records.len()] {
            let mut records = records.clone();
            records.insert(place, gap.clone());
            let report = verify_records(&records);
            assert_eq!(report.findings, [], "turn {turn}, epoch {claimed}, line {place}");
            assert_eq!(report.all.verdict, Verdict::Incomplete);
            assert_eq!((report.all.conforming, report.all.unlinked), (99, 1));
        }
    }
}

#[test]
fn a_turn_without_its_epoch_or_masks_is_unverifiable() {
    let mut records = rotation(&[1; 4], 100);
    attempt_of(&mut records[10]).epoch = 7;
    let report = verify_records(&records[1..]);
    assert_eq!((report.all.unverifiable, report.all.conforming), (100, 0));
    assert_eq!(report.all.verdict, Verdict::Incomplete);

    let lines = without_masks(&sealed(&rotation(&[1; 4], 100)), 10);
    let report = verify(&lines);
    assert_eq!((report.all.unverifiable, report.all.conforming), (1, 99));
    assert_eq!((report.all.verdict, report.chain.ok), (Verdict::Incomplete, true));
    assert_eq!((report.all.unlinked, report.all.open), (0, 0), "its slot still links");
}

/// Takes the masks out of one line and chains the trace anew.
fn without_masks(lines: &[Vec<u8>], at: usize) -> Vec<Vec<u8>> {
    let mut prev = ChainHash::START;
    let rechain = |(n, line): (usize, &Vec<u8>)| {
        let text = String::from_utf8(line.clone()).unwrap();
        let body = text.split(",\"prev\":").next().unwrap();
        let body = if n == at {
            body.replace(r#""eligible":"f""#, r#""eligible":null"#)
        } else {
            body.to_owned()
        };
        let body = format!("{body},\"prev\":\"{prev}\"");
        prev = prev.follow(body.as_bytes());
        format!("{body},\"hash\":\"{prev}\"}}").into_bytes()
    };
    lines.iter().enumerate().map(rechain).collect()
}

#[test]
fn what_is_no_turn_does_not_count() {
    let mut records = rotation(&[1; 4], 100);
    let mut manual = attempt_of(&mut records[5]).clone();
    (manual.turn, manual.slot, manual.prev_slot) = (None, None, None);
    records.insert(6, Record::Attempt(manual.clone()));
    assert_eq!(verify_records(&records).all.turns, 100);
    manual.slot = Some(1);
    records[6] = Record::Attempt(manual);
    let report = verify_records(&records);
    assert_eq!((report.all.verdict, report.all.violations), (Verdict::Violated, 1));
}

#[test]
fn an_export_may_start_later() {
    let mut records = vec![mode()];
    records.extend(rotation(&[1; 4], 300));
    let lines = sealed(&records);
    // Line 2 is the epoch in force; lines 3 to 102 are not exported.
    let export: Vec<_> = [&lines[1..2], &lines[102..]].concat();
    let report = verify(&export);
    assert_eq!((report.all.verdict, report.chain.ok), (Verdict::Verified, true));
    assert_eq!((report.all.turns, report.all.unlinked, report.all.open), (200, 1, 0));
    assert_eq!((report.chain.first_seq, report.chain.records), (Some(103), 201));
    // Within the stretch a missing line shows, and so does a missing turn.
    let mut cut = export;
    cut.remove(50);
    assert_eq!(verify(&cut).first_bad_seq, Some(152));
    assert_eq!(verify(&cut).all.open, 1);
}

/// Numbers are missed from the first turn on that was certainly chosen after the cut, though the
/// line of a later one comes first.
#[test]
fn after_the_cut_a_hole_is_open() {
    let mut records = rotation(&[1; 4], 300);
    records.remove(202);
    records.swap(201, 202);
    let lines = sealed(&records);
    let all = verify(&[&lines[..1], &lines[200..]].concat()).all;
    assert_eq!((all.turns, all.open, all.verdict), (100, 1, Verdict::Incomplete));
}

/// A slow turn that ended in the stretch, while its neighbours ended before it: they were cut
/// off, they are not open.
#[test]
fn what_an_export_cuts_off_is_not_open() {
    let mut records = rotation(&[1; 4], 300);
    let slow = records.remove(100);
    records.insert(150, slow);
    attempt_of(&mut records[150]).ts = crate::trace_builder::at(1_501);
    attempt_of(&mut records[150]).latency_ms = 500;
    let lines = sealed(&records);
    let report = verify(&[&lines[..1], &lines[150..]].concat());
    assert_eq!((report.all.open, report.all.unlinked), (0, 2));
    assert_eq!(report.all.verdict, Verdict::Verified);
}

#[test]
fn filtered_exports_are_refused() {
    let mut verifier = Verifier::new(Options::default());
    let refused = verifier.line(br#"{"type":"filtered","by":{"key":"a"}}"#);
    assert_eq!(refused, Err(Refused::Filtered));
}

#[test]
fn several_upstreams_are_added_up() {
    let of = |upstream: &str, keys: usize, turns| {
        let mut records = rotation(&vec![1; keys], turns);
        for record in &mut records {
            match record {
                Record::Attempt(it) => it.upstream = upstream.into(),
                Record::Epoch(it) => it.upstream = upstream.into(),
                _ => {}
            }
        }
        records
    };
    let report = verify_records(&[of("a", 3, 40), of("b", 5, 300)].concat());
    assert_eq!((report.all.turns, report.all.conforming), (340, 340));
    assert_eq!(report.all.verdict, Verdict::Verified);
    assert_eq!((report.all.chi_square.df, report.all.shares.len()), (2 + 4, 8));
    assert_eq!(report.upstreams["a"].all.verdict, Verdict::InsufficientData);
    assert_eq!(report.upstreams["b"].all.verdict, Verdict::Verified);
    // By time: `a` ran during the first 400 ms only, `b` for 3 s.
    let window = &report.window.numbers;
    assert_eq!((window.turns, window.shares.len()), (200, 5));
    assert_eq!(report.upstreams["a"].window.numbers.turns, 40);
}

#[test]
fn a_report_can_be_taken_at_any_time() {
    let lines = sealed(&rotation(&[2, 1, 1], 100));
    let mut verifier = Verifier::new(Options::default());
    for (n, line) in lines.iter().enumerate() {
        verifier.line(line).unwrap();
        let all = verifier.report(&InFlight::None).all;
        assert_eq!((all.turns, all.conforming), (n as u64, n as u64));
    }
    assert_eq!(verifier.report(&InFlight::None), verify(&lines));
}

#[test]
fn the_json_has_the_contract_s_names() {
    let mut records = rotation(&[1; 2], 3);
    records.push(Record::Gap(gap(4, 5, Some(vec![1, 0]))));
    let report = verify_records(&records);
    let json = serde_json::to_value(&report).unwrap();
    let numbers = [
        "verdict",
        "turns",
        "conforming",
        "violations",
        "unverifiable",
        "unlinked",
        "open",
        "confidence",
        "lower_bound",
        "max_pair_gap",
        "repeats",
        "chi_square",
        "gaps",
        "shares",
    ];
    for name in numbers {
        for place in [&json, &json["window"], &json["upstreams"]["kimi"]] {
            assert!(place.get(name).is_some(), "{name}");
        }
    }
    assert_eq!(json["verdict"], "insufficient_data");
    assert_eq!(json["window"]["size"], 200);
    for name in ["statistic", "df", "p"] {
        assert!(json["chi_square"][name].is_number(), "{name}");
    }
    assert_eq!(json["gaps"][0]["from_turn"], 4);
    assert_eq!(json["gaps"][0]["to_turn"], 5);
    assert_eq!(json["gaps"][0]["reason"], "killed");
    assert_eq!((&json["chain"]["ok"], &json["chain"]["records"]), (&true.into(), &5.into()));
    assert_eq!(json["chain"]["head"], report.chain.head);
    assert_eq!(json["shares"][0]["key"], "k-00000000");
    assert_eq!(json["shares"][0]["label"], "key-00");
    assert_eq!(json["shares"][0]["turns"], 2);
    assert_eq!(json["shares"][0]["expected"], 1.5);
    assert_eq!(json["shares"][0]["tokens"], 30);
    assert!(json.get("first_bad_seq").is_none() && json.get("head").is_none());
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
}

/// A small trace of everything that a trace can hold, written by another program than kmi after
/// the letter of FAIRNESS section 5.
#[test]
fn the_golden_trace() {
    let lines: Vec<Vec<u8>> =
        include_str!("tests/golden.jsonl").lines().map(|line| line.as_bytes().to_vec()).collect();
    let report = verify(&lines);
    assert_eq!(report.findings, []);
    assert_eq!((report.chain.ok, report.chain.records), (true, 13));
    let all = &report.all;
    assert_eq!(all.verdict, Verdict::InsufficientData);
    assert_eq!((all.turns, all.conforming, all.violations), (7, 7, 0));
    assert_eq!((all.open, all.unlinked, all.unverifiable, all.repeats), (0, 0, 0, 0));
    assert_eq!((all.gaps[0].from_turn, all.gaps[0].to_turn), (5, 6));
    assert!((all.confidence - (1.0 - 0.95f64.powi(7))).abs() < 1e-12);
    let shares: Vec<_> = all.shares.iter().map(|it| (&*it.label, it.turns, it.tokens)).collect();
    assert_eq!(shares, [("alpha", 3, 30), ("beta", 3, 45), ("gamma", 1, 15)]);
    // alpha: 2/3 in each of turns 1 to 3, nothing in 4 and 7, 1/3 in each of 8 and 9.
    let expected: Vec<f64> = all.shares.iter().map(|it| it.expected).collect();
    for (is, should) in expected.iter().zip([2.0 + 2.0 / 3.0, 1.0 + 2.0 + 2.0 / 3.0, 2.0 / 3.0]) {
        assert!((is - should).abs() < 1e-12, "{expected:?}");
    }
    assert_eq!(report.upstreams["kimi"].epoch, Some(2));
}
