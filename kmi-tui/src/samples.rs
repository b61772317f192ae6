//! Data for tests of the live views.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    eligible::KeySet,
    outcome::Outcome,
    snapshot::{FleetRow, KeyRow, LatencyRow, LimitRow, ProxyRow, QuotaRow, Snapshot},
    state::{KeyState, Mode, Policy, Reason},
    trace::Attempt,
};
use kmi_stats::report::{Report, ShareReport, Verdict};

use crate::{
    feed::Status,
    row::{Row, Tells},
};

/// A time, in milliseconds after 11:06:40.
pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_795_000_000_000 + ms).unwrap()
}

const LABELS: [&str; 7] = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf"];

/// The id of a key.
pub(crate) fn id(label: &str) -> String {
    let sum = label.bytes().fold(7u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    format!("k-{sum:08x}")
}

/// An attempt of a turn.
pub(crate) fn attempt(turn: u64, label: &str, outcome: Outcome) -> Attempt {
    Attempt {
        ts: at(i64::try_from(turn).unwrap() * 250),
        turn: Some(turn),
        epoch: 1,
        prev_slot: Some(0),
        slot: Some(1),
        key: id(label).into(),
        label: label.into(),
        eligible: Arc::new(KeySet::full(7)),
        tried: KeySet::default(),
        request_id: format!("r-{turn:012x}").into(),
        session_id: Some("s-1".into()),
        attempt: 1,
        mode: Mode::Auto,
        policy: Policy::RoundRobin,
        upstream: "kimi".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("kimi-for-coding".into()),
        stream: Some(true),
        status: Some(if outcome == Outcome::Ok { 200 } else { 429 }),
        outcome,
        error: (outcome != Outcome::Ok).then(|| "rate limit reached".into()),
        queue_ms: 1,
        connect_ms: 12,
        ttfb_ms: Some(812),
        latency_ms: 2_345,
        prompt_tokens: Some(12_000),
        completion_tokens: Some(345),
        cached_tokens: Some(11_000),
        request_bytes: 100,
        response_bytes: 200,
    }
}

/// An attempt as a row.
pub(crate) fn row(seq: u64, attempt: Attempt) -> Arc<Row> {
    let (ts, text) = (attempt.ts, format!("line {seq}").into());
    Arc::new(Row { seq, ts, tells: Tells::Attempt(Box::new(attempt)), text })
}

/// Twelve turns over seven keys: charlie is refused, delta steps in.
pub(crate) fn rows() -> Vec<Arc<Row>> {
    let rows = (1..=12u64).map(|turn| {
        let label = LABELS[usize::try_from(turn - 1).unwrap() % 7];
        let mut it = attempt(turn, label, Outcome::Ok);
        match turn {
            3 => it.outcome = Outcome::RateLimited,
            4 => {
                it.attempt = 2;
                it.request_id = format!("r-{:012x}", 3).into();
            }
            5 => (it.path, it.model) = ("/v1/models".into(), None),
            9 => (it.outcome, it.status, it.ttfb_ms) = (Outcome::UpstreamTimeout, None, None),
            _ => {}
        }
        if it.outcome == Outcome::RateLimited {
            (it.status, it.error) = (Some(429), Some("rate limit reached".into()));
        }
        row(turn, it)
    });
    rows.collect()
}

fn key(label: &str) -> KeyRow {
    KeyRow {
        key: id(label),
        label: label.into(),
        masked: format!("sk-…00{:02}", label.len()),
        upstream: "kimi".into(),
        account: None,
        priority: 0,
        weight: 1,
        state: KeyState::Healthy,
        reason: None,
        until: None,
        last_used: Some(at(1_000)),
        requests: 123,
        errors: 0,
        in_flight: 0,
        latency_ms: LatencyRow { p50: Some(1_234), p95: Some(12_300) },
        quota: QuotaRow {
            source: Some("usages".into()),
            remaining_ratio: Some(0.6),
            limits: vec![
                LimitRow { name: "5h".into(), used_ratio: 0.4, resets_at: Some(at(7_200_000)) },
                LimitRow { name: "7d".into(), used_ratio: 0.1, resets_at: Some(at(360_000_000)) },
            ],
            checked_at: Some(at(-60_000)),
            ..QuotaRow::default()
        },
    }
}

/// A running proxy with seven keys: one rate limited, one refused, one out of quota soon, one off.
pub(crate) fn status() -> Status {
    let mut keys: Vec<KeyRow> = LABELS.iter().map(|label| key(label)).collect();
    let mut bad = |at: usize, state, reason, until| {
        (keys[at].state, keys[at].reason, keys[at].until) = (state, reason, until);
        keys[at].errors = 3;
    };
    bad(2, KeyState::Blocked, Some(Reason::RateLimited), Some(at(35_000)));
    bad(4, KeyState::Blocked, Some(Reason::AuthFailed), None);
    bad(5, KeyState::Warn, Some(Reason::QuotaLow), None);
    bad(6, KeyState::Disabled, None, None);
    keys[5].quota.remaining_ratio = Some(0.08);
    keys[5].quota.limits[0].used_ratio = 0.92;
    (keys[6].quota, keys[6].last_used) = (QuotaRow::default(), None);
    (keys[0].account, keys[1].account) = (Some("family".into()), Some("family".into()));
    keys[1].in_flight = 2;
    let proxy = ProxyRow {
        running: true,
        pid: Some(4711),
        listen: Some("127.0.0.1:54123".into()),
        base_url: Some("http://127.0.0.1:54123/kmi-rotor/v1".into()),
        uptime_s: Some(3_725),
        version: "0.1.0".into(),
    };
    let snapshot = Snapshot {
        proxy,
        mode: Mode::Auto,
        policy: Policy::RoundRobin,
        active_key: None,
        keys,
        fleet: FleetRow::default(),
    };
    Status { snapshot, problems: Vec::new() }
}

/// The same without a proxy.
pub(crate) fn resting() -> Status {
    let mut status = status();
    status.snapshot.proxy = ProxyRow { version: "0.1.0".into(), ..ProxyRow::default() };
    status
}

/// A proof over so many turns.
pub(crate) fn proof(turns: u64, violations: u64) -> Report {
    let verifier = kmi_stats::verify::Verifier::new(kmi_stats::verify::Options::default());
    let mut report = verifier.report(&kmi_stats::verify::InFlight::None);
    let conforming = turns - violations;
    let confidence = kmi_stats::confidence::confidence(conforming, turns);
    let verdict = match (violations, turns) {
        (1.., _) => Verdict::Violated,
        (_, ..59) => Verdict::InsufficientData,
        _ => Verdict::Verified,
    };
    for numbers in [&mut report.all, &mut report.window.numbers] {
        (numbers.turns, numbers.conforming, numbers.violations) = (turns, conforming, violations);
        (numbers.confidence, numbers.verdict) = (confidence, verdict);
        let share = |(n, label): (usize, &&str)| ShareReport {
            upstream: "kimi".into(),
            key: id(label),
            label: (*label).into(),
            turns: if n == 2 { 5 } else { turns / 7 },
            expected: 20.0,
            tokens: 1_000,
        };
        numbers.shares = LABELS.iter().enumerate().map(share).collect();
    }
    report
}
