//! Small traces for tests: records in, sealed lines out.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    eligible::{Eligible, KeySet},
    outcome::Outcome,
    ring::{Ring, Seat},
    rotation::{Rotation, Turn},
    state::{Mode, Policy},
    trace::{Attempt, ChainHash, Epoch, EpochKey, Gap, ModeChange, Record, seal},
};

use crate::{
    report::Report,
    verify::{InFlight, Options, Verifier},
};

/// The moment `ms` after the traces' beginning.
pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_795_000_000_000 + ms).unwrap()
}

/// Key number `n` of weight 1 as an epoch names it.
pub(crate) fn epoch_key(n: usize, seat: Seat) -> EpochKey {
    EpochKey {
        key: format!("k-{n:08x}").into(),
        label: format!("key-{n:02}").into(),
        weight: seat.weight,
        tier: seat.tier,
    }
}

pub(crate) fn epoch(number: u64, ring: &Ring, cursor: Option<usize>) -> Epoch {
    let seat = |key| Seat { weight: ring.weight(key), tier: ring.tier(key) };
    Epoch {
        ts: at(0),
        epoch: number,
        upstream: "kimi".into(),
        keys: (0..ring.keys()).map(|key| epoch_key(key, seat(key))).collect(),
        ring: ring.layout().to_vec(),
        cursor,
    }
}

/// The attempt of a turn; it took 1 ms and ended 10 ms per turn after the beginning.
pub(crate) fn attempt(turn: &Turn, tried: &KeySet) -> Attempt {
    let seat = epoch_key(turn.key, Seat::default());
    Attempt {
        ts: at(i64::try_from(turn.number).unwrap_or(0) * 10),
        turn: Some(turn.number),
        epoch: turn.epoch,
        prev_slot: turn.prev_slot,
        slot: Some(turn.slot),
        key: seat.key,
        label: seat.label,
        eligible: Arc::clone(&turn.eligible),
        tried: tried.clone(),
        request_id: format!("r-{}", turn.number).into(),
        session_id: None,
        attempt: u32::try_from(tried.len()).unwrap_or(0) + 1,
        mode: Mode::Auto,
        policy: Policy::RoundRobin,
        upstream: "kimi".into(),
        method: "POST".into(),
        path: "/chat/completions".into(),
        model: Some("kimi-for-coding".into()),
        stream: Some(true),
        status: Some(200),
        outcome: Outcome::Ok,
        error: None,
        queue_ms: 0,
        connect_ms: 0,
        ttfb_ms: Some(1),
        latency_ms: 1,
        prompt_tokens: Some(10),
        completion_tokens: Some(5),
        cached_tokens: None,
        request_bytes: 100,
        response_bytes: 200,
    }
}

pub(crate) fn gap(from: u64, to: u64, slots: Option<Vec<usize>>) -> Gap {
    let reason = "killed".into();
    Gap {
        ts: at(0),
        upstream: "kimi".into(),
        epoch: 1,
        from_turn: from,
        to_turn: to,
        slots,
        reason,
    }
}

pub(crate) fn mode() -> Record {
    Record::Mode(ModeChange { ts: at(0), mode: Mode::Auto, key: None, by: "user".into() })
}

/// The epoch's line and `turns` turns of a true rotation in which every key is always eligible.
pub(crate) fn rotation(weights: &[u32], turns: usize) -> Vec<Record> {
    let seats: Vec<Seat> = weights.iter().map(|w| Seat { weight: *w, tier: 0 }).collect();
    let ring = Arc::new(Ring::new(&seats).unwrap());
    let (all, none) = (Eligible::all(Arc::clone(&ring)), KeySet::default());
    let mut records = vec![Record::Epoch(epoch(1, &ring, None))];
    let mut rotation = Rotation::new(ring);
    for _ in 0..turns {
        records.push(Record::Attempt(attempt(&rotation.next(&all, &none).unwrap(), &none)));
    }
    records
}

/// Chains records from line 1 on.
pub(crate) fn sealed(records: &[Record]) -> Vec<Vec<u8>> {
    let mut prev = ChainHash::START;
    let line = |(seq, record)| {
        let mut out = Vec::new();
        prev = seal(record, seq, &prev, &mut out).unwrap();
        out
    };
    (1..).zip(records).map(line).collect()
}

pub(crate) fn verify(lines: &[Vec<u8>]) -> Report {
    verify_with(lines, Options::default(), &InFlight::None)
}

pub(crate) fn verify_with(lines: &[Vec<u8>], options: Options, in_flight: &InFlight) -> Report {
    let mut verifier = Verifier::new(options);
    for line in lines {
        verifier.line(line).unwrap();
    }
    verifier.report(in_flight)
}

/// The attempt in a record that is one.
pub(crate) fn attempt_of(record: &mut Record) -> &mut Attempt {
    match record {
        Record::Attempt(attempt) => attempt,
        other => panic!("{} is no attempt", other.kind()),
    }
}
