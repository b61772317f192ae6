//! Records as a proxy with seven healthy keys makes them, without end.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kmi_core::{
    eligible::{Eligible, KeySet},
    inventory::Inventory,
    outcome::Outcome,
    rotation::Rotation,
    state::{Mode, Policy},
    trace::{Attempt, Epoch, EpochKey, Record},
};

/// A true rotation over seven keys, told as records: the epoch first, then a turn at each step.
#[derive(Debug)]
pub struct Turns {
    inventory: Inventory,
    rotation: Rotation,
    eligible: Eligible,
    now: Timestamp,
    begun: bool,
}

impl Turns {
    /// From the very first turn on.
    pub fn new() -> anyhow::Result<Self> {
        let inventory = crate::inventory(7)?;
        let ring = Arc::new(inventory.ring()?);
        Ok(Self {
            inventory,
            eligible: Eligible::all(Arc::clone(&ring)),
            rotation: Rotation::new(ring),
            now: Timestamp::from_second(1_795_000_000)?,
            begun: false,
        })
    }

    fn epoch(&self) -> Epoch {
        let keys = self.inventory.keys().iter().map(|key| EpochKey {
            key: key.id.to_string().into(),
            label: key.label.shared(),
            weight: key.weight,
            tier: key.priority,
        });
        Epoch {
            ts: self.now,
            epoch: self.rotation.epoch(),
            upstream: "kimi".into(),
            keys: keys.collect(),
            ring: self.rotation.ring().layout().to_vec(),
            cursor: self.rotation.cursor(),
        }
    }

    fn attempt(&mut self) -> Option<Attempt> {
        let turn = self.rotation.next(&self.eligible, &KeySet::default())?;
        self.now += SignedDuration::from_millis(10);
        let key = &self.inventory.keys()[turn.key];
        Some(Attempt {
            ts: self.now,
            turn: Some(turn.number),
            epoch: turn.epoch,
            prev_slot: turn.prev_slot,
            slot: Some(turn.slot),
            key: key.id.to_string().into(),
            label: key.label.shared(),
            eligible: turn.eligible,
            tried: KeySet::default(),
            request_id: format!("{:032x}", turn.number).into(),
            session_id: Some("0b5c1a52-7d3e-4a0e-9a53-4a3f27b0b0c1".into()),
            attempt: 1,
            mode: Mode::Auto,
            policy: Policy::RoundRobin,
            upstream: Arc::clone(&key.upstream),
            method: "POST".into(),
            path: "/chat/completions".into(),
            model: Some("kimi-for-coding".into()),
            stream: Some(true),
            status: Some(200),
            outcome: Outcome::Ok,
            error: None,
            queue_ms: 0,
            connect_ms: 0,
            ttfb_ms: Some(812),
            latency_ms: 14_031,
            prompt_tokens: Some(48_210),
            completion_tokens: Some(913),
            cached_tokens: Some(47_104),
            request_bytes: 193_004,
            response_bytes: 61_877,
        })
    }
}

impl Iterator for Turns {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if !self.begun {
            self.begun = true;
            return Some(Record::Epoch(self.epoch()));
        }
        self.attempt().map(Record::Attempt)
    }
}
