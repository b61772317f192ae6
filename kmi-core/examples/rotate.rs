//! Three keys take turns; one is blocked for a while, one request is retried, and the trace of it
//! all is printed as `kmi verify FILE` reads it.
//!
//!     cargo run -p kmi-core --example rotate [-- gap | violated]
//!
//! With `gap` the process is killed while requests 4 and 5 are under way; with `violated` somebody
//! who prefers `alpha` has put it into the line of request 5, and chained the lines anew.

#![expect(clippy::print_stdout, reason = "printing is what the example is for")]

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kmi_core::{
    eligible::{Eligible, KeySet},
    inventory::{Inventory, Key, Limits},
    key::{ApiKey, HomeSecret, KeyId, Label},
    outcome::Outcome,
    rotation::{Rotation, Turn},
    state::{Mode, Policy},
    trace::{Attempt, ChainHash, Epoch, EpochKey, Gap, Record, seal},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let story = std::env::args().nth(1);
    let (killed, forged) = (story.as_deref() == Some("gap"), story.as_deref() == Some("violated"));
    let home = HomeSecret::new([42; 32]);
    let keys = ["alpha", "beta", "gamma"].map(|label| key(&home, label));
    let inventory = Inventory::new(keys.into_iter().collect::<Result<_, _>>()?);
    let ring = Arc::new(inventory.ring()?);
    let mut rotation = Rotation::new(Arc::clone(&ring));
    let mut eligible = Eligible::all(Arc::clone(&ring));

    let mut trace = Trace { seq: 0, head: ChainHash::START };
    let mut now = Timestamp::UNIX_EPOCH;
    let mut lost = Vec::new();
    trace.print(&Record::Epoch(epoch(&inventory, &rotation, now)))?;
    for request in 1..=9 {
        now += SignedDuration::from_secs(1);
        // `beta` cannot serve requests 4 to 6, and `gamma` refuses request 8.
        eligible.set(1, !(4..=6).contains(&request));
        let mut tried = KeySet::default();
        while let Some(turn) = rotation.next(&eligible, &tried) {
            let refused = request == 8 && turn.key == 2;
            let outcome = if refused { Outcome::RateLimited } else { Outcome::Ok };
            let key = &inventory.keys()[turn.key];
            let mut row = attempt(key, &turn, &tried, request, outcome, now);
            if forged && request == 5 {
                let alpha = &inventory.keys()[0];
                (row.slot, row.label) = (Some(0), alpha.label.shared());
                row.key = alpha.id.to_string().into();
            }
            match request {
                4 | 5 if killed => lost.push(turn.slot),
                _ => trace.print(&Record::Attempt(row))?,
            }
            if killed && request == 5 {
                trace.print(&Record::Gap(gap(&turn, std::mem::take(&mut lost), now)))?;
            }
            if !refused {
                break;
            }
            tried.insert(turn.key);
        }
    }
    Ok(())
}

/// Prints records as chained lines.
struct Trace {
    seq: u64,
    head: ChainHash,
}

impl Trace {
    fn print(&mut self, record: &Record) -> Result<(), Box<dyn std::error::Error>> {
        let mut line = Vec::new();
        self.seq += 1;
        self.head = seal(record, self.seq, &self.head, &mut line)?;
        println!("{}", String::from_utf8(line)?);
        Ok(())
    }
}

fn key(home: &HomeSecret, label: &str) -> Result<Arc<Key>, Box<dyn std::error::Error>> {
    let secret = ApiKey::parse(&format!("sk-example-{label}"))?;
    Ok(Arc::new(Key {
        id: KeyId::derive(home, &secret),
        label: Label::parse(label)?,
        secret,
        upstream: "kimi".into(),
        priority: 0,
        weight: 1,
        account: None,
        tags: Vec::new(),
        disabled: false,
        limits: Limits::default(),
        origin: "example".into(),
    }))
}

fn epoch(inventory: &Inventory, rotation: &Rotation, ts: Timestamp) -> Epoch {
    let row = |key: &Arc<Key>| EpochKey {
        key: key.id.to_string().into(),
        label: key.label.shared(),
        weight: key.weight,
        tier: key.priority,
    };
    Epoch {
        ts,
        epoch: rotation.epoch(),
        upstream: "kimi".into(),
        keys: inventory.keys().iter().map(row).collect(),
        ring: rotation.ring().layout().to_vec(),
        cursor: rotation.cursor(),
    }
}

/// The run of turns that ends with this one; how they ended is not known.
fn gap(last: &Turn, slots: Vec<usize>, ts: Timestamp) -> Gap {
    Gap {
        ts,
        upstream: "kimi".into(),
        epoch: last.epoch,
        from_turn: last.number + 1 - slots.len() as u64,
        to_turn: last.number,
        slots: Some(slots),
        reason: "process_died".into(),
    }
}

fn attempt(
    key: &Key,
    turn: &Turn,
    tried: &KeySet,
    request: u32,
    outcome: Outcome,
    ts: Timestamp,
) -> Attempt {
    Attempt {
        ts,
        turn: Some(turn.number),
        epoch: turn.epoch,
        prev_slot: turn.prev_slot,
        slot: Some(turn.slot),
        key: key.id.to_string().into(),
        label: key.label.shared(),
        eligible: Arc::clone(&turn.eligible),
        tried: tried.clone(),
        request_id: format!("request-{request}").into(),
        session_id: None,
        attempt: if tried.is_empty() { 1 } else { 2 },
        mode: Mode::Auto,
        policy: Policy::RoundRobin,
        upstream: Arc::clone(&key.upstream),
        method: "POST".into(),
        path: "/chat/completions".into(),
        model: Some("kimi-for-coding".into()),
        stream: Some(true),
        status: Some(if outcome == Outcome::Ok { 200 } else { 429 }),
        outcome,
        error: None,
        queue_ms: 0,
        connect_ms: 0,
        ttfb_ms: Some(80),
        latency_ms: 900,
        prompt_tokens: Some(1200),
        completion_tokens: Some(34),
        cached_tokens: Some(1000),
        request_bytes: 50_000,
        response_bytes: 4_000,
    }
}
