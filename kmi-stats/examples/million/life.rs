//! What happens to the rotations of two upstreams, as the records that tell of it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kmi_core::{
    eligible::{Eligible, KeySet},
    inventory::{Inventory, Key, Limits, Served},
    key::{ApiKey, HomeSecret, KeyId, Label},
    outcome::Outcome,
    rotation::{Rotation, Turn},
    state::{Mode, Policy},
    trace::{Attempt, Epoch, EpochKey, Gap, Record},
};

/// Why there is no life: the keys it is made of are wrong.
pub(crate) type Error = Box<dyn std::error::Error>;

/// Both upstreams, and the dice.
pub(crate) struct Life {
    dice: Dice,
    now: Timestamp,
    upstreams: Vec<Upstream>,
}

impl Life {
    pub(crate) fn new(seed: u64) -> Result<Self, Error> {
        let now = Timestamp::from_second(1_795_000_000)?;
        let upstreams = ["kimi", "kimi-code"].map(Upstream::new);
        Ok(Self {
            dice: Dice(seed.max(1)),
            now,
            upstreams: upstreams.into_iter().collect::<Result<_, _>>()?,
        })
    }

    /// Turns that were given out.
    pub(crate) fn turns(&self) -> u64 {
        self.upstreams.iter().map(|it| it.rotation.last_turn()).sum()
    }

    /// The next 10 ms.
    pub(crate) fn step(&mut self, records: &mut Vec<Record>) -> Result<(), Error> {
        self.now += SignedDuration::from_millis(10);
        let which = self.dice.below(self.upstreams.len() as u64);
        if self.dice.one_in(5_000) {
            self.upstreams.iter_mut().for_each(|it| it.die(self.now, records));
        }
        let upstream = &mut self.upstreams[usize::try_from(which)?];
        if !upstream.begun || self.dice.one_in(3_000) {
            upstream.change(self.now, &mut self.dice, records)?;
        }
        if self.dice.one_in(20) {
            let key = usize::try_from(self.dice.below(8))?;
            let usable = !self.dice.one_in(3);
            upstream.eligible.set(key, usable);
        }
        upstream.request(self.now, &mut self.dice);
        upstream.write_what_ended(self.now, records);
        Ok(())
    }

    /// Everything in flight ends.
    pub(crate) fn end(&mut self, records: &mut Vec<Record>) {
        self.upstreams.iter_mut().for_each(|it| it.write_what_ended(Timestamp::MAX, records));
    }
}

struct Upstream {
    name: Arc<str>,
    inventory: Inventory,
    rotation: Rotation,
    eligible: Eligible,
    begun: bool,
    last: Option<Served>,
    in_flight: Vec<(Attempt, Turn)>,
}

impl Upstream {
    fn new(name: &str) -> Result<Self, Error> {
        let inventory = inventory(name, 0xff, 0)?;
        let ring = Arc::new(inventory.ring()?);
        Ok(Self {
            name: name.into(),
            inventory,
            eligible: Eligible::all(Arc::clone(&ring)),
            rotation: Rotation::new(ring),
            begun: false,
            last: None,
            in_flight: Vec::new(),
        })
    }

    /// Another set of keys, other weights and priorities; the very first ring at the beginning.
    fn change(
        &mut self,
        now: Timestamp,
        dice: &mut Dice,
        records: &mut Vec<Record>,
    ) -> Result<(), Error> {
        if self.begun {
            self.inventory = inventory(&self.name, dice.below(256), dice.below(u64::MAX))?;
            let ring = Arc::new(self.inventory.ring()?);
            let cursor = self.inventory.inherit(&ring, self.last.as_ref());
            self.eligible = Eligible::all(Arc::clone(&ring));
            let (epoch, last_turn) = (self.rotation.epoch() + 1, self.rotation.last_turn());
            self.rotation = Rotation::resume(ring, epoch, cursor, last_turn);
        }
        self.begun = true;
        let key = |key: &Arc<Key>| EpochKey {
            key: key.id.to_string().into(),
            label: key.label.shared(),
            weight: key.weight,
            tier: key.priority,
        };
        records.push(Record::Epoch(Epoch {
            ts: now,
            epoch: self.rotation.epoch(),
            upstream: Arc::clone(&self.name),
            keys: self.inventory.keys().iter().map(key).collect(),
            ring: self.rotation.ring().layout().to_vec(),
            cursor: self.rotation.cursor(),
        }));
        Ok(())
    }

    /// A request of up to three attempts, each with another key.
    fn request(&mut self, now: Timestamp, dice: &mut Dice) {
        let mut tried = KeySet::default();
        for attempt in 1..=3 {
            let Some(turn) = self.rotation.next(&self.eligible, &tried) else { return };
            let key = &self.inventory.keys()[turn.key];
            self.last = Some(Served { id: key.id, label: key.label.shared(), tier: key.priority });
            let failed = dice.one_in(10);
            let took = dice.below(120);
            let mut row = self.attempt(&turn, key, &tried, attempt, failed);
            row.latency_ms = took;
            row.ts = now + SignedDuration::from_millis(i64::try_from(took).unwrap_or(0));
            tried.insert(turn.key);
            self.in_flight.push((row, turn));
            if !failed {
                return;
            }
        }
    }

    fn attempt(
        &self,
        turn: &Turn,
        key: &Key,
        tried: &KeySet,
        attempt: u32,
        failed: bool,
    ) -> Attempt {
        Attempt {
            ts: Timestamp::UNIX_EPOCH,
            turn: Some(turn.number),
            epoch: turn.epoch,
            prev_slot: turn.prev_slot,
            slot: Some(turn.slot),
            key: key.id.to_string().into(),
            label: key.label.shared(),
            eligible: Arc::clone(&turn.eligible),
            tried: tried.clone(),
            request_id: format!("{:032x}", turn.number).into(),
            session_id: Some("0b5c1a52-7d3e-4a0e-9a53-4a3f27b0b0c1".into()),
            attempt,
            mode: Mode::Auto,
            policy: Policy::RoundRobin,
            upstream: Arc::clone(&self.name),
            method: "POST".into(),
            path: "/chat/completions".into(),
            model: Some("kimi-for-coding".into()),
            stream: Some(true),
            status: Some(if failed { 429 } else { 200 }),
            outcome: if failed { Outcome::RateLimited } else { Outcome::Ok },
            error: None,
            queue_ms: 0,
            connect_ms: 0,
            ttfb_ms: Some(8),
            latency_ms: 0,
            prompt_tokens: Some(48_210),
            completion_tokens: Some(913),
            cached_tokens: Some(47_104),
            request_bytes: 193_004,
            response_bytes: 61_877,
        }
    }

    fn write_what_ended(&mut self, now: Timestamp, records: &mut Vec<Record>) {
        let ended = self.in_flight.extract_if(.., |(row, _)| row.ts <= now);
        records.extend(ended.map(|(row, _)| Record::Attempt(row)));
    }

    /// The process is killed and started again: nobody knows how the turns in flight ended.
    fn die(&mut self, now: Timestamp, records: &mut Vec<Record>) {
        self.in_flight.sort_by_key(|(_, turn)| turn.number);
        let follows = |a: &(Attempt, Turn), b: &(Attempt, Turn)| {
            (a.1.number + 1, a.1.epoch) == (b.1.number, b.1.epoch)
        };
        for run in self.in_flight.chunk_by(follows) {
            let [(_, first), ..] = run else { continue };
            records.push(Record::Gap(Gap {
                ts: now,
                upstream: Arc::clone(&self.name),
                epoch: first.epoch,
                from_turn: first.number,
                to_turn: first.number + run.len() as u64 - 1,
                slots: Some(run.iter().map(|(_, turn)| turn.slot).collect()),
                reason: "the process ended without a word".into(),
            }));
        }
        self.in_flight.clear();
    }
}

/// Up to eight keys: the bits of `present` say which, each byte of `looks` how one of them is.
fn inventory(upstream: &str, present: u64, looks: u64) -> Result<Inventory, Error> {
    let home = HomeSecret::new([7; 32]);
    let key = |n: u64| {
        let look = looks >> (8 * n);
        let secret = ApiKey::parse(&format!("sk-{upstream}-{n}"))?;
        Ok(Arc::new(Key {
            id: KeyId::derive(&home, &secret),
            label: Label::parse(&format!("key-{n}"))?,
            secret,
            upstream: upstream.into(),
            priority: i32::from(look & 0xc == 0xc),
            weight: 1 + u32::from(look & 1 != 0) + u32::from(look & 3 == 3),
            account: None,
            tags: Vec::new(),
            disabled: false,
            limits: Limits::default(),
            origin: "example".into(),
        }))
    };
    let there = (0..8).filter(|n| *n == 0 || present & (1 << n) != 0);
    Ok(Inventory::new(there.map(key).collect::<Result<_, Error>>()?))
}

/// Small dice (xorshift): the same throws on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % limit
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
