mod clock;
mod laws;
mod sharing;

use kmi_core::{
    inventory::{Key, Limits},
    key::{ApiKey, HomeSecret, Label},
    outcome::Outcome,
    state::{KeyState, Reason},
};

use super::*;
use crate::{
    UpstreamKind,
    classify::{Answer, classify},
    cooldown,
    retry_after::{LONGEST, RetryHeaders},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn key(label: &str, account: Option<&str>) -> Key {
    let secret = ApiKey::parse(&format!("sk-test-{label}")).unwrap();
    Key {
        id: KeyId::derive(&HomeSecret::new([0; 32]), &secret),
        label: Label::parse(label).unwrap(),
        secret,
        upstream: "kimi".into(),
        priority: 0,
        weight: 1,
        account: account.map(Into::into),
        tags: Vec::new(),
        disabled: false,
        limits: Limits::default(),
        origin: "test".into(),
    }
}

fn inventory(keys: Vec<Key>) -> Inventory {
    Inventory::new(keys.into_iter().map(Arc::new).collect())
}

/// A board over keys `a`, `b`, … without known accounts.
fn board(keys: usize) -> Board {
    let labels = ["a", "b", "c", "d", "e"];
    Board::new(
        &inventory(labels[..keys].iter().map(|label| key(label, None)).collect()),
        Policy::default(),
    )
}

fn answer(status: u16, message: &str) -> Verdict {
    typed(status, "", message)
}

fn typed(status: u16, kind: &str, message: &str) -> Verdict {
    let body = serde_json::json!({ "error": { "message": message, "type": kind } }).to_string();
    let answer = Answer {
        kind: UpstreamKind::KimiCode,
        status,
        retry: RetryHeaders::default(),
        body: body.as_bytes(),
    };
    classify(&answer, at(0))
}

/// One attempt from its beginning to its end within one second.
fn attempt(board: &mut Board, key: usize, verdict: &Verdict, second: i64) -> Vec<HealthChange> {
    let id = board.start(key, at(second));
    let finished = Finished { model: Some("k3"), ..Finished::default() };
    board.finish(key, id, verdict, &finished, at(second))
}

fn usable(board: &Board) -> Vec<usize> {
    board.usable().iter().collect()
}

fn health(board: &Board, key: usize) -> (KeyState, Option<Reason>, Option<i64>) {
    let row = board.row(key).unwrap();
    (row.state, row.reason, row.until.map(Timestamp::as_second))
}

const HEALTHY: (KeyState, Option<Reason>, Option<i64>) = (KeyState::Healthy, None, None);

fn works() -> Verdict {
    Verdict::of(Outcome::Ok)
}

fn too_fast(seconds: u32) -> Verdict {
    answer(429, &format!("please try again after {seconds} seconds"))
}

#[test]
fn a_block_ends_in_a_probe_and_the_probe_in_health() {
    let mut board = board(2);
    let changes = attempt(&mut board, 0, &too_fast(7), 100);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].from, changes[0].to), (KeyState::Healthy, KeyState::Blocked));
    assert_eq!(changes[0].until, Some(at(107)));
    assert_eq!(usable(&board), [1]);
    assert_eq!(board.next_change(), Some(at(107)));
    assert_eq!(board.refresh(at(106)), []);

    let changes = board.refresh(at(107));
    assert_eq!((changes[0].from, changes[0].to), (KeyState::Blocked, KeyState::Warn));
    assert_eq!(usable(&board), [0, 1]);
    let probe = board.start(0, at(108));
    assert_eq!(usable(&board), [1], "one probe at a time");
    let other = board.start(1, at(108));
    assert_eq!((board.is_probe(0, probe), board.is_probe(1, other)), (true, false));
    let changes = board.answered(0, probe, at(109));
    assert_eq!((changes[0].from, changes[0].to), (KeyState::Warn, KeyState::Healthy));
    assert_eq!(usable(&board), [0, 1]);
    assert!(!board.is_probe(0, probe));
    assert_eq!(board.finish(0, probe, &works(), &Finished::default(), at(110)), []);
    board.finish(1, other, &works(), &Finished::default(), at(110));
    assert_eq!(board.next_change(), None);
}

#[test]
fn only_the_probe_itself_proves_health() {
    let mut board = board(2);
    let early = board.start(0, at(0));
    attempt(&mut board, 0, &too_fast(5), 0);
    board.finish(0, early, &works(), &Finished::default(), at(1));
    assert_eq!(usable(&board), [1], "an answer to an earlier request");
    board.refresh(at(5));
    let late = board.start(0, at(5));
    let gone = Verdict::of(Outcome::ClientGone);
    assert_eq!(board.finish(0, late, &gone, &Finished::default(), at(6)), []);
    assert_eq!(usable(&board), [0, 1], "a probe that tells nothing makes way for the next");
}

#[test]
fn a_lost_probe_is_given_up() {
    let mut board = board(1);
    attempt(&mut board, 0, &too_fast(5), 0);
    board.refresh(at(5));
    let next = |board: &Board| board.next_usable(&KeySet::default(), at(6));
    assert_eq!(next(&board), Some(at(6)), "its probe is still to be had");
    board.start(0, at(5));
    assert_eq!(usable(&board), Vec::<usize>::new());
    assert_eq!(next(&board), Some(at(7)));
    assert_eq!(board.soonest(at(6)), Some(Exhausted::ShortWait { at: at(7) }));
    assert_eq!(board.next_change(), Some(at(305)));
    board.refresh(at(305));
    assert_eq!(usable(&board), [0]);
}

#[test]
fn refusals_in_a_row_rest_longer_and_those_together_do_not() {
    let mut board = board(2);
    let burst: Vec<_> = (0..4).map(|_| board.start(0, at(0))).collect();
    for id in burst {
        board.finish(0, id, &answer(429, ""), &Finished::default(), at(0));
    }
    let mut ends = vec![health(&board, 0).2.unwrap()];
    for _ in 0..3 {
        let second = *ends.last().unwrap();
        board.refresh(at(second));
        attempt(&mut board, 0, &answer(429, ""), second);
        ends.push(health(&board, 0).2.unwrap());
    }
    assert_eq!(ends, [5, 15, 35, 75]);
}

#[test]
fn an_end_is_never_shortened() {
    let mut board = board(2);
    let late = board.start(0, at(0));
    let later = board.start(0, at(0));
    attempt(&mut board, 0, &answer(429, "You've reached your usage limit for this period"), 0);
    board.finish(0, late, &too_fast(1), &Finished::default(), at(1));
    assert_eq!(health(&board, 0), (KeyState::Blocked, Some(Reason::QuotaExhausted), Some(900)));
    let dead = answer(401, "Invalid Authentication");
    board.finish(0, later, &dead, &Finished::default(), at(1));
    assert_eq!(health(&board, 0), (KeyState::Blocked, Some(Reason::AuthFailed), None));
    board.refresh(at(1_000_000));
    assert_eq!(usable(&board), [1], "until the user acts");
    let changes = board.clear(0, at(1_000_001));
    assert_eq!(changes.len(), 1);
    assert_eq!(usable(&board), [0, 1]);
    assert_eq!(health(&board, 0), HEALTHY);
}

#[test]
fn the_keys_of_an_account_rest_together() {
    let keys = vec![key("a", Some("x")), key("b", Some("x")), key("c", Some("y")), key("d", None)];
    let mut board = Board::new(&inventory(keys), Policy::default());
    assert_eq!(attempt(&mut board, 0, &too_fast(5), 0).len(), 2);
    assert_eq!(usable(&board), [2, 3]);
    board.refresh(at(5));
    let probe = board.start(1, at(5));
    assert_eq!(usable(&board), [2, 3], "one probe for the whole account");
    assert_eq!(board.finish(1, probe, &works(), &Finished::default(), at(6)).len(), 2);
    assert_eq!(usable(&board), [0, 1, 2, 3]);
    attempt(&mut board, 0, &answer(401, "Invalid Authentication"), 7);
    assert_eq!(usable(&board), [1, 2, 3], "a key's own refusal is its own");
}

#[test]
fn what_is_not_the_keys_fault_leaves_it_alone() {
    let mut board = board(2);
    for verdict in [
        answer(400, "high risk"),
        answer(403, "Kimi For Coding is currently only available for Coding Agents such as …"),
        answer(404, "method not found"),
        answer(429, "The engine is currently overloaded"),
        answer(500, ""),
        answer(503, ""),
        Verdict::of(Outcome::ClientGone),
        Verdict::of(Outcome::ConnectFailed),
        Verdict::of(Outcome::UpstreamTimeout),
    ] {
        assert_eq!(attempt(&mut board, 0, &verdict, 0), [], "{verdict:?}");
    }
    assert_eq!(usable(&board), [0, 1]);
    assert_eq!(board.row(0).unwrap().errors, 5, "only the upstream's own");
}

#[test]
fn a_model_is_missing_in_one_plan_or_nowhere() {
    let mut board = board(2);
    let missing = answer(404, "Not found the model k3 or Permission denied");
    assert_eq!(board.usable_for("k3", at(4000)), None);
    attempt(&mut board, 0, &missing, 0);
    assert_eq!(board.usable_for("k3", at(4000)), Some(KeySet::from_iter([1])));
    assert_eq!(board.usable_for("k2", at(4000)), None);
    assert_eq!(usable(&board), [0, 1]);
    assert_eq!(health(&board, 0), (KeyState::Warn, Some(Reason::ModelNotAllowed), None));
    board.refresh(at(3600));
    assert_eq!(health(&board, 0), HEALTHY);

    attempt(&mut board, 0, &missing, 4000);
    attempt(&mut board, 1, &missing, 4000);
    assert_eq!(board.usable_for("k3", at(4000)), None, "a wrong name is no key's fault");
    assert_eq!((health(&board, 0), health(&board, 1)), (HEALTHY, HEALTHY));
}

#[test]
fn a_model_waits_for_the_key_that_may_have_it() {
    let missing = answer(404, "Not found the model k3 or Permission denied");
    let left_after = |refusal: &Verdict| {
        let mut board = board(2);
        attempt(&mut board, 0, refusal, 0);
        attempt(&mut board, 1, &missing, 0);
        board.usable_for("k3", at(0))
    };
    let brief = answer(429, "We're receiving too many requests at the moment");
    assert_eq!(left_after(&brief), Some(KeySet::default()), "key 0 is back in seconds");
    // Nobody knows whether it has the model, and nobody is to wait for days to learn that.
    let spent = answer(403, "You've reached your weekly usage limit");
    assert_eq!(left_after(&spent), None);
    assert_eq!(left_after(&answer(401, "Invalid Authentication")), None);
}

#[test]
fn an_exhausted_pool_says_why() {
    let mut board = board(3);
    assert_eq!(board.soonest(at(0)), None);
    let dead = answer(401, "Invalid Authentication");
    attempt(&mut board, 0, &dead, 0);
    attempt(&mut board, 1, &answer(403, "You've reached your weekly usage limit"), 0);
    attempt(&mut board, 2, &too_fast(30), 0);
    assert_eq!(board.soonest(at(1)), Some(Exhausted::ShortWait { at: at(30) }));
    board.refresh(at(30));
    attempt(&mut board, 2, &dead, 30);
    assert_eq!(board.soonest(at(31)), Some(Exhausted::QuotaSpent { at: Some(at(900)) }));
    board.disable(1, at(31));
    assert_eq!(board.soonest(at(31)), Some(Exhausted::NoneWorking { at: None }));
    assert_eq!(
        Board::new(&Inventory::default(), Policy::default()).soonest(at(0)),
        Some(Exhausted::NoneWorking { at: None })
    );
}

#[test]
fn a_request_waits_only_for_keys_that_it_has_not_tried() {
    let mut board = board(3);
    for (key, wait) in [(0, 10), (1, 20), (2, 30)] {
        attempt(&mut board, key, &too_fast(wait), 0);
    }
    let next = |board: &Board, tried: &[usize], now| {
        board.next_usable(&tried.iter().copied().collect(), at(now))
    };
    assert_eq!(next(&board, &[], 1), Some(at(10)));
    assert_eq!(next(&board, &[0], 1), Some(at(20)));
    assert_eq!(next(&board, &[0, 1, 2], 1), None);
    board.refresh(at(15));
    assert_eq!(next(&board, &[0], 15), Some(at(20)), "the first one is back, and was tried");
    board.disable(1, at(15));
    assert_eq!(next(&board, &[0], 15), Some(at(30)));
}

#[test]
fn the_user_switches_keys_off_and_on() {
    let mut board = board(2);
    let changes = board.disable(0, at(0));
    assert_eq!((changes[0].to, changes[0].reason), (KeyState::Disabled, None));
    assert_eq!(usable(&board), [1]);
    attempt(&mut board, 0, &answer(401, "Invalid Authentication"), 0);
    assert_eq!(board.enable(0, at(1)).len(), 1);
    assert_eq!(usable(&board), [0, 1]);
}

#[test]
fn a_reload_keeps_what_is_known() {
    let mut old = board(3);
    attempt(&mut old, 0, &too_fast(30), 0);
    attempt(&mut old, 1, &answer(401, "Invalid Authentication"), 0);
    let running = old.start(2, at(1));
    let mut disabled = key("c", None);
    disabled.disabled = true;
    let mut new = Board::new(
        &inventory(vec![key("a", None), disabled, key("b", None), key("z", None)]),
        Policy::default(),
    );
    let changes = new.adopt(&old, at(2));
    assert_eq!(changes.len(), 1, "c is disabled now: {changes:?}");
    assert_eq!(usable(&new), [3]);
    assert_eq!(health(&new, 0).2, Some(30));
    assert_eq!(new.row(2).unwrap().in_flight, 1);
    new.finish(2, running, &works(), &Finished::default(), at(3));
    assert_eq!(new.row(2).unwrap().in_flight, 0);
    assert!(new.start(0, at(4)) > running, "attempts are never taken for one another");
}

#[test]
fn a_restart_keeps_blocks() {
    let mut old = board(3);
    attempt(&mut old, 0, &too_fast(30), 0);
    attempt(&mut old, 1, &answer(401, "Invalid Authentication"), 0);
    let mut saved = old.export();
    saved.push(SavedBlock { until: Some(Timestamp::MAX), ..saved[0] });
    let mut new = board(3);
    new.import(&saved[..2], at(10));
    assert_eq!(usable(&new), [2]);
    assert_eq!(health(&new, 0), health(&old, 0));
    assert_eq!(new.export(), old.export());

    let mut late = board(3);
    late.import(&saved[..2], at(30));
    assert_eq!(usable(&late), [0, 2]);
    for (reason, longest) in
        [(Reason::RateLimited, Policy::default().max_cooldown), (Reason::QuotaExhausted, LONGEST)]
    {
        let mut wrong = board(1);
        wrong.import(&[SavedBlock { reason, ..saved[2] }], at(0));
        assert_eq!(health(&wrong, 0).2, Some(longest.as_secs().cast_signed()), "a wrong clock");
    }
}

#[test]
fn numbers_of_no_key_are_ignored() {
    let mut board = board(1);
    let id = board.start(9, at(0));
    assert_eq!(board.finish(9, id, &too_fast(1), &Finished::default(), at(0)), []);
    assert_eq!(board.answered(9, id, at(0)), []);
    assert_eq!(board.disable(9, at(0)), []);
    assert_eq!(board.enable(9, at(0)), []);
    assert_eq!(board.row(9), None);
}
