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
    state::KeyState,
};
use kmi_health::{
    Board, Policy, UpstreamKind,
    board::Finished,
    breaker::AttemptId,
    classify::{Answer, Effect, Verdict, classify},
    retry_after::RetryHeaders,
};

const TURNS: u32 = 200_000;
/// Keys 0 to 2 answer always well; the others flap.
const ALWAYS_HEALTHY: usize = 3;
const KEYS: usize = 8;

/// What a flapping key answers in its bad times.
const TROUBLES: [(u16, &str); 9] = [
    (429, "We're receiving too many requests at the moment"),
    (429, "please try again after 2 seconds"),
    (403, "You've reached your concurrent request limit"),
    (403, "You've reached your weekly (7-day) usage limit"),
    (402, "unable to verify your membership benefits"),
    (401, "<html>some gateway</html>"),
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
            account: None,
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

#[test]
fn healthy_keys_share_evenly_whatever_the_others_do() {
    let inventory = inventory();
    let ring = Arc::new(inventory.ring().unwrap());
    let mut board = Board::new(&inventory, Policy::default());
    let mut rotation = Rotation::new(Arc::clone(&ring));
    let mut dice = Dice(0x5EED);
    let mut now = Timestamp::UNIX_EPOCH;
    let mut served = [0i64; KEYS];
    let mut bad = [false; KEYS];
    let mut spread = 0;
    let mut blocks = 0;
    let mut running: Vec<(usize, AttemptId)> = Vec::new();

    for _ in 0..TURNS {
        now += Duration::from_millis(dice.roll(400) as u64);
        if board.next_change().is_some_and(|at| at <= now) {
            board.refresh(now);
        }
        if dice.roll(50) == 0 {
            let key = ALWAYS_HEALTHY + dice.roll(KEYS - ALWAYS_HEALTHY);
            bad[key] = !bad[key];
        }
        let eligible = Eligible::of(board.usable(), Arc::clone(&ring));
        let turn = rotation.next(&eligible, &KeySet::default()).expect("three are always usable");
        assert!(board.usable().contains(turn.key));
        served[turn.key] += 1;
        running.push((turn.key, board.start(turn.key, now)));
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
    }

    assert!(spread <= 1, "always-healthy keys drifted apart by {spread}");
    assert!(blocks > 300, "the simulation has to be rough: {blocks} blocks");
    // All keys are well again: within the longest cooldown and one probe each they all serve.
    for (key, id) in running {
        board.finish(key, id, &Verdict::of(Outcome::Ok), &Finished::default(), now);
    }
    now += Policy::default().max_cooldown;
    board.refresh(now);
    for key in 0..KEYS {
        assert!(board.usable().contains(key), "{:?}", board.row(key));
        let id = board.start(key, now);
        board.finish(key, id, &Verdict::of(Outcome::Ok), &Finished::default(), now);
        assert!(board.row(key).unwrap().state.is_usable());
    }
}
