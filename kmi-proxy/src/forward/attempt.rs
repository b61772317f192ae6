//! One attempt: from the choice of its key to its line in the trace.
//!
//! The guard is made with the choice and reports exactly once: by [`Attempt::end`], or, when it is
//! dropped before (the client went away, kmi was stopped), from its `Drop`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kmi_core::{
    outcome::Outcome,
    trace::{self, Record},
};
use kmi_health::{account::AccountId, classify::Verdict};

use super::{facts::Facts, intake::SentBytes};
use crate::{
    ledger::Sink,
    pool::{Picked, Pool, Seen},
    proxy::Phase,
    usage_scan::Usage,
};

/// An attempt that is under way.
#[derive(Debug)]
pub(crate) struct Attempt {
    pool: Arc<Pool>,
    sink: Sink,
    phase: Phase,
    facts: Arc<Facts>,
    picked: Picked,
    number: u32,
    chosen: Instant,
    queue: Duration,
    sent: SentBytes,
    /// What is seen on the way.
    pub(crate) seen: Observed,
    reported: bool,
}

/// What is seen of an attempt on its way.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) connect: Duration,
    pub(crate) status: Option<u16>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) bytes: u64,
    pub(crate) usage: Option<Usage>,
    /// The account that the answer's headers name.
    pub(crate) account: Option<AccountId>,
}

/// What an attempt starts with.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) pool: Arc<Pool>,
    pub(crate) sink: Sink,
    pub(crate) phase: Phase,
    pub(crate) facts: Arc<Facts>,
    pub(crate) picked: Picked,
    pub(crate) number: u32,
}

impl Attempt {
    pub(crate) fn begin(begin: Begin) -> Self {
        let Begin { pool, sink, phase, facts, picked, number } = begin;
        let chosen = Instant::now();
        let queue = chosen - facts.arrived;
        let (sent, seen) = (SentBytes::Known(0), Observed::default());
        Self {
            pool,
            sink,
            phase,
            facts,
            picked,
            number,
            chosen,
            queue,
            sent,
            seen,
            reported: false,
        }
    }

    /// Says how the bytes of the request's body are counted.
    pub(crate) fn sends(&mut self, sent: SentBytes) {
        self.sent = sent;
    }

    pub(crate) fn picked(&self) -> &Picked {
        &self.picked
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Notes a piece of the answer's body.
    pub(crate) fn piece(&mut self, bytes: usize) {
        self.first_byte();
        self.seen.bytes += bytes as u64;
    }

    /// Notes that the first byte of the body came, or the head of an answer without one.
    pub(crate) fn first_byte(&mut self) {
        let chosen = self.chosen;
        self.seen.first_byte.get_or_insert_with(|| chosen.elapsed());
    }

    /// The attempt has ended: health hears of it, then the trace. Whether it was refused as every
    /// key is refused now.
    pub(crate) fn end(mut self, verdict: &Verdict) -> bool {
        self.report(verdict)
    }

    fn report(&mut self, verdict: &Verdict) -> bool {
        self.reported = true;
        let (now, latency) = (Timestamp::now(), self.chosen.elapsed());
        let usage = self.seen.usage.unwrap_or_default();
        let tokens = usage.prompt.unwrap_or(0).saturating_add(usage.completion.unwrap_or(0));
        let (model, account) = (self.facts.model.as_deref(), self.seen.account.as_ref());
        let seen = Seen { verdict, model, latency, tokens, account };
        let everybodys = self.pool.observe(&self.picked, &seen, now);
        self.sink.push(Record::Attempt(self.line(verdict, latency, now)));
        self.pool.recorded(&self.picked);
        everybodys
    }

    fn line(&self, verdict: &Verdict, latency: Duration, ts: Timestamp) -> trace::Attempt {
        let (facts, picked, seen) = (&self.facts, &self.picked, &self.seen);
        let place = picked.turn;
        trace::Attempt {
            ts,
            turn: place.map(|place| place.number),
            epoch: picked.epoch,
            prev_slot: place.and_then(|place| place.prev_slot),
            slot: place.map(|place| place.slot),
            key: Arc::clone(&picked.key_id),
            label: picked.key.label.shared(),
            eligible: Arc::clone(&picked.eligible),
            tried: picked.tried.clone(),
            request_id: Arc::clone(&facts.request_id),
            session_id: facts.session_id.clone(),
            attempt: self.number,
            mode: picked.mode,
            policy: facts.policy,
            upstream: Arc::clone(self.pool.name()),
            method: Arc::clone(&facts.method),
            path: Arc::clone(&facts.path),
            model: facts.model.clone(),
            stream: facts.stream,
            status: seen.status,
            outcome: verdict.outcome,
            error: verdict.message.clone(),
            queue_ms: millis(self.queue),
            connect_ms: millis(seen.connect),
            ttfb_ms: seen.first_byte.map(millis),
            latency_ms: millis(latency),
            prompt_tokens: seen.usage.and_then(|usage| usage.prompt),
            completion_tokens: seen.usage.and_then(|usage| usage.completion),
            cached_tokens: seen.usage.and_then(|usage| usage.cached),
            request_bytes: self.sent.now(),
            response_bytes: seen.bytes,
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.reported {
            let stopped = self.phase.is_ending();
            let outcome = if stopped { Outcome::Shutdown } else { Outcome::ClientGone };
            let mut verdict = Verdict::of(outcome);
            if std::thread::panicking() {
                // The connection goes with the request, so the client is gone; but not by itself.
                verdict.message = Some("a bug in kmi ended the request".into());
            }
            self.report(&verdict);
        }
    }
}

/// Rounded to the nearest millisecond, as the trace has it.
fn millis(time: Duration) -> u64 {
    u64::try_from((time + Duration::from_micros(500)).as_millis()).unwrap_or(u64::MAX)
}
