use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    eligible::KeySet,
    outcome::Outcome,
    ring::{Ring, Seat},
    state::{KeyState, Mode, Policy, Reason},
    trace::{Attempt, HealthChange, ModeChange, Record},
};

use super::*;
use crate::trace_builder::{at, attempt_of, epoch, epoch_key, gap, rotation};

/// Four keys of weight 1: `key-00` to `key-03`.
fn ring() -> Ring {
    Ring::new(&[Seat::default(); 4]).unwrap()
}

/// Key 2 serves turn 7 of four keys; it was chosen at `at(1000)`, after key 0.
fn turn(eligible: &[usize], tried: &[usize]) -> Attempt {
    let mut records = rotation(&[1; 4], 1);
    let mut attempt = attempt_of(&mut records[1]).clone();
    let served = epoch_key(2, Seat::default());
    attempt.turn = Some(7);
    (attempt.prev_slot, attempt.slot) = (Some(0), Some(2));
    (attempt.key, attempt.label) = (served.key, served.label);
    attempt.eligible = Arc::new(eligible.iter().copied().collect());
    attempt.tried = tried.iter().copied().collect();
    attempt.attempt = u32::try_from(tried.len()).unwrap() + 1;
    (attempt.ts, attempt.latency_ms) = (at(1500), 500);
    attempt
}

fn health(key: usize, ms: i64, to: KeyState, why: Option<Reason>, until: Option<i64>) -> Record {
    let key = epoch_key(key, Seat::default());
    Record::Health(HealthChange {
        ts: at(ms),
        upstream: Some("kimi".into()),
        key: key.key,
        label: key.label,
        from: KeyState::Healthy,
        to,
        reason: why,
        until: until.map(at),
    })
}

fn explain(attempt: Attempt, records: &[Record]) -> Explanation {
    let mut evidence = Evidence::new(attempt);
    evidence.record(&Record::Epoch(epoch(1, &ring(), None)));
    for record in records {
        evidence.record(record);
    }
    evidence.explain()
}

fn of(explanation: &Explanation, label: &str) -> Because {
    let other = explanation.others.iter().find(|other| *other.label == *label).unwrap();
    other.because.clone()
}

#[test]
fn keys_stand_in_the_order_of_the_search() {
    let it = explain(turn(&[0, 2, 3], &[]), &[]);
    let found: Vec<_> = it.others.iter().map(|it| (&*it.label, it.passed_over)).collect();
    assert_eq!(found, [("key-01", true), ("key-03", false), ("key-00", false)]);
    assert_eq!(it.after.as_deref(), Some("key-00"));
    assert_eq!((it.follows_rule, it.chosen_at), (Some(true), at(1000)));
    assert_eq!(of(&it, "key-03"), Because::Later);
    assert_eq!(explain(turn(&[0, 1, 2], &[]), &[]).follows_rule, Some(false));
}

#[test]
fn a_blocked_key_is_told_with_the_words_that_blocked_it() {
    let mut refusal = turn(&[1], &[]);
    let key = epoch_key(1, Seat::default());
    (refusal.key, refusal.label, refusal.turn) = (key.key, key.label, Some(5));
    refusal.request_id = "r-another".into();
    refusal.ts = at(200);
    refusal.outcome = Outcome::Quota;
    refusal.error = Some("You've reached your weekly (7-day) usage limit.".into());
    let blocked = health(1, 200, KeyState::Blocked, Some(Reason::QuotaExhausted), Some(9_000));
    let it = explain(turn(&[0, 2, 3], &[]), &[blocked, Record::Attempt(refusal)]);
    let Because::Blocked { reason, until, since, words } = of(&it, "key-01") else { panic!() };
    assert_eq!((reason, until), (Some(Reason::QuotaExhausted), Some(at(9_000))));
    assert_eq!(since, at(200));
    assert!(words.unwrap().contains("weekly"));
}

/// The provider's reset comes a little later than the refusal.
#[test]
fn a_block_whose_end_becomes_known_keeps_its_words() {
    let mut refusal = turn(&[1], &[]);
    let key = epoch_key(1, Seat::default());
    (refusal.key, refusal.label, refusal.turn) = (key.key, key.label, Some(5));
    (refusal.request_id, refusal.ts) = ("r-another".into(), at(200));
    (refusal.outcome, refusal.error) = (Outcome::Quota, Some("weekly usage limit".into()));
    let spent = Some(Reason::QuotaExhausted);
    let blocked = health(1, 200, KeyState::Blocked, spent, Some(2_000));
    let mut longer = health(1, 300, KeyState::Blocked, spent, Some(9_000));
    let Record::Health(change) = &mut longer else { panic!() };
    change.from = KeyState::Blocked;
    let it = explain(turn(&[0, 2, 3], &[]), &[blocked, Record::Attempt(refusal), longer]);
    let Because::Blocked { until, since, words, .. } = of(&it, "key-01") else { panic!() };
    assert_eq!((until, since), (Some(at(9_000)), at(200)));
    assert_eq!(words.as_deref(), Some("weekly usage limit"));
}

#[test]
fn what_came_after_the_choice_explains_nothing() {
    let later = health(1, 1_003, KeyState::Blocked, Some(Reason::RateLimited), Some(9_000));
    let it = explain(turn(&[0, 2, 3], &[]), &[later]);
    assert_eq!(of(&it, "key-01"), Because::Untold);
    // Within the blur of a millisecond's rounding either may have been first: the mask decides.
    let blocked = health(1, 200, KeyState::Blocked, Some(Reason::Failing), Some(9_000));
    let freed = health(1, 1_001, KeyState::Healthy, None, None);
    let it = explain(turn(&[0, 2, 3], &[]), &[blocked, freed]);
    assert!(matches!(of(&it, "key-01"), Because::Blocked { .. }), "{it:?}");
}

#[test]
fn a_block_that_is_over_is_no_reason() {
    let blocked = health(1, 200, KeyState::Blocked, Some(Reason::RateLimited), Some(900));
    let it = explain(turn(&[0, 2, 3], &[]), std::slice::from_ref(&blocked));
    assert_eq!(of(&it, "key-01"), Because::AtLimit);
    let half_open = health(1, 900, KeyState::Warn, Some(Reason::RateLimited), None);
    let it = explain(turn(&[0, 2, 3], &[]), &[blocked, half_open]);
    assert_eq!(of(&it, "key-01"), Because::Probed { reason: Some(Reason::RateLimited) });
    let lacks = health(1, 300, KeyState::Warn, Some(Reason::ModelNotAllowed), None);
    let it = explain(turn(&[0, 2, 3], &[]), &[lacks]);
    assert_eq!(of(&it, "key-01"), Because::LacksModel { model: Some("kimi-for-coding".into()) });
    let off = health(1, 300, KeyState::Disabled, None, None);
    let it = explain(turn(&[0, 2, 3], &[]), &[off]);
    assert_eq!(of(&it, "key-01"), Because::Disabled { since: at(300) });
}

#[test]
fn tried_keys_are_told_with_what_came_of_them() {
    let mut first = turn(&[0, 1, 2, 3], &[]);
    let key = epoch_key(1, Seat::default());
    (first.key, first.label) = (key.key, key.label);
    (first.attempt, first.outcome, first.status) = (1, Outcome::RateLimited, Some(429));
    first.error = Some("too many requests".into());
    let it = explain(turn(&[0, 1, 2, 3], &[1]), &[Record::Attempt(first)]);
    let Because::Tried { outcome, status, words } = of(&it, "key-01") else { panic!() };
    assert_eq!((outcome, status), (Some(Outcome::RateLimited), Some(429)));
    assert_eq!(words.as_deref(), Some("too many requests"));
    assert!(it.others[0].passed_over);
}

#[test]
fn a_lower_priority_waits() {
    let seats = [0, 0, 0, 1].map(|tier| Seat { weight: 1, tier });
    let mut evidence = Evidence::new(turn(&[0, 1, 2], &[1]));
    evidence.record(&Record::Epoch(epoch(1, &Ring::new(&seats).unwrap(), None)));
    let it = evidence.explain();
    assert_eq!(of(&it, "key-03"), Because::LowerPriority { tier: 1, than: 0 });
}

#[test]
fn without_the_epoch_nothing_is_made_up() {
    let it = Evidence::new(turn(&[0, 2], &[])).explain();
    assert_eq!((it.follows_rule, it.after, it.others), (None, None, Vec::new()));
    let mut wild = turn(&[0, 2], &[]);
    (wild.prev_slot, wild.slot) = (Some(usize::MAX), Some(99));
    wild.latency_ms = u64::MAX;
    assert_eq!(explain(wild, &[]).follows_rule, Some(false));
}

#[test]
fn manual_mode_names_the_active_key() {
    let manual = |eligible: &[usize]| {
        let turn = turn(eligible, &[]);
        Attempt { turn: None, slot: None, prev_slot: None, mode: Mode::Manual, ..turn }
    };
    let active = |key: usize| {
        let key = Some(epoch_key(key, Seat::default()).key);
        Record::Mode(ModeChange { ts: at(0), mode: Mode::Manual, key, by: "user".into() })
    };
    let why = |attempt, records: &[Record]| explain(attempt, records).why;
    let named = |label: &str| Why::Manual { active: Some(label.into()) };
    assert_eq!(why(manual(&[0, 2]), &[active(2)]), named("key-02"));
    assert_eq!(why(manual(&[0, 2]), &[active(1)]), named("key-01"), "it could not serve");
    assert_eq!(why(manual(&[1, 2]), &[active(1)]), Why::File, "it could have served");
    assert_eq!(why(manual(&[0, 2]), &[]), Why::Manual { active: None });
    assert_eq!(of(&explain(manual(&[0, 2]), &[]), "key-00"), Because::NotMeant);
}

#[test]
fn sessions_keep_their_key_and_move_only_by_a_turn() {
    let session =
        |attempt| Attempt { session_id: Some("s-1".into()), policy: Policy::Session, ..attempt };
    let mut before = session(turn(&[0, 1, 2, 3], &[]));
    before.turn = Some(3);
    (before.ts, before.latency_ms) = (at(9_000), 8_500);
    let kept = Attempt { turn: None, slot: None, prev_slot: None, ..session(turn(&[1, 2], &[])) };
    let it = explain(kept.clone(), &[Record::Attempt(before.clone())]);
    let since = Some(Earlier { turn: 3, label: "key-02".into() });
    assert_eq!(it.why, Why::Session { session: "s-1".into(), since }, "it still runs, and counts");

    let other = epoch_key(1, Seat::default());
    (before.key, before.label) = (other.key, other.label);
    let before = Record::Attempt(before);
    let it = explain(session(turn(&[0, 2, 3], &[])), std::slice::from_ref(&before));
    let moved_from = Some(Earlier { turn: 3, label: "key-01".into() });
    assert_eq!(it.why, Why::Turn { session: Some("s-1".into()), moved_from });
    assert_eq!(explain(kept.clone(), &[before]).why, Why::File, "its session is elsewhere");
    let file = Attempt { path: "/files/f-1/content".into(), ..kept };
    assert_eq!(explain(file, &[]).why, Why::File);
}

#[test]
fn a_lost_turn_is_told_from_its_gap() {
    let epoch = epoch(1, &ring(), None);
    let known = gap(5, 7, Some(vec![0, 1, 2]));
    let lost = Lost::of(&known, 6, Some(&epoch)).unwrap();
    assert_eq!((lost.label.as_deref(), &*lost.reason), (Some("key-01"), "killed"));
    assert_eq!(Lost::of(&known, 8, Some(&epoch)), None);
    assert_eq!(Lost::of(&known, 4, Some(&epoch)), None);
    assert_eq!(Lost::of(&gap(5, 7, None), 6, Some(&epoch)).unwrap().label, None);
    assert_eq!(Lost::of(&gap(5, 7, Some(vec![99; 3])), 6, Some(&epoch)).unwrap().label, None);
}

#[test]
fn memory_does_not_grow_with_the_trace() {
    let mut evidence = Evidence::new(turn(&[0, 2, 3], &[]));
    for ms in 0..1_000 {
        evidence.record(&health(1, ms, KeyState::Warn, Some(Reason::Slow), None));
    }
    let notes: usize = evidence.notes.values().map(Vec::len).sum();
    assert!(notes <= MAX_NOTES, "{notes}");
    let _: Timestamp = evidence.explain().chosen_at;
    let mask: KeySet = [0, 2, 3].into_iter().collect();
    assert_eq!(*evidence.attempt.eligible, mask);
}
