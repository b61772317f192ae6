//! Accounts, limits, quotas; and what only shows by comparison with other keys.

use super::*;
use crate::{account::AccountId, classify::Scope, quota::Quota};

fn id(name: &str) -> AccountId {
    AccountId::of_user(name.as_bytes()).unwrap()
}

fn limited(limits: Limits) -> Board {
    let mut first = key("a", None);
    first.limits = limits;
    Board::new(&inventory(vec![first, key("b", None)]), Policy::default())
}

fn finish(board: &mut Board, key: usize, id: AttemptId, verdict: &Verdict, second: i64) {
    board.finish(key, id, verdict, &Finished::default(), at(second));
}

fn usages(used: u32, reset: i64) -> Quota {
    let body = serde_json::json!({
        "user": { "userId": "user-0123456789" },
        "usage": { "limit": "100", "used": used.to_string(), "resetTime": at(reset).to_string() },
        "parallel": { "limit": "2" },
    });
    Quota::of_usages(body.to_string().as_bytes(), at(0)).unwrap()
}

fn balance(left: f64) -> Quota {
    let body = serde_json::json!({ "data": { "available_balance": left } }).to_string();
    Quota::of_balance(body.as_bytes(), at(0)).unwrap()
}

#[test]
fn a_key_at_its_limit_is_skipped_and_not_unhealthy() {
    let mut board = limited(Limits { concurrency: Some(1), ..Limits::default() });
    let one = board.start(0, at(0));
    assert_eq!(usable(&board), [1]);
    assert_eq!(health(&board, 0), HEALTHY);
    finish(&mut board, 0, one, &works(), 1);
    assert_eq!(usable(&board), [0, 1]);

    let mut board = limited(Limits { rpm: Some(2), tpm: Some(100), ..Limits::default() });
    attempt(&mut board, 0, &works(), 0);
    attempt(&mut board, 0, &works(), 30);
    assert_eq!((usable(&board), board.next_change()), (vec![1], Some(at(61))));
    assert_eq!(board.refresh(at(61)), []);
    assert_eq!(usable(&board), [0, 1]);
    let one = board.start(0, at(100));
    let finished = Finished { tokens: 100, ..Finished::default() };
    board.finish(0, one, &works(), &finished, at(110));
    assert_eq!((usable(&board), board.next_change()), (vec![1], Some(at(171))));
}

#[test]
fn a_pool_at_its_limits_is_a_short_wait() {
    let mut board = limited(Limits { rpm: Some(1), ..Limits::default() });
    board.disable(1, at(0));
    attempt(&mut board, 0, &works(), 10);
    assert_eq!(board.soonest(at(20)), Some(Exhausted::ShortWait { at: at(71) }));
    let mut board = limited(Limits { concurrency: Some(1), ..Limits::default() });
    board.disable(1, at(0));
    board.start(0, at(10));
    assert_eq!(board.soonest(at(20)), Some(Exhausted::ShortWait { at: at(21) }));
}

#[test]
fn a_limit_that_a_refusal_prints_is_kept_for_an_hour() {
    let mut board = board(2);
    let refusal = answer(429, "max concurrency: 1, please try again after 1 seconds");
    attempt(&mut board, 0, &refusal, 0);
    board.refresh(at(1));
    attempt(&mut board, 0, &works(), 1);
    let one = board.start(0, at(2));
    assert_eq!(usable(&board), [1]);
    finish(&mut board, 0, one, &works(), 3);
    assert_eq!(usable(&board), [0, 1]);
    board.start(0, at(3));
    board.refresh(at(3600));
    assert_eq!(usable(&board), [0, 1], "the tier may have been raised since");
}

#[test]
fn keys_that_turn_out_to_be_one_account_share_from_then_on() {
    let mut board = board(3);
    attempt(&mut board, 2, &answer(429, "please try again after 20 seconds"), 0);
    board.start(2, at(0));
    assert_eq!(board.learn(0, &id("user-0123456789"), at(1)), []);
    assert_eq!(board.undeclared_siblings(), Vec::<Vec<usize>>::new());
    assert_eq!(board.learn(2, &id("user-0123456789"), at(1)).len(), 1, "a rests with c");
    assert_eq!(usable(&board), [1]);
    assert_eq!(board.undeclared_siblings(), [[0, 2]]);
    assert_eq!(board.row(0).unwrap().account.as_deref(), Some("user-0…"));
    assert_eq!(board.learn(2, &id("user-0123456789"), at(1)), []);

    let mut new = super::board(3);
    new.adopt(&board, at(2));
    assert_eq!(usable(&new), [1], "also after a reload");
    assert_eq!(new.undeclared_siblings(), [[0, 2]]);
    assert_eq!(new.row(2).unwrap().in_flight, 1);
}

#[test]
fn declared_siblings_are_no_news_and_an_organization_says_more_than_a_user() {
    let organization = AccountId::of_organization(b"org-0123456789").unwrap();
    let start = || {
        let keys = vec![key("a", Some("x")), key("b", Some("x")), key("c", None)];
        let mut board = Board::new(&inventory(keys), Policy::default());
        board.learn(0, &organization, at(0));
        board.learn(1, &organization, at(0));
        board.learn(2, &id("user-0123456789"), at(0));
        assert_eq!(board.undeclared_siblings(), Vec::<Vec<usize>>::new());
        board
    };
    let mut board = start();
    board.learn(0, &id("user-0123456789"), at(0));
    assert_eq!(board.undeclared_siblings(), [[0, 1, 2]], "c may be of that organization");
    let mut board = start();
    board.learn(2, &AccountId::of_organization(b"org-9876543210").unwrap(), at(0));
    board.learn(0, &id("user-0123456789"), at(0));
    assert_eq!(board.undeclared_siblings(), Vec::<Vec<usize>>::new(), "c is of another one");
    board.learn(2, &organization, at(0));
    assert_eq!(board.undeclared_siblings(), [[0, 1, 2]]);
    assert_eq!(board.row(2).unwrap().account.as_deref(), Some("x"));
}

#[test]
fn an_id_may_bring_more_than_two_accounts_together() {
    let mut board = board(4);
    let organization = AccountId::of_organization(b"org-0123456789").unwrap();
    board.learn(0, &id("user-0123456789"), at(0));
    board.learn(1, &organization, at(0));
    board.learn(3, &organization, at(0));
    attempt(&mut board, 0, &too_fast(20), 0);
    board.learn(2, &organization, at(0));
    assert_eq!(board.undeclared_siblings(), [[1, 2, 3]]);
    board.learn(2, &id("user-0123456789"), at(0));
    assert_eq!(board.undeclared_siblings(), [[0, 1, 2, 3]]);
    assert_eq!(usable(&board), Vec::<usize>::new(), "they rest together");
    let mut new = super::board(4);
    new.adopt(&board, at(1));
    assert_eq!(new.undeclared_siblings(), [[0, 1, 2, 3]], "also after a reload");
}

#[test]
fn a_message_that_names_the_account_brings_siblings_together() {
    let mut board = board(2);
    let refusal = answer(
        429,
        "Your account org-0123456789<ak-1> reached max RPM: 3, please try again after 9 seconds",
    );
    attempt(&mut board, 0, &refusal, 0);
    assert_eq!(usable(&board), [1]);
    attempt(&mut board, 1, &refusal, 0);
    assert_eq!(board.undeclared_siblings(), [[0, 1]]);
}

#[test]
fn the_quota_names_the_reset_and_is_not_believed_otherwise() {
    let mut board = board(2);
    let spent = answer(403, "You've reached your weekly (7-day) usage limit");
    attempt(&mut board, 0, &spent, 0);
    assert_eq!(health(&board, 0).2, Some(900));
    board.set_quota(0, usages(5, 200_000), at(1));
    assert_eq!(health(&board, 0).2, Some(200_000), "95 % seem to be left, but a 403 was real");
    board.set_quota(0, usages(5, 100), at(2));
    assert_eq!(health(&board, 0).2, Some(200_000), "never nearer while it is not spent");
    board.set_quota(0, usages(1, 800_000), at(2));
    assert_eq!(health(&board, 0).2, Some(200_000), "nor further: that is the next window's end");
    board.set_quota(0, usages(100, 250_000), at(2));
    assert_eq!(health(&board, 0).2, Some(250_000), "of a spent window it is the end");
    board.set_quota(0, usages(100, 150_000), at(2));
    assert_eq!(health(&board, 0).2, Some(150_000), "nearer, too");

    board.set_quota(1, usages(100, 300_000), at(2));
    assert_eq!(health(&board, 1).0, KeyState::Blocked, "b is of the same account");
    board.clear(0, at(3));
    assert_eq!(health(&board, 1), (KeyState::Warn, Some(Reason::QuotaLow), None));
    attempt(&mut board, 1, &spent, 4);
    assert_eq!(health(&board, 1).2, Some(300_000), "known beforehand");
}

#[test]
fn a_reset_that_is_over_tells_nothing_of_a_later_refusal() {
    let mut board = board(1);
    board.set_quota(0, usages(5, 100), at(0));
    attempt(&mut board, 0, &answer(403, "You've reached your weekly (7-day) usage limit"), 200);
    assert_eq!(health(&board, 0).2, Some(1100));
    board.set_quota(0, usages(5, 200_000), at(201));
    assert_eq!(health(&board, 0).2, Some(200_000));
}

#[test]
fn a_burst_that_does_not_end_may_hide_a_spent_window() {
    let refused = answer(429, "We're receiving too many requests at the moment");
    let ends = |quota: Option<Quota>| {
        let (mut board, mut second) = (board(2), 0);
        let mut ends = Vec::new();
        if let Some(quota) = quota {
            board.set_quota(0, quota, at(0));
        }
        for _ in 0..4 {
            attempt(&mut board, 0, &refused, second);
            let (_, reason, until) = health(&board, 0);
            ends.push((reason.unwrap(), until.unwrap()));
            second = until.unwrap();
            board.refresh(at(second));
        }
        ends
    };
    let (rate, quota) = (Reason::RateLimited, Reason::QuotaExhausted);
    let burst = vec![(rate, 5), (rate, 15), (rate, 35), (rate, 75)];
    assert_eq!(ends(None), burst);
    assert_eq!(ends(Some(usages(80, 9000))), burst, "the quota is not spent");
    let hidden = ends(Some(usages(100, 9000)));
    assert_eq!(hidden, [(rate, 5), (rate, 15), (quota, 9000), (rate, 9040)]);
    assert_eq!(ends(Some(usages(100, 3))), burst, "that window is over");
}

#[test]
fn after_a_restart_a_poll_still_finds_what_a_block_waits_for() {
    let saved = |board: &Board, reason| SavedBlock {
        key: board.keys[0].key.id,
        scope: Scope::of(reason),
        reason,
        until: Some(at(900)),
    };
    let mut money = board(1);
    money.import(&[saved(&money, Reason::BalanceExhausted)], at(0));
    money.set_quota(0, balance(5.0), at(60));
    assert_eq!(health(&money, 0).0, KeyState::Warn, "there is money again");
    let mut spent = board(1);
    spent.import(&[saved(&spent, Reason::QuotaExhausted)], at(0));
    spent.set_quota(0, usages(100, 200_000), at(60));
    assert_eq!(health(&spent, 0).2, Some(200_000));
}

#[test]
fn the_quota_gives_the_accounts_concurrency() {
    let mut board = board(2);
    board.set_quota(0, usages(5, 100), at(0));
    board.set_quota(1, usages(5, 100), at(0));
    let one = board.start(0, at(1));
    board.start(1, at(1));
    assert_eq!(usable(&board), Vec::<usize>::new(), "two at once for both keys together");
    finish(&mut board, 0, one, &works(), 2);
    assert_eq!(usable(&board), [0, 1]);
    assert_eq!(board.quotas().count(), 1, "one account, one quota");
    board.disable(0, at(3));
    assert_eq!(board.quotas().count(), 1);
    board.disable(1, at(3));
    assert_eq!(board.quotas().count(), 0);
}

#[test]
fn little_or_unknown_quota_is_a_warning() {
    let mut board = board(1);
    board.quota_failed(0, at(0));
    assert_eq!(health(&board, 0), (KeyState::Warn, Some(Reason::QuotaUnknown), None));
    board.set_quota(0, usages(79, 100), at(0));
    assert_eq!(health(&board, 0), HEALTHY);
    board.set_quota(0, usages(81, 100), at(0));
    assert_eq!(board.quotas().count(), 1);
    assert_eq!(health(&board, 0), (KeyState::Warn, Some(Reason::QuotaLow), None));
    assert_eq!(board.row(0).unwrap().quota.limits[0].name, "7d");
}

#[test]
fn a_balance_is_believed() {
    let mut board = board(1);
    board.set_quota(0, balance(0.0), at(0));
    assert_eq!(health(&board, 0), (KeyState::Blocked, Some(Reason::BalanceExhausted), Some(1800)));
    board.set_quota(0, balance(5.0), at(60));
    assert_eq!(usable(&board), [0]);
    assert_eq!(health(&board, 0).0, KeyState::Warn, "the next request is a probe");
}

#[test]
fn a_key_is_failing_only_while_others_are_not() {
    let mut board = board(2);
    let broken = answer(500, "");
    for second in 0..20 {
        attempt(&mut board, 0, &broken, second);
        attempt(&mut board, 1, &broken, second);
    }
    assert_eq!(usable(&board), [0, 1], "an outage blocks no key");
    attempt(&mut board, 1, &works(), 21);
    attempt(&mut board, 0, &broken, 22);
    assert_eq!(health(&board, 0), (KeyState::Blocked, Some(Reason::Failing), Some(52)));
    assert_eq!(usable(&board), [1]);

    let mut alone = super::board(1);
    for second in 0..20 {
        attempt(&mut alone, 0, &broken, second);
    }
    assert_eq!(usable(&alone), [0]);
}

#[test]
fn a_vague_refusal_that_every_account_gets_blocks_none() {
    let lapsed = answer(402, "We're unable to verify your membership benefits");
    let mut board = board(4);
    attempt(&mut board, 3, &answer(401, "Invalid Authentication"), 0);
    attempt(&mut board, 0, &lapsed, 0);
    attempt(&mut board, 1, &lapsed, 1);
    assert_eq!(usable(&board), [2]);
    attempt(&mut board, 2, &lapsed, 2);
    assert_eq!(usable(&board), [0, 1, 2], "the membership service is down");
    attempt(&mut board, 0, &lapsed, 3);
    assert_eq!(usable(&board), [0, 1, 2], "still");
    assert!(board.is_everybodys(&lapsed));
    assert!(!board.is_everybodys(&too_fast(5)) && !board.is_everybodys(&works()));
    attempt(&mut board, 1, &works(), 4);
    attempt(&mut board, 0, &lapsed, 5);
    assert_eq!(usable(&board), [1, 2], "it is a's own trouble after all");
    assert!(!board.is_everybodys(&lapsed));

    let keys = vec![key("a", Some("x")), key("b", Some("x"))];
    let mut board = Board::new(&inventory(keys), Policy::default());
    attempt(&mut board, 0, &lapsed, 0);
    assert_eq!(usable(&board), Vec::<usize>::new(), "one account is no crowd");
}

#[test]
fn connections_and_engines_fail_no_key() {
    let mut board = board(2);
    let engine = answer(429, "The engine is currently overloaded");
    for second in 0..20 {
        attempt(&mut board, 0, &engine, second);
        attempt(&mut board, 0, &Verdict::of(Outcome::ConnectFailed), second);
        attempt(&mut board, 1, &works(), second);
    }
    assert_eq!(usable(&board), [0, 1]);
}

#[test]
fn a_key_much_slower_than_its_peers_is_shown_as_slow() {
    let mut board = board(3);
    let answer_in = |board: &mut Board, key, ms| {
        for second in 0..64 {
            let id = board.start(key, at(second));
            let finished = Finished { latency: Duration::from_millis(ms), ..Finished::default() };
            board.finish(key, id, &works(), &finished, at(second));
        }
    };
    answer_in(&mut board, 0, 9000);
    assert_eq!(health(&board, 0), HEALTHY, "slower than whom?");
    answer_in(&mut board, 1, 1000);
    answer_in(&mut board, 2, 1200);
    answer_in(&mut board, 0, 9000);
    assert_eq!(health(&board, 0), (KeyState::Warn, Some(Reason::Slow), None));
    assert_eq!(usable(&board), [0, 1, 2]);
    assert_eq!(health(&board, 1), HEALTHY);
}

#[test]
fn siblings_are_the_keys_of_an_account_declared_or_learnt() {
    let keys = vec![key("a", Some("work")), key("b", None), key("c", Some("work"))];
    let mut board = Board::new(&inventory(keys), Policy::default());
    assert_eq!((board.siblings(0), board.siblings(1)), (&[0, 2][..], &[1][..]));
    board.learn(1, &id("user-0123456789"), at(0));
    board.learn(2, &id("user-0123456789"), at(0));
    assert_eq!((board.siblings(0), board.siblings(1)), (&[0, 1, 2][..], &[0, 1, 2][..]));
    assert!(board.siblings(3).is_empty(), "that is no key's number");
}

#[test]
fn the_wait_of_some_keys_is_not_that_of_all() {
    let mut board = board(3);
    attempt(&mut board, 0, &too_fast(30), 0);
    let among =
        |board: &Board, keys: &[usize]| board.soonest_among(&keys.iter().copied().collect(), at(1));
    assert_eq!(board.soonest(at(1)), None);
    assert_eq!(among(&board, &[0]), Some(Exhausted::ShortWait { at: at(30) }));
    assert_eq!(among(&board, &[0, 1]), None);
    board.disable(0, at(1));
    assert_eq!(among(&board, &[0]), Some(Exhausted::NoneWorking { at: None }));
    assert_eq!(among(&board, &[]), Some(Exhausted::NoneWorking { at: None }));
}
