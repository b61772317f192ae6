//! Requests, errors and latency of the last minute, second by second.

use std::collections::VecDeque;

use jiff::Timestamp;
use kmi_core::{outcome::Fault, trace::Attempt};

/// How many seconds it looks back.
pub const SECONDS: usize = 60;
/// Latencies of one second that are remembered; with more of them the first ones speak for all.
const SAMPLES: usize = 256;

/// The last minute.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    /// The second of the newest bucket, since the epoch.
    newest: i64,
    buckets: VecDeque<Bucket>,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    requests: u64,
    attempts: u64,
    errors: u64,
    latency_ms: Vec<u64>,
}

/// What the last minute comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Beat {
    /// Requests per second.
    pub requests: f64,
    /// Attempts that did not end well and were not the client's fault, as a share of all;
    /// `None` without any attempt.
    pub errors: Option<f64>,
    /// The median time to the end of an answer, in milliseconds.
    pub p50: Option<u64>,
    /// The 95th percentile of it.
    pub p95: Option<u64>,
}

impl Pulse {
    /// Counts an attempt in the second in which it ended.
    pub fn count(&mut self, attempt: &Attempt) {
        self.advance(attempt.ts);
        let ago = usize::try_from(self.newest - attempt.ts.as_second()).unwrap_or(0);
        let Some(at) = self.buckets.len().checked_sub(1 + ago) else { return };
        let bucket = &mut self.buckets[at];
        bucket.attempts += 1;
        bucket.requests += u64::from(attempt.attempt == 1);
        let own = |fault| matches!(fault, Fault::Key | Fault::Upstream);
        bucket.errors += u64::from(attempt.outcome.fault().is_some_and(own));
        if bucket.latency_ms.len() < SAMPLES {
            bucket.latency_ms.push(attempt.latency_ms);
        }
    }

    /// Time goes on, also when nothing happens.
    pub fn advance(&mut self, now: Timestamp) {
        let now = now.as_second();
        let steps = usize::try_from(now - self.newest).unwrap_or(0).min(SECONDS);
        for _ in 0..steps {
            self.buckets.push_back(Bucket::default());
        }
        if steps > 0 {
            self.newest = now;
        }
        let old = self.buckets.len().saturating_sub(SECONDS);
        self.buckets.drain(..old);
    }

    /// The numbers of the last `seconds` full seconds and the running one.
    pub fn beat(&self, seconds: usize) -> Beat {
        let skip = self.buckets.len().saturating_sub(seconds);
        let recent = || self.buckets.iter().skip(skip);
        let attempts: u64 = recent().map(|it| it.attempts).sum();
        let mut latency: Vec<u64> = recent().flat_map(|it| it.latency_ms.iter().copied()).collect();
        latency.sort_unstable();
        let rank = |share: usize| {
            let last = latency.len().checked_sub(1)?;
            latency.get(last * share / 100).copied()
        };
        Beat {
            requests: ratio(recent().map(|it| it.requests).sum(), seconds as u64),
            errors: (attempts > 0).then(|| ratio(recent().map(|it| it.errors).sum(), attempts)),
            p50: rank(50),
            p95: rank(95),
        }
    }

    /// Requests of each second, oldest first.
    pub fn requests(&self) -> Vec<u64> {
        self.buckets.iter().map(|it| it.requests).collect()
    }

    /// The median latency of each second in milliseconds, oldest first; 0 where nothing ended.
    pub fn latency(&self) -> Vec<u64> {
        let median = |bucket: &Bucket| {
            let mut sorted = bucket.latency_ms.clone();
            sorted.sort_unstable();
            sorted.get(sorted.len() / 2).copied().unwrap_or(0)
        };
        self.buckets.iter().map(median).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
fn ratio(n: u64, of: u64) -> f64 {
    n as f64 / of.max(1) as f64
}

#[cfg(test)]
mod tests {
    use kmi_core::outcome::Outcome;

    use super::*;
    use crate::samples::{at, attempt};

    #[test]
    fn a_minute_is_counted_and_forgotten() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.beat(10), Beat::default());
        for n in 0..20 {
            let mut it = attempt(n, "work", if n < 2 { Outcome::Quota } else { Outcome::Ok });
            (it.ts, it.latency_ms) = (at(i64::try_from(n).unwrap() * 500), n * 10);
            pulse.count(&it);
        }
        let beat = pulse.beat(10);
        assert_eq!((beat.requests, beat.errors), (2.0, Some(0.1)));
        assert_eq!((beat.p50, beat.p95), (Some(90), Some(180)));
        assert_eq!(pulse.requests()[SECONDS - 10..], [2; 10]);
        pulse.advance(at(65_000));
        assert_eq!(pulse.requests().iter().sum::<u64>(), 8, "the first seconds are over");
        pulse.advance(at(10_000_000));
        assert_eq!(pulse.beat(60).errors, None);
    }

    #[test]
    fn late_and_strange_times_do_no_harm() {
        let mut pulse = Pulse::default();
        let mut it = attempt(1, "work", Outcome::Ok);
        for ts in [at(0), Timestamp::MIN, at(-5_000), Timestamp::MAX, at(0)] {
            it.ts = ts;
            pulse.count(&it);
        }
        assert!(pulse.requests().len() <= SECONDS);
    }
}
