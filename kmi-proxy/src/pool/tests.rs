//! The choice of a key under the orders in which requests, health, reloads and time can come:
//! threads of shuttle's, of which one runs until its next lock, and the verifier as the judge.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use jiff::SignedDuration;
use kmi_core::{
    inventory::Limits,
    key::{ApiKey, HomeSecret},
    outcome::Outcome,
    state::Reason,
    trace::{Attempt, Record},
};
use kmi_health::classify::{Action, Block, Effect, Scope};
use kmi_stats::verify::{InFlight, Options, Verifier};
use shuttle::thread;

use super::*;
use crate::{
    ledger::samples::{self, Unwritten},
    lock::scheduled::scheduled,
    settings::UpstreamSettings,
};

/// A pool, with a clock and a trace that only this test has.
struct World {
    pool: Pool,
    trace: Unwritten,
    /// In milliseconds; every look at it is a millisecond.
    clock: AtomicI64,
    /// Turns that were given out, as clients know them.
    turns: AtomicU64,
    /// Those of them whose lines the trace has.
    written: AtomicU64,
    /// While this is odd, the key `key-2` is switched off.
    switched: AtomicU64,
}

/// Keys by number, each with its weight.
fn inventory(keys: &[(u32, u32)]) -> Inventory {
    let home = HomeSecret::new([42; 32]);
    let key = |&(n, weight): &(u32, u32)| {
        let secret = ApiKey::parse(&format!("sk-test-key-{n:05}")).unwrap();
        Arc::new(Key {
            id: KeyId::derive(&home, &secret),
            label: Label::parse(&format!("key-{n}")).unwrap(),
            secret,
            upstream: "kimi".into(),
            priority: 0,
            weight,
            account: None,
            tags: Vec::new(),
            disabled: false,
            limits: Limits::default(),
            origin: "test".into(),
        })
    };
    Inventory::new(keys.iter().map(key).collect())
}

impl World {
    fn new(keys: &[(u32, u32)], page: &Path) -> Arc<Self> {
        let trace = Unwritten::default();
        let settings =
            UpstreamSettings { base_url: "http://127.0.0.1:1".into(), ..Default::default() };
        let start = Start {
            inventory: inventory(keys),
            policy: Policy::default(),
            resumed: None,
            page: samples::page(page),
            mode: Mode::Auto,
            failover: true,
            active: None,
            disabled: HashSet::new(),
        };
        let journal = Journal::new("kimi".into(), trace.sink(), trace.settings());
        let way = Upstream::new(&settings).unwrap();
        let pool = Pool::open(way, journal, start, samples::at(0)).unwrap();
        let (clock, turns, written, switched) = Default::default();
        Arc::new(Self { pool, trace, clock, turns, written, switched })
    }

    fn now(&self) -> Timestamp {
        let ms = self.clock.fetch_add(1, Ordering::Relaxed);
        samples::at(0) + SignedDuration::from_millis(ms)
    }

    /// A request whose first attempts are refused, each with another key; as `forward` has it.
    fn request(&self, mut refusals: u32) {
        let mut tried = Tried::default();
        loop {
            let off = self.switched.load(Ordering::Relaxed);
            let picked = self.pool.pick(&tried, None, &Affinity::None, self.now());
            let Ok(picked) = picked else { return };
            let off_all_the_time = off % 2 == 1 && self.switched.load(Ordering::Relaxed) == off;
            assert!(!off_all_the_time || &*picked.key.label.shared() != "key-2");
            self.turns.fetch_add(1, Ordering::Relaxed);
            let verdict = if refusals > 0 { refusal() } else { Verdict::of(Outcome::Ok) };
            let latency = Duration::from_millis(20);
            let (model, account) = (None, None);
            let seen = Seen { verdict: &verdict, model, latency, tokens: 9, account };
            self.pool.observe(&picked, &seen, self.now());
            // The line is written after the lock was let go of: others may come between.
            self.nothing_is_missing();
            self.trace.sink().push(Record::Attempt(self.line(&picked, verdict.outcome)));
            self.written.fetch_add(1, Ordering::Relaxed);
            self.nothing_is_missing();
            self.pool.recorded(&picked);
            if refusals == 0 {
                return;
            }
            refusals -= 1;
            tried.add(&picked);
        }
    }

    fn line(&self, picked: &Picked, outcome: Outcome) -> Attempt {
        let place = picked.turn.expect("in auto mode every attempt is a turn");
        Attempt {
            ts: self.now(),
            turn: Some(place.number),
            epoch: picked.epoch,
            prev_slot: place.prev_slot,
            slot: Some(place.slot),
            key: Arc::clone(&picked.key_id),
            label: picked.key.label.shared(),
            eligible: Arc::clone(&picked.eligible),
            tried: picked.tried.clone(),
            outcome,
            ..samples::attempt("kimi", 1, 1)
        }
    }

    /// Who asks what is in flight, and then reads the trace, finds every turn.
    fn nothing_is_missing(&self) {
        let (open, newest) = self.pool.turns_in_flight();
        assert!(
            newest - open <= self.written.load(Ordering::Relaxed),
            "{newest} turns, {open} open"
        );
    }

    /// Every turn that was given out is in the trace, and follows the rule.
    fn judge(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        assert_eq!(self.pool.turns_in_flight(), (turns - written, turns));
        let mut verifier = Verifier::new(Options::default());
        self.trace.take().into_iter().for_each(|record| verifier.unchained(record));
        let report = verifier.report(&InFlight::None);
        let all = &report.all;
        assert_eq!((all.turns, all.conforming, all.open), (turns, turns, 0), "{report:#?}");
        assert_eq!((all.violations, all.unverifiable, all.unlinked), (0, 0, 0), "{report:#?}");
        assert!(all.max_pair_gap <= 1.0 + 1e-9, "{report:#?}");
    }
}

/// Too many requests: the key rests for ten seconds.
fn refusal() -> Verdict {
    let wait = Some(Duration::from_secs(10));
    let block = Block { reason: Reason::RateLimited, scope: Scope::Key, wait, window: None };
    let effect = Effect::Block(block);
    Verdict { effect, action: Action::NextKey, ..Verdict::of(Outcome::RateLimited) }
}

type Part = Box<dyn FnOnce(&World) + Send>;

fn part(part: impl FnOnce(&World) + Send + 'static) -> Part {
    Box::new(part)
}

/// Lets the parts happen at once, and judges.
fn at_once(world: &Arc<World>, parts: Vec<Part>) {
    let begin = |part: Part| {
        let world = Arc::clone(world);
        thread::spawn(move || part(&world))
    };
    let threads: Vec<_> = parts.into_iter().map(begin).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    world.judge();
}

/// Three clients, two of them with refused keys, while a key is switched off and on, time passes
/// until refused keys may serve again, and the keys change twice.
fn a_busy_moment(page: &Path) {
    let world = World::new(&[(1, 1), (2, 1), (3, 2)], page);
    let parts = vec![
        part(|world| (0..3).for_each(|_| world.request(0))),
        part(|world| (0..2).for_each(|_| world.request(1))),
        part(|world| world.request(2)),
        part(|world| {
            world.pool.set_disabled("key-2", true, world.now());
            world.switched.fetch_add(1, Ordering::Relaxed);
            world.request(0);
            world.switched.fetch_add(1, Ordering::Relaxed);
            world.pool.set_disabled("key-2", false, world.now());
            world.pool.reset("key-1", world.now());
        }),
        part(|world| {
            world.clock.fetch_add(11_000, Ordering::Relaxed);
            world.pool.rows(world.now());
        }),
        part(|world| {
            for keys in [&[(1, 1), (2, 1), (3, 2), (4, 1)][..], &[(2, 3), (3, 2), (4, 1)]] {
                world.pool.adopt(inventory(keys), Policy::default(), world.now()).unwrap();
            }
        }),
    ];
    at_once(&world, parts);
}

/// A request that outlives a reload: its third attempt leaves out both keys that it has tried.
#[test]
fn tried_keys_keep_their_numbers_up_to_date() {
    let (_dir, page) = page();
    let world = World::new(&[(10, 1), (20, 1), (30, 1), (40, 1)], &page);
    let mut tried = Tried::default();
    let mut labels = Vec::new();
    for keys in [&[(10, 1), (20, 1), (30, 1), (40, 1)][..], &[(10, 1), (15, 1), (20, 1), (30, 1)]] {
        world.pool.adopt(inventory(keys), Policy::default(), world.now()).unwrap();
        for _ in 0..2 {
            let picked = world.pool.pick(&tried, None, &Affinity::None, world.now()).unwrap();
            let is_new = !labels.contains(&picked.key.label);
            assert!(is_new, "{} again after {labels:?}", picked.key.label.as_str());
            labels.push(picked.key.label.clone());
            tried.add(&picked);
            world.turns.fetch_add(1, Ordering::Relaxed);
            world.trace.sink().push(Record::Attempt(world.line(&picked, Outcome::Ok)));
        }
    }
}

/// Two reloads without a turn between, the first of which takes away the key that served last:
/// the cursor is where that key's place is, and not its neighbour's.
#[test]
fn a_key_that_came_and_went_leaves_the_cursor_where_it_was() {
    let (_dir, page) = page();
    for reloads in [
        &[&[(10, 1), (30, 1)][..], &[(10, 1), (15, 1), (30, 1)]][..],
        &[&[], &[(10, 1), (15, 1), (30, 1)]],
        &[&[(10, 2), (30, 1)], &[(10, 3), (30, 1)]],
    ] {
        let world = World::new(&[(10, 1), (20, 1), (30, 1)], &page);
        (0..2).for_each(|_| world.request(0));
        for keys in reloads {
            world.pool.adopt(inventory(keys), Policy::default(), world.now()).unwrap();
        }
        (0..3).for_each(|_| world.request(0));
        world.judge();
    }
}

fn page() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("turns.page");
    (dir, path)
}

#[test]
fn in_any_order_every_turn_follows_the_rule() {
    let (_dir, page) = page();
    let test = move || a_busy_moment(&page);
    scheduled(|| shuttle::check_random(test.clone(), 200));
    scheduled(|| shuttle::check_pct(test, 100, 4));
}

/// Every order that there is of two requests and a key that goes away, and of one request and a
/// key that comes back, too.
#[test]
fn every_order_of_few_requests_and_a_flapping_key() {
    let (_dir, page) = page();
    let pick = |world: &World| {
        let picked = world.pool.pick(&Tried::default(), None, &Affinity::None, world.now());
        world.turns.fetch_add(1, Ordering::Relaxed);
        world.trace.sink().push(Record::Attempt(world.line(&picked.unwrap(), Outcome::Ok)));
    };
    let switch = |world: &World, off: bool| {
        world.pool.set_disabled("key-1", off, world.now());
    };
    let leaving = {
        let page = page.clone();
        move || {
            let world = World::new(&[(1, 1), (2, 1)], &page);
            at_once(&world, vec![part(pick), part(pick), part(move |it| switch(it, true))]);
        }
    };
    let flapping = move || {
        let world = World::new(&[(1, 1), (2, 1)], &page);
        let flap = move |it: &World| [true, false].into_iter().for_each(|off| switch(it, off));
        at_once(&world, vec![part(pick), part(flap)]);
    };
    scheduled(|| shuttle::check_dfs(leaving, None));
    scheduled(|| shuttle::check_dfs(flapping, None));
}

/// What these tests are for: a choice that lets go of the lock before its turn has a number.
#[test]
#[should_panic(expected = "the turns part")]
fn a_choice_in_two_steps_is_found_out() {
    let test = || {
        let cursor = Arc::new(shuttle::sync::Mutex::new((0, 0)));
        let turns = Arc::new(shuttle::sync::Mutex::new(Vec::new()));
        let clients = (0..2).map(|_| {
            let (cursor, turns) = (Arc::clone(&cursor), Arc::clone(&turns));
            thread::spawn(move || {
                let slot = (cursor.lock().unwrap().0 + 1) % 3;
                let mut last = cursor.lock().unwrap();
                *last = (slot, last.1 + 1);
                turns.lock().unwrap().push((last.1, slot));
            })
        });
        clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
        let mut turns = turns.lock().unwrap().clone();
        turns.sort_unstable();
        assert_eq!(turns, [(1, 1), (2, 2)], "the turns part");
    };
    shuttle::check_dfs(test, None);
}
