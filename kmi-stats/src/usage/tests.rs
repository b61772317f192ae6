use kmi_core::trace::Record;
use proptest::prelude::*;

use super::*;
use crate::trace_builder::{at, attempt_of, epoch_key, rotation};

/// An attempt of key `key` in a session, with these prompt and cached tokens.
fn attempt(key: usize, session: &str, prompt: u64, cached: u64) -> Attempt {
    let mut records: Vec<Record> = rotation(&[1; 4], 1);
    let seat = epoch_key(key, kmi_core::ring::Seat::default());
    Attempt {
        key: seat.key,
        label: seat.label,
        session_id: Some(session.into()),
        prompt_tokens: Some(prompt),
        completion_tokens: Some(10),
        cached_tokens: Some(cached),
        ..attempt_of(&mut records[1]).clone()
    }
}

fn sum(by: By, attempts: &[Attempt]) -> UsageReport {
    let mut usage = Usage::new(by);
    for attempt in attempts {
        usage.add(attempt);
    }
    usage.report()
}

fn named(report: &UsageReport) -> Vec<(&str, u64, u64)> {
    report
        .rows
        .iter()
        .map(|row| (row.name.as_deref().unwrap_or("-"), row.requests, row.prompt_tokens))
        .collect()
}

#[test]
fn requests_errors_and_tokens_are_summed() {
    let refused = Attempt {
        outcome: Outcome::Quota,
        prompt_tokens: None,
        completion_tokens: None,
        cached_tokens: None,
        ..attempt(0, "a", 0, 0)
    };
    let again = Attempt { attempt: 2, ..attempt(1, "a", 300, 200) };
    let wrong =
        Attempt { outcome: Outcome::ClientError, prompt_tokens: None, ..attempt(1, "a", 0, 0) };
    let report = sum(By::Key, &[attempt(1, "a", 100, 0), refused, again, wrong]);
    assert_eq!(named(&report), [("key-00", 1, 0), ("key-01", 3, 400)]);
    let total = &report.total;
    assert_eq!((total.requests, total.retries, total.errors), (4, 1, 1));
    assert_eq!((total.prompt_tokens, total.completion_tokens, total.cached_tokens), (400, 30, 200));
    assert_eq!((total.cached_ratio, report.rows[0].cached_ratio), (Some(0.5), None));
    assert_eq!(report.rows[1].key.as_deref(), Some("k-00000001"));
}

#[test]
fn rows_are_keys_models_or_days() {
    let mut other = attempt(0, "a", 5, 0);
    other.model = None;
    other.ts = at(86_400_000);
    let all = [attempt(0, "a", 1, 0), attempt(1, "a", 2, 0), other];
    assert_eq!(named(&sum(By::Model, &all)), [("kimi-for-coding", 2, 3), ("-", 1, 5)]);
    assert_eq!(named(&sum(By::Day, &all)), [("2026-11-18", 2, 3), ("2026-11-19", 1, 5)]);
    let elsewhere = Attempt { upstream: "open".into(), ..attempt(0, "a", 4, 0) };
    let report = sum(By::Key, &[all[0].clone(), elsewhere]);
    let upstreams: Vec<_> = report.rows.iter().map(|row| row.upstream.as_deref()).collect();
    assert_eq!(upstreams, [Some("kimi"), Some("open")]);
}

/// By hand: 20 requests that stayed found 90 of 100 tokens cached (the share 0.9). One that moved
/// has 200 tokens, 30 of them cached; its predecessor had 100. By staying it would have found 180,
/// so it lost 150, but no more than 100 - 30 = 70 can have been there.
#[test]
fn the_cost_of_a_move_is_what_staying_would_have_kept() {
    let mut attempts = vec![attempt(0, "a", 100, 0)];
    attempts.extend((0..20).map(|_| attempt(0, "a", 100, 90)));
    attempts.push(attempt(1, "a", 200, 30));
    let report = sum(By::Key, &attempts);
    let cache = &report.cache;
    assert_eq!((cache.stayed.requests, cache.stayed.cached_ratio), (20, Some(0.9)));
    assert_eq!((cache.moved.requests, cache.moved.cached_ratio), (1, Some(0.15)));
    assert_eq!((cache.lost_cached_tokens, cache.lost_at_most), (Some(70), 70));
    // Two more moves of 100 tokens with nothing cached lose 90 each: 0.9 * 400 - 30 = 330, and at
    // most 70 + 100 + 100.
    attempts.extend([attempt(2, "a", 100, 0), attempt(3, "a", 100, 0)]);
    let report = sum(By::Key, &attempts);
    assert_eq!((report.cache.lost_cached_tokens, report.cache.lost_at_most), (Some(270), 270));
    // Rows have what the moves to their key lost.
    let rows: Vec<_> = report.rows.iter().map(|row| row.lost_cached_tokens).collect();
    assert_eq!(rows, [Some(0), Some(70), Some(90), Some(90)]);
    assert_eq!(report.rows[2].lost_at_most, 100);
}

#[test]
fn without_a_sample_there_is_only_a_bound() {
    let mut attempts: Vec<_> = (0..8).map(|n| attempt(n % 4, "a", 100 + n as u64, 10)).collect();
    attempts.extend((0..19).map(|_| attempt(3, "a", 100, 90)));
    let report = sum(By::Key, &attempts);
    assert_eq!((report.cache.stayed.requests, report.cache.lost_cached_tokens), (19, None));
    // Seven moves; each predecessor's prompt less the 10 that were cached: 100..=106.
    assert_eq!(report.cache.lost_at_most, (90..=96).sum::<u64>());
    assert!(report.rows.iter().all(|row| row.lost_cached_tokens.is_none()));
}

#[test]
fn sessions_are_kept_apart_and_refusals_break_no_chain() {
    let refused = Attempt { outcome: Outcome::RateLimited, ..attempt(1, "a", 1, 0) };
    let none = Attempt { session_id: None, ..attempt(2, "", 1, 0) };
    let report = sum(
        By::Key,
        &[attempt(0, "a", 10, 0), attempt(1, "b", 10, 0), refused, none, attempt(0, "a", 10, 9)],
    );
    assert_eq!((report.cache.stayed.requests, report.cache.moved.requests), (1, 0));
}

#[test]
fn memory_is_bounded() {
    let mut usage = Usage::new(By::Model);
    for n in 0..MAX_SESSIONS + 5_000 {
        usage.add(&Attempt {
            model: Some(n.to_string().into()),
            ..attempt(0, &n.to_string(), 1, 0)
        });
    }
    assert!(usage.sessions.len() <= MAX_SESSIONS);
    let report = usage.report();
    assert_eq!(report.rows.len(), MAX_ROWS + 1);
    assert_eq!(report.rows.iter().map(|row| row.requests).sum::<u64>(), report.total.requests);
    assert_eq!(report.rows.last().unwrap().name, None);
}

proptest! {
    /// Whatever answers claim, nothing panics, rows make the total, and the estimate keeps to its
    /// bound.
    #[test]
    fn sums_hold(
        claims in prop::collection::vec((0usize..4, 0u8..3, any::<u64>(), any::<u64>()), 0..80),
        small in any::<bool>(),
    ) {
        let cut = |n: u64| if small { n % 1_000 } else { n };
        let attempts: Vec<_> = claims
            .into_iter()
            .map(|(key, session, prompt, cached)| {
                attempt(key, &session.to_string(), cut(prompt), cut(cached))
            })
            .collect();
        let report = sum(By::Key, &attempts);
        let sum = |of: fn(&UsageRow) -> u64| report.rows.iter().map(of).fold(0, u64::saturating_add);
        prop_assert_eq!(sum(|row| row.requests), report.total.requests);
        prop_assert_eq!(sum(|row| row.prompt_tokens), report.total.prompt_tokens);
        prop_assert_eq!(sum(|row| row.lost_at_most), report.total.lost_at_most);
        prop_assert!(report.total.cached_tokens <= report.total.prompt_tokens);
        let lost = report.cache.lost_cached_tokens.unwrap_or(0);
        prop_assert!(lost <= report.cache.lost_at_most);
    }
}
