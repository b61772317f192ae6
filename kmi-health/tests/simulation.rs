//! The real rotation over the real board for 200,000 turns, with keys that fail in every way:
//! always-healthy keys keep their fair share, and no key is stuck.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kmi_core::{
    eligible::{Eligible, KeySet},
    inventory::{Inventory, Key, Limits},
    key::{ApiKey, HomeSecret, KeyId, Label},
    outcome::Outcome,
    rotation::Rotation,
    state::{KeyState, Reason},
};
use kmi_health::{
    Board, Policy, UpstreamKind,
    board::{Exhausted, Finished},
    breaker::AttemptId,
    classify::{Answer, Effect, Verdict, classify},
    quota::Quota,
    retry_after::RetryHeaders,
};

const TURNS: u32 = 200_000;
/// Keys 0 to 2 answer always well; the others flap.
const ALWAYS_HEALTHY: usize = 3;
const KEYS: usize = 9;
/// Two of the flapping keys that are of one account, as their files say; and two that turn out to be.
const DECLARED: [usize; 2] = [5, 6];
const LEARNT: [usize; 2] = [7, 8];
/// Every flapping key is served within so many turns: more than an hour, which is the longest
/// cooldown.
const STRETCH: u32 = 40_000;

/// What a flapping key answers in its bad times.
const TROUBLES: [(u16, &str); 13] = [
    (429, "We're receiving too many requests at the moment"),
    (429, "please try again after 2 seconds"),
    (429, "request reached organization max RPM: 20, please try again after 1 seconds"),
    (429, "request reached organization max concurrency: 2, please try again after 1 seconds"),
    (403, "You've reached your concurrent request limit"),
    (403, "You've reached your weekly (7-day) usage limit"),
    (429, "You've reached your usage limit for this period"),
    (402, "unable to verify your membership benefits"),
    (401, "<html>some gateway</html>"),
    (401, "Invalid Authentication"),
    (429, "The engine is currently overloaded"),
    (500, "database=membership_benefit"),
    (503, ""),
];

/// A small generator with a fixed seed: the simulation is the same at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("less than sides")
    }
}

fn inventory() -> Inventory {
    let key = |number: usize| {
        let secret = ApiKey::parse(&format!("sk-simulated-{number}")).expect("a key");
        Arc::new(Key {
            id: KeyId::derive(&HomeSecret::new([0; 32]), &secret),
            label: Label::parse(&format!("key-{number}")).expect("a label"),
            secret,
            upstream: "kimi".into(),
            priority: 0,
            weight: 1,
            account: DECLARED.contains(&number).then(|| "declared".into()),
            tags: Vec::new(),
            disabled: false,
            limits: Limits::default(),
            origin: "simulation".into(),
        })
    };
    Inventory::new((0..KEYS).map(key).collect())
}

fn trouble(dice: &mut Dice, now: Timestamp) -> Verdict {
    let (status, message) = TROUBLES[dice.roll(TROUBLES.len())];
    let kind = UpstreamKind::KimiCode;
    let body = message.as_bytes();
    classify(&Answer { kind, status, retry: RetryHeaders::default(), body }, now)
}

/// What `/usages` says of an account: at times that a window is spent, which starts anew soon.
fn quota(dice: &mut Dice, key: usize, now: Timestamp) -> Quota {
    let account = if LEARNT.contains(&key) { "learnt".to_owned() } else { format!("user-{key}") };
    let body = format!(
        r#"{{"user":{{"userId":"{account}"}},"parallel":{{"limit":"20"}},
            "usage":{{"limit":"100","used":"{}","ttl":{}}},
            "usages":{{"limit_5h":{{"used_ratio":{},"ttl":{}}}}}}}"#,
        dice.roll(101),
        dice.roll(3_000),
        dice.roll(2),
        dice.roll(3_000),
    );
    Quota::of_usages(body.as_bytes(), now).expect("an answer")
}

/// When a key will be usable, where it is not: soon, unless it waits for the user.
fn is_stuck(board: &Board, key: usize, now: Timestamp) -> bool {
    let at = match board.soonest_among(&KeySet::from_iter([key]), now) {
        None => return false,
        Some(Exhausted::ShortWait { at }) => Some(at),
        Some(Exhausted::QuotaSpent { at } | Exhausted::NoneWorking { at }) => at,
    };
    let reason = board.row(key).and_then(|row| row.reason);
    let longest = Policy::default().max_cooldown;
    match at {
        Some(at) => at > now + longest,
        None => !reason.is_some_and(Reason::needs_the_user),
    }
}

#[test]
fn healthy_keys_share_evenly_whatever_the_others_do() {
    let inventory = inventory();
    let ring = Arc::new(inventory.ring().unwrap());
    let mut board = Board::new(&inventory, Policy::default());
    let mut rotation = Rotation::new(Arc::clone(&ring));
    let mut dice = Dice(0x5EED);
    let mut now = Timestamp::UNIX_EPOCH;
    let mut served = [0i64; KEYS];
    let mut at_stretch = served;
    let mut bad = [false; KEYS];
    let mut spread = 0;
    let mut blocks = 0;
    let mut running: Vec<(usize, AttemptId)> = Vec::new();

    for turn in 1..=TURNS {
        now += Duration::from_millis(dice.roll(400) as u64);
        if board.next_change().is_some_and(|at| at <= now) {
            board.refresh(now);
        }
        let flapping = ALWAYS_HEALTHY + dice.roll(KEYS - ALWAYS_HEALTHY);
        match dice.roll(500) {
            0..10 => bad[flapping] = !bad[flapping],
            // The user looks after a key, and the quota is asked.
            10 => drop(board.clear(flapping, now)),
            11 => drop(board.set_quota(flapping, quota(&mut dice, flapping, now), now)),
            12 => drop(board.quota_failed(flapping, now)),
            13 => assert!((0..KEYS).all(|key| !is_stuck(&board, key, now))),
            _ => {}
        }
        let eligible = Eligible::of(board.usable(), Arc::clone(&ring));
        let chosen = rotation.next(&eligible, &KeySet::default()).expect("three are always usable");
        assert!(board.usable().contains(chosen.key));
        served[chosen.key] += 1;
        running.push((chosen.key, board.start(chosen.key, now)));
        let healthy = &served[..ALWAYS_HEALTHY];
        spread = spread.max(healthy.iter().max().unwrap() - healthy.iter().min().unwrap());

        // Up to five requests are under way; they end in any order.
        while running.len() > 5 || (!running.is_empty() && dice.roll(2) == 0) {
            let at = dice.roll(running.len());
            let (key, id) = running.swap_remove(at);
            let verdict = if bad[key] { trouble(&mut dice, now) } else { Verdict::of(Outcome::Ok) };
            let changes = board.finish(key, id, &verdict, &Finished::default(), now);
            blocks += changes.iter().filter(|change| change.to == KeyState::Blocked).count();
            assert!(matches!(verdict.effect, Effect::Works) || key >= ALWAYS_HEALTHY);
        }
        if turn % STRETCH == 0 {
            assert!(
                (0..KEYS).all(|key| served[key] > at_stretch[key]),
                "{served:?} {at_stretch:?}"
            );
            at_stretch = served;
        }
    }

    assert!(spread <= 1, "always-healthy keys drifted apart by {spread}");
    assert!(blocks > 1000, "the simulation has to be rough: {blocks} blocks");
    assert_eq!(board.undeclared_siblings(), [LEARNT]);
    // All keys are well again, and the user has looked after them: within the longest cooldown and
    // one probe each they all serve.
    for (key, id) in running {
        board.finish(key, id, &Verdict::of(Outcome::Ok), &Finished::default(), now);
    }
    now += Policy::default().max_cooldown;
    board.refresh(now);
    for key in 0..KEYS {
        if board.row(key).and_then(|row| row.reason).is_some_and(Reason::needs_the_user) {
            board.clear(key, now);
        }
        assert!(board.usable().contains(key), "{:?}", board.row(key));
        let id = board.start(key, now);
        board.finish(key, id, &Verdict::of(Outcome::Ok), &Finished::default(), now);
        assert!(board.row(key).unwrap().state.is_usable());
    }
}
