//! Takes what happens as the trace's records: verifies them at once, and writes the trace where
//! one is wanted.

use std::{
    io::{self, Write},
    sync::Arc,
};

use jiff::Timestamp;
use kmi_core::{
    eligible::KeySet,
    outcome::Outcome,
    rotation::{Rotation, Turn},
    state::{KeyState, Mode, Policy, Reason},
    trace::{Attempt, ChainHash, Epoch, EpochKey, HealthChange, Record, seal},
};
use kmi_stats::{
    report::Report,
    verify::{InFlight, Options, Verifier},
};
use serde::Serialize;

use super::{
    clients::Tokens,
    population::{Population, UPSTREAM},
};

/// The moment in which every simulation begins.
pub(super) const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// One attempt of the schedule.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// Its number among all attempts.
    pub(crate) n: u64,
    /// `None` for a later request of a session that has its key.
    pub(crate) turn: Option<u64>,
    /// When the key was chosen.
    pub(crate) at_ms: i64,
    pub(crate) client: usize,
    /// 1 for the first attempt of a request.
    pub(crate) attempt: u32,
    pub(crate) key: Arc<str>,
    pub(crate) outcome: Outcome,
    pub(crate) latency_ms: u64,
}

/// A key's state has changed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Change {
    pub(crate) at_ms: i64,
    pub(crate) key: Arc<str>,
    pub(crate) from: KeyState,
    pub(crate) to: KeyState,
    pub(crate) reason: Option<Reason>,
    pub(crate) until_ms: Option<i64>,
}

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub(super) n: u64,
    pub(super) turn: Option<&'a Turn>,
    pub(super) key: usize,
    pub(super) eligible: &'a Arc<KeySet>,
    pub(super) tried: &'a KeySet,
    pub(super) client: usize,
    pub(super) request: u64,
    pub(super) attempt: u32,
    /// When the request came, when the key was chosen, and when the attempt ended.
    pub(super) came: i64,
    pub(super) begun: i64,
    pub(super) over: i64,
    /// The last of them as a time of day.
    pub(super) moment: Timestamp,
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    pub(super) error: Option<Arc<str>>,
    pub(super) tokens: Tokens,
}

/// The trace of a simulation on its way into the proof.
pub(super) struct Recorder<'o> {
    verifier: Verifier,
    /// Where the trace goes; without it nothing is formatted or hashed.
    out: Option<&'o mut dyn Write>,
    seq: u64,
    head: ChainHash,
    line: Vec<u8>,
    /// Of each key its last attempt, whose names the next one keeps.
    attempts: Vec<Attempt>,
    session: Option<Arc<str>>,
    most_rows: u64,
    rows: Vec<Row>,
    changes: Vec<Change>,
}

impl<'o> Recorder<'o> {
    pub(super) fn new(
        policy: Policy,
        population: &Population,
        most_rows: u64,
        out: Option<&'o mut dyn Write>,
    ) -> Self {
        let keys = population.inventory.keys().iter().zip(&population.ids);
        let attempts = keys.map(|(key, id)| blank(policy, id, key.label.shared())).collect();
        Self {
            verifier: Verifier::new(Options::default()),
            out,
            seq: 0,
            head: ChainHash::START,
            line: Vec::new(),
            attempts,
            session: None,
            most_rows,
            rows: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// The ring that everything else refers to.
    pub(super) fn epoch(&mut self, population: &Population, rotation: &Rotation) -> io::Result<()> {
        let key = |(key, id): (&Arc<kmi_core::inventory::Key>, &Arc<str>)| EpochKey {
            key: Arc::clone(id),
            label: key.label.shared(),
            weight: key.weight,
            tier: key.priority,
        };
        let keys = population.inventory.keys().iter().zip(&population.ids).map(key).collect();
        self.record(Record::Epoch(Epoch {
            ts: BEGINNING,
            epoch: rotation.epoch(),
            upstream: UPSTREAM.into(),
            keys,
            ring: rotation.ring().layout().to_vec(),
            cursor: rotation.cursor(),
        }))
    }

    pub(super) fn attempt(&mut self, it: &Ended<'_>) -> io::Result<()> {
        let row = &mut self.attempts[it.key];
        let latency_ms = millis(it.over - it.begun);
        if it.n <= self.most_rows {
            self.rows.push(Row {
                n: it.n,
                turn: it.turn.map(|turn| turn.number),
                at_ms: it.begun,
                client: it.client + 1,
                attempt: it.attempt,
                key: Arc::clone(&row.label),
                outcome: it.outcome,
                latency_ms,
            });
        }
        row.ts = it.moment;
        row.turn = it.turn.map(|turn| turn.number);
        row.prev_slot = it.turn.and_then(|turn| turn.prev_slot);
        row.slot = it.turn.map(|turn| turn.slot);
        if !Arc::ptr_eq(&row.eligible, it.eligible) {
            row.eligible = Arc::clone(it.eligible);
        }
        row.tried.clone_from(it.tried);
        row.attempt = it.attempt;
        row.status = it.status;
        row.outcome = it.outcome;
        row.error.clone_from(&it.error);
        row.queue_ms = millis(it.begun - it.came);
        row.latency_ms = latency_ms;
        let answered = it.outcome == Outcome::Ok;
        row.ttfb_ms = answered.then_some(latency_ms / 4);
        row.prompt_tokens = answered.then_some(it.tokens.prompt);
        row.completion_tokens = answered.then_some(it.tokens.completion);
        row.cached_tokens = answered.then_some(it.tokens.cached);
        // Some four bytes a token.
        row.request_bytes = 4 * it.tokens.prompt;
        row.response_bytes = if answered { 4 * it.tokens.completion } else { 0 };
        if self.out.is_none() {
            self.verifier.unchained_attempt(row);
            return Ok(());
        }
        row.request_id = format!("req-{:08x}", it.request).into();
        row.session_id.clone_from(&self.session);
        let record = Record::Attempt(row.clone());
        self.record(record)
    }

    /// The session of the next attempts; only a written trace names it.
    pub(super) fn session(&mut self, name: impl FnOnce() -> String) {
        if self.out.is_some() {
            self.session = Some(name().into());
        }
    }

    pub(super) fn health(&mut self, changes: Vec<HealthChange>) -> io::Result<()> {
        for change in changes {
            if (self.changes.len() as u64) < self.most_rows {
                self.changes.push(Change {
                    at_ms: since_beginning(change.ts),
                    key: Arc::clone(&change.label),
                    from: change.from,
                    to: change.to,
                    reason: change.reason,
                    until_ms: change.until.map(since_beginning),
                });
            }
            self.record(Record::Health(change))?;
        }
        Ok(())
    }

    /// The proof, the first attempts in the order of their choice, and the first changes.
    pub(super) fn end(mut self) -> io::Result<(Report, Vec<Row>, Vec<Change>)> {
        if let Some(out) = self.out {
            out.flush()?;
        }
        self.rows.sort_unstable_by_key(|row| row.n);
        Ok((self.verifier.report(&InFlight::None), self.rows, self.changes))
    }

    fn record(&mut self, record: Record) -> io::Result<()> {
        let Some(out) = &mut self.out else {
            self.verifier.unchained(record);
            return Ok(());
        };
        self.seq += 1;
        self.line.clear();
        self.head = seal(&record, self.seq, &self.head, &mut self.line)?;
        self.verifier.line(&self.line).map_err(io::Error::other)?;
        self.line.push(b'\n');
        out.write_all(&self.line)
    }
}

/// A moment of the simulation.
pub(super) fn at(ms: i64) -> Timestamp {
    // Several times a turn; a sum of timestamps takes longer.
    let ms = BEGINNING.as_millisecond().saturating_add(ms);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// The reverse of [`at`], rounded up: what ends then has ended.
pub(super) fn since_beginning(at: Timestamp) -> i64 {
    let nanos = at.duration_since(BEGINNING).as_nanos();
    i64::try_from(nanos.div_euclid(1_000_000) + i128::from(nanos % 1_000_000 > 0))
        .unwrap_or(i64::MAX)
}

fn millis(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

/// What is the same in every attempt with a key.
fn blank(policy: Policy, key: &Arc<str>, label: Arc<str>) -> Attempt {
    Attempt {
        ts: BEGINNING,
        turn: None,
        epoch: 1,
        prev_slot: None,
        slot: None,
        key: Arc::clone(key),
        label,
        eligible: Arc::default(),
        tried: KeySet::default(),
        request_id: "".into(),
        session_id: None,
        attempt: 1,
        mode: Mode::Auto,
        policy,
        upstream: UPSTREAM.into(),
        method: "POST".into(),
        path: "/chat/completions".into(),
        model: Some("kimi-for-coding".into()),
        stream: Some(true),
        status: None,
        outcome: Outcome::Ok,
        error: None,
        queue_ms: 0,
        connect_ms: 0,
        ttfb_ms: None,
        latency_ms: 0,
        prompt_tokens: None,
        completion_tokens: None,
        cached_tokens: None,
        request_bytes: 0,
        response_bytes: 0,
    }
}
