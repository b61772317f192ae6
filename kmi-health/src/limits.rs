//! Limits that are kept before the provider has to enforce them.
//!
//! They are set by the user for a key ([`Limits`]), or learnt for an account: from the quota's
//! `parallel.limit`, and from refusals that print the limit ("max RPM: 3"). A key at its limit is
//! skipped for that turn; it is not unhealthy.

use std::time::Duration;

use jiff::Timestamp;
use kmi_core::inventory::Limits;

use crate::cooldown::later;

/// Seconds that a request counts: a minute, and one for the second that has begun.
const SECONDS: i64 = 61;
const SLOTS: usize = 61;

/// What a refusal's message says about the limit that was reached: `max RPM: 3`, `max concurrency:
/// 20`, `TPM rate limit, current:70000, limit:64000`. (Other providers print limits of one model,
/// and those are none of the account's.)
pub fn in_text(message: &str) -> Limits {
    let text = message.to_ascii_lowercase();
    let after = |words: &[&str]| {
        let rest = words
            .iter()
            .try_fold(text.as_str(), |rest, words| Some(&rest[rest.find(words)? + words.len()..]));
        let rest = rest?.trim_start();
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok().filter(|limit| *limit > 0)
    };
    Limits {
        rpm: after(&["max rpm:"]),
        tpm: after(&["tpm rate limit", "limit:"]),
        concurrency: after(&["max concurrency:"]),
    }
}

/// How much of its limits a key or an account has used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    limits: Limits,
    in_flight: u64,
    requests: Minute,
    tokens: Minute,
}

impl Usage {
    /// Nothing used yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Whether there is any limit to keep.
    pub(crate) fn is_limited(&self) -> bool {
        self.limits != Limits::default()
    }

    /// Whether a limit frees itself by time alone.
    pub(crate) fn counts_minutes(&self) -> bool {
        self.limits.rpm.is_some() || self.limits.tpm.is_some()
    }

    /// Puts other limits into force; what was used stays used.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// A request begins.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.in_flight += 1;
        // Counted only where it matters: two minutes' counts on every request are not for free.
        if self.limits.rpm.is_some() {
            self.requests.add(1, now);
        }
    }

    /// A request has ended, and so many tokens were counted for it.
    pub(crate) fn end(&mut self, tokens: u64, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.limits.tpm.is_some() {
            self.tokens.add(tokens, now);
        }
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Takes over what another one counted in the last minute.
    pub(crate) fn merge_minutes(&mut self, other: &Self) {
        self.requests.merge(&other.requests);
        self.tokens.merge(&other.tokens);
    }

    /// Takes over requests that are under way.
    pub(crate) fn add_in_flight(&mut self, requests: u64) {
        self.in_flight += requests;
    }

    /// Whether one more request keeps every limit.
    pub(crate) fn admits(&self, now: Timestamp) -> bool {
        self.has_slot() && self.frees_at(now).is_none()
    }

    /// Whether a request less than the limit is under way.
    pub(crate) fn has_slot(&self) -> bool {
        self.limits.concurrency.is_none_or(|limit| self.in_flight < u64::from(limit))
    }

    /// When the minute's limits let a request pass again; `None`: they do.
    pub(crate) fn frees_at(&self, now: Timestamp) -> Option<Timestamp> {
        let requests = self.limits.rpm.and_then(|limit| self.requests.below(limit, now));
        let tokens = self.limits.tpm.and_then(|limit| self.tokens.below(limit, now));
        requests.max(tokens)
    }
}

/// Counts of the last minute, second by second; allocates with its first count.
#[derive(Debug, Clone, Default)]
struct Minute {
    counts: Vec<u64>,
    newest: i64,
}

impl Minute {
    fn add(&mut self, count: u64, now: Timestamp) {
        self.counts.resize(SLOTS, 0);
        let second = now.as_second();
        let fresh = second.saturating_sub(self.newest).clamp(0, SECONDS);
        for ago in 0..fresh {
            self.counts[slot(second - ago)] = 0;
        }
        if self.is_of_the_future(second) {
            *self = Self { counts: vec![0; SLOTS], newest: second };
        }
        self.newest = self.newest.max(second);
        let count_now = &mut self.counts[slot(self.newest)];
        // No limit is larger, and sums of a minute cannot overflow.
        *count_now = count_now.saturating_add(count).min(u64::from(u32::MAX));
    }

    fn merge(&mut self, other: &Self) {
        let (mut sum, older) = if self.newest >= other.newest {
            (self.clone(), other)
        } else {
            (other.clone(), &*self)
        };
        sum.counts.resize(SLOTS, 0);
        if !older.counts.is_empty() {
            for second in sum.newest - SECONDS + 1..=older.newest {
                sum.counts[slot(second)] += older.counts[slot(second)];
            }
        }
        *self = sum;
    }

    /// When the minute's count falls below a limit; `None`: it is below.
    fn below(&self, limit: u32, now: Timestamp) -> Option<Timestamp> {
        if self.counts.is_empty() || self.is_of_the_future(now.as_second()) {
            return None;
        }
        let second = now.as_second().max(self.newest);
        let oldest = second - SECONDS + 1;
        let mut used: u64 = (oldest..=self.newest).map(|at| self.counts[slot(at)]).sum();
        for at in oldest..=self.newest {
            if used < u64::from(limit) {
                break;
            }
            used -= self.counts[slot(at)];
            if used < u64::from(limit) {
                let end = Timestamp::from_second(at).ok()?;
                return Some(later(end, Duration::from_secs(SECONDS.unsigned_abs())));
            }
        }
        None
    }

    /// Whether the clock was set back since: what was counted then says nothing about now. (Less
    /// than a minute back counts into the newest second.)
    fn is_of_the_future(&self, second: i64) -> bool {
        self.newest.saturating_sub(second) >= SECONDS
    }
}

fn slot(second: i64) -> usize {
    usize::try_from(second.rem_euclid(SECONDS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn usage(rpm: Option<u32>, tpm: Option<u32>, concurrency: Option<u32>) -> Usage {
        Usage::new(Limits { rpm, tpm, concurrency })
    }

    #[test]
    fn no_limit_limits_nothing() {
        let mut usage = usage(None, None, None);
        for _ in 0..1000 {
            usage.begin(at(0));
        }
        assert!(usage.admits(at(0)) && !usage.is_limited());
    }

    #[test]
    fn requests_at_once_free_their_slot_when_they_end() {
        let mut usage = usage(None, None, Some(2));
        usage.begin(at(0));
        assert!(usage.admits(at(0)));
        usage.begin(at(0));
        assert!(!usage.admits(at(0)));
        usage.end(0, at(1));
        assert!(usage.admits(at(1)));
    }

    #[test]
    fn requests_of_a_minute_are_forgotten_after_it() {
        let mut usage = usage(Some(2), None, None);
        usage.begin(at(100));
        usage.begin(at(130));
        assert_eq!(usage.frees_at(at(130)), Some(at(161)));
        assert!(!usage.admits(at(160)));
        assert!(usage.admits(at(161)));
        usage.begin(at(161));
        assert_eq!(usage.frees_at(at(161)), Some(at(191)));
    }

    #[test]
    fn tokens_count_when_they_are_known() {
        let mut usage = usage(None, Some(1000), None);
        usage.begin(at(0));
        usage.end(999, at(5));
        assert!(usage.admits(at(5)));
        usage.begin(at(5));
        usage.end(u64::MAX, at(6));
        assert_eq!(usage.frees_at(at(7)), Some(at(67)));
    }

    #[test]
    fn two_accounts_that_turn_out_to_be_one_add_up() {
        for (ours, theirs) in [(100, 130), (130, 100)] {
            let [mut one, mut other] = [ours, theirs].map(|second| {
                let mut usage = usage(Some(2), None, None);
                usage.begin(at(second));
                usage
            });
            one.merge_minutes(&other);
            assert_eq!(one.frees_at(at(131)), Some(at(161)));
            other.merge_minutes(&usage(Some(2), None, None));
            assert_eq!(other.frees_at(at(131)), None);
        }
    }

    #[test]
    fn refusals_print_their_limits() {
        let text = "request reached organization max RPM: 3, please try again after 1 seconds";
        assert_eq!(in_text(text), Limits { rpm: Some(3), tpm: None, concurrency: None });
        assert_eq!(in_text("max concurrency: 20").concurrency, Some(20));
        let tokens = in_text("organization TPM rate limit, current:70000, limit:64000");
        assert_eq!(tokens, Limits { tpm: Some(64_000), ..Limits::default() });
        for odd in [
            "max RPM: x",
            "max RPM: 0",
            "max RPM: 99999999999",
            "max rpm",
            "TPM rate limit",
            "limit:5, TPM rate limit",
            "TPD rate limit, current:1500001, limit:1500000",
            "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000",
            "",
        ] {
            assert_eq!(in_text(odd), Limits::default(), "{odd}");
        }
    }

    proptest! {
        /// Against a list of all requests: never more than the limit in any 60 s, and a key that
        /// is kept back is let go when its time has come.
        #[test]
        fn a_minute_never_sees_more(limit in 1u32..6, gaps in prop::collection::vec(0i64..40, 1..80)) {
            let (mut usage, mut now, mut sent) = (usage(Some(limit), None, None), 0, Vec::new());
            for gap in gaps {
                now += gap;
                if let Some(free) = usage.frees_at(at(now)) {
                    prop_assert!(free > at(now) && free <= at(now + 61));
                    prop_assert!(usage.admits(free));
                    continue;
                }
                usage.begin(at(now));
                sent.push(now);
                let minute = sent.iter().filter(|second| **second > now - 60).count();
                prop_assert!(minute <= limit as usize);
            }
        }

        #[test]
        fn a_clock_set_back_does_not_panic(times in prop::collection::vec(any::<i32>(), 1..40)) {
            let mut usage = usage(Some(3), Some(3), None);
            for second in times {
                usage.begin(at(i64::from(second)));
                usage.end(1, at(i64::from(second)));
                let free = usage.frees_at(at(i64::from(second)));
                prop_assert!(free.is_none_or(|free| free <= at(i64::from(second) + 200)));
            }
        }
    }
}
