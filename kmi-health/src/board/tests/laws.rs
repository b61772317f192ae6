//! What holds after every sequence of verdicts and times.

use proptest::prelude::*;

use super::*;
use crate::{account::AccountId, quota::Quota};

#[derive(Debug, Clone)]
enum Step {
    Start(usize),
    End(usize, usize),
    Pass(i64),
    Disable(usize),
    Enable(usize),
    Learn(usize, u8),
    Quota(usize, u32, i64),
    Reload,
}

fn verdicts() -> Vec<Verdict> {
    let answers = [
        (401, "Invalid Authentication"),
        (401, "?"),
        (402, ""),
        (403, "You've reached your weekly usage limit"),
        (403, "reached your concurrent request limit"),
        (429, "max concurrency: 2, please try again after 1 seconds"),
        (429, "max RPM: 3, please try again after 1 seconds"),
        (404, "Not found the model k3 or Permission denied"),
        (429, ""),
        (429, "please try again after 99999999999999999999 seconds"),
        (429, "engine is currently overloaded"),
        (500, ""),
        (503, ""),
    ];
    let transport = Outcome::ALL.map(Verdict::of);
    let typed = [
        typed(403, "access_terminated_error", "Access terminated"),
        typed(403, "permission_error", "a new sentence"),
    ];
    let answers = answers.map(|(status, message)| answer(status, message));
    answers.into_iter().chain(typed).chain(transport).collect()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..6).prop_map(Step::Start),
        6 => (any::<usize>(), any::<usize>()).prop_map(|(n, verdict)| Step::End(n, verdict)),
        4 => (0i64..4000).prop_map(Step::Pass),
        1 => (0usize..6).prop_map(Step::Disable),
        1 => (0usize..6).prop_map(Step::Enable),
        1 => (0usize..6, 0u8..3).prop_map(|(key, id)| Step::Learn(key, id)),
        1 => (0usize..6, 0u32..101, 0i64..90_000).prop_map(|(key, used, reset)| Step::Quota(key, used, reset)),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 0..120)
}

/// What must hold after every step.
fn check(board: &Board, changes: &[HealthChange], now: Timestamp) -> Result<(), TestCaseError> {
    for (key, entry) in board.keys.iter().enumerate() {
        let account = &board.accounts[entry.account];
        let breakers = entry.breaker.admits() && account.breaker.admits();
        let naive = !entry.is_off() && breakers && entry.admits(now) && account.admits(now);
        prop_assert_eq!(board.usable.contains(key), naive, "key {}", key);
        prop_assert_eq!(entry.shown, board.health(key));
        prop_assert_eq!(naive, naive && entry.shown.state.is_usable());
        let until = entry.shown.until;
        if entry.shown.state == KeyState::Blocked {
            let for_ever = entry.shown.reason.is_some_and(Reason::needs_the_user);
            prop_assert_eq!(until.is_none(), for_ever);
        }
    }
    for account in &board.accounts {
        let members = account.members.iter().map(|key| board.keys[*key].usage.in_flight());
        prop_assert_eq!(account.usage.in_flight(), members.sum::<u64>());
    }
    for change in changes.iter().filter(|change| change.to == KeyState::Blocked) {
        prop_assert!(change.until.is_none_or(|until| until > now), "{:?}", change);
    }
    prop_assert!(board.next_change.is_none_or(|at| at > now));
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_leaves_a_key_blocked_for_ever(steps in steps()) {
        let keys = || vec![key("a", Some("x")), key("b", Some("x")), key("c", None), key("d", None), key("e", None)];
        let (mut board, mut now, mut running) = (Board::new(&inventory(keys()), Policy::default()), at(0), Vec::new());
        let verdicts = verdicts();
        for step in steps {
            let changes = match step {
                Step::Start(key) => {
                    running.push((key, board.start(key, now)));
                    Vec::new()
                }
                Step::End(..) if running.is_empty() => Vec::new(),
                Step::End(n, verdict) => {
                    let (key, id) = running.swap_remove(n % running.len());
                    let finished = Finished { model: Some("k3"), ..Finished::default() };
                    board.finish(key, id, &verdicts[verdict % verdicts.len()], &finished, now)
                }
                Step::Pass(seconds) => {
                    now = cooldown::later(now, Duration::from_secs(seconds.unsigned_abs()));
                    board.refresh(now)
                }
                Step::Disable(key) => board.disable(key, now),
                Step::Enable(key) => board.enable(key, now),
                Step::Learn(key, id) => {
                    board.learn(key, &AccountId::of_user(&[b'a' + id]).unwrap(), now)
                }
                Step::Quota(key, used, reset) => {
                    let body = serde_json::json!({
                        "usage": { "limit": 100, "used": used, "ttl": reset },
                        "parallel": { "limit": used % 7 },
                    });
                    match Quota::of_usages(body.to_string().as_bytes(), now) {
                        Ok(quota) => board.set_quota(key, quota, now),
                        Err(_) => board.quota_failed(key, now),
                    }
                }
                Step::Reload => {
                    let mut new = Board::new(&inventory(keys()), Policy::default());
                    let changes = new.adopt(&board, now);
                    board = new;
                    changes
                }
            };
            check(&board, &changes, now)?;
        }
        for (key, id) in running {
            board.finish(key, id, &Verdict::of(Outcome::ClientGone), &Finished::default(), now);
        }
        // After the longest wait every key serves again, but for those the user must mend.
        board.refresh(cooldown::later(now, LONGEST));
        for key in 0..5 {
            let row = board.row(key).unwrap();
            let users = row.state == KeyState::Disabled || row.reason.is_some_and(Reason::needs_the_user);
            prop_assert!(users || board.usable().contains(key), "{:?}", row);
        }
    }
}
