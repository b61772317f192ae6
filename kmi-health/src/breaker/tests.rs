//! In the order and with the words of the specification.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn policy() -> Policy {
    Policy::default()
}

fn open(until: Option<i64>) -> Breaker {
    let mut breaker = Breaker::default();
    breaker.block(Reason::RateLimited, until.map(at));
    breaker
}

fn half_open() -> Breaker {
    let mut breaker = open(Some(5));
    breaker.tick(&policy(), at(5));
    breaker
}

#[test]
fn a_closed_breaker_lets_requests_pass() {
    let mut breaker = Breaker::default();
    breaker.begin(AttemptId(1), at(0));
    assert!(breaker.admits());
}

#[test]
fn an_open_breaker_lets_none_pass_until_its_end() {
    let mut breaker = open(Some(5));
    assert!(!breaker.admits());
    breaker.tick(&policy(), at(4));
    assert!(!breaker.admits());
    breaker.tick(&policy(), at(5));
    assert!(breaker.admits());
}

#[test]
fn an_end_moves_further_away_and_never_nearer() {
    let mut breaker = open(Some(5));
    breaker.block(Reason::ConcurrencyLimited, Some(at(3)));
    assert_eq!(breaker.state(), State::Open { reason: Reason::RateLimited, until: Some(at(5)) });
    breaker.block(Reason::QuotaExhausted, Some(at(9)));
    assert_eq!(breaker.state(), State::Open { reason: Reason::QuotaExhausted, until: Some(at(9)) });
    breaker.block(Reason::AuthFailed, None);
    breaker.block(Reason::AccountTerminated, None);
    breaker.block(Reason::RateLimited, Some(Timestamp::MAX));
    assert_eq!(breaker.state(), State::Open { reason: Reason::AuthFailed, until: None });
}

#[test]
fn a_half_open_breaker_lets_one_probe_pass() {
    let mut breaker = half_open();
    breaker.begin(AttemptId(1), at(6));
    assert!(!breaker.admits());
    breaker.succeeded(AttemptId(2));
    assert!(!breaker.admits(), "another request proves nothing");
    breaker.succeeded(AttemptId(1));
    assert_eq!((breaker.state(), breaker.strikes()), (State::Closed, 0));
}

#[test]
fn a_probe_that_tells_nothing_or_is_lost_makes_way() {
    let mut breaker = half_open();
    breaker.begin(AttemptId(1), at(6));
    breaker.says_nothing(AttemptId(2));
    assert!(!breaker.admits());
    breaker.says_nothing(AttemptId(1));
    assert!(breaker.admits());
    breaker.begin(AttemptId(3), at(7));
    breaker.tick(&policy(), at(306));
    assert!(!breaker.admits());
    breaker.tick(&policy(), at(307));
    assert!(breaker.admits());
}

#[test]
fn a_refusal_fails_a_probe() {
    let mut breaker = half_open();
    breaker.begin(AttemptId(1), at(6));
    breaker.block(Reason::RateLimited, Some(at(20)));
    assert!(!breaker.admits());
    assert_eq!(breaker.strikes(), 1, "the second block in a row");
}

#[test]
fn a_run_of_failures_trips_and_a_success_ends_it() {
    let mut breaker = Breaker::default();
    let run = |breaker: &mut Breaker, n| (0..n).any(|_| breaker.failed(&policy(), at(0)));
    assert!(!run(&mut breaker, 4));
    breaker.fared_well(&policy(), at(0));
    assert!(!run(&mut breaker, 4));
    assert!(run(&mut breaker, 1));
}

#[test]
fn a_rate_of_failures_trips_with_enough_of_a_sample() {
    let mut breaker = Breaker::default();
    let mut tripped = Vec::new();
    for n in 0..12 {
        tripped.push(breaker.failed(&policy(), at(n)));
        breaker.fared_well(&policy(), at(n));
    }
    // The tenth attempt is a success; the eleventh fails, and six of eleven are too many.
    assert_eq!(tripped.iter().position(|tripped| *tripped), Some(5));
}

#[test]
fn strikes_count_blocks_and_not_refusals() {
    let mut breaker = open(Some(5));
    breaker.block(Reason::RateLimited, Some(at(6)));
    assert_eq!(breaker.strikes(), 0, "the block in force is no earlier one");
    breaker.tick(&policy(), at(6));
    assert_eq!(breaker.strikes(), 1);
}

#[test]
fn merging_keeps_the_later_end() {
    for (ours, theirs, end) in [
        (Some(5), Some(9), Some(9)),
        (Some(9), Some(5), Some(9)),
        (None, Some(5), None),
        (Some(5), None, None),
    ] {
        let mut breaker = open(ours);
        breaker.merge(&open(theirs));
        assert_eq!(breaker, open(end));
    }
    let mut breaker = Breaker::default();
    breaker.merge(&half_open());
    assert_eq!(breaker, half_open());
    let mut breaker = half_open();
    breaker.merge(&open(Some(9)));
    assert_eq!(breaker.next_change(&policy()), Some(at(9)));
}

#[test]
fn a_block_is_relieved_for_its_reason_only() {
    let mut breaker = open(Some(5));
    breaker.relieve(&[Reason::BalanceExhausted]);
    assert!(!breaker.admits());
    breaker.relieve(&[Reason::BalanceExhausted, Reason::RateLimited]);
    assert!(breaker.admits());
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Begin,
    Succeed(usize),
    Nothing(usize),
    Refuse(i64),
    RefuseForEver,
    Pass(i64),
    Close,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => Just(Event::Begin),
        3 => any::<usize>().prop_map(Event::Succeed),
        2 => any::<usize>().prop_map(Event::Nothing),
        3 => (1i64..100).prop_map(Event::Refuse),
        1 => Just(Event::RefuseForEver),
        4 => (0i64..200).prop_map(Event::Pass),
        1 => Just(Event::Close),
    ];
    prop::collection::vec(event, 0..100)
}

/// The naive model: one number for the end (`i64::MAX` for ever), one probe, nothing clever.
#[derive(Debug, Default)]
struct Model {
    end: Option<i64>,
    tainted: bool,
    probe: Option<(u64, i64)>,
}

impl Model {
    fn admits(&self) -> bool {
        self.end.is_none() && self.probe.is_none()
    }
}

proptest! {
    #[test]
    fn it_does_what_the_naive_model_does(events in events()) {
        let (mut breaker, mut model, mut now, mut next) = (Breaker::default(), Model::default(), 0, 0);
        let mut running: Vec<u64> = Vec::new();
        let timeout = i64::try_from(policy().probe_timeout.as_secs()).unwrap();
        for event in events {
            match event {
                Event::Begin if model.admits() => {
                    next += 1;
                    running.push(next);
                    breaker.begin(AttemptId(next), at(now));
                    model.probe = model.tainted.then_some((next, now));
                }
                Event::Succeed(n) if !running.is_empty() => {
                    let id = running.swap_remove(n % running.len());
                    breaker.succeeded(AttemptId(id));
                    if model.probe.is_some_and(|(probe, _)| probe == id) {
                        model = Model::default();
                    }
                }
                Event::Nothing(n) if !running.is_empty() => {
                    let id = running.swap_remove(n % running.len());
                    breaker.says_nothing(AttemptId(id));
                    model.probe = model.probe.filter(|(probe, _)| *probe != id);
                }
                Event::Refuse(seconds) => {
                    breaker.block(Reason::RateLimited, Some(at(now + seconds)));
                    model.end = model.end.max(Some(now + seconds));
                    (model.tainted, model.probe) = (true, None);
                }
                Event::RefuseForEver => {
                    breaker.block(Reason::AuthFailed, None);
                    model = Model { end: Some(i64::MAX), tainted: true, probe: None };
                }
                Event::Pass(seconds) => {
                    now += seconds;
                    breaker.tick(&policy(), at(now));
                    model.end = model.end.filter(|end| *end > now);
                    model.probe = model.probe.filter(|(_, since)| since + timeout > now);
                }
                Event::Close => {
                    breaker.close();
                    model = Model::default();
                }
                Event::Begin | Event::Succeed(_) | Event::Nothing(_) => {}
            }
            prop_assert_eq!(breaker.admits(), model.admits());
            prop_assert_eq!(breaker.state() == State::Closed, !model.tainted);
        }
    }

    #[test]
    fn every_block_with_an_end_ends(events in events()) {
        let mut breaker = Breaker::default();
        for event in events {
            if let Event::Refuse(seconds) = event {
                breaker.block(Reason::RateLimited, Some(at(seconds)));
            }
        }
        breaker.tick(&policy(), later(at(100), Duration::from_mins(5)));
        prop_assert!(breaker.admits());
    }
}
