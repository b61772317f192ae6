//! The breaker of the upstream itself: an outage blocks no key and is not multiplied.
//!
//! # What it counts
//!
//! Attempts that end with [`Effect::Upstream`], one after the other, over all keys. A good answer
//! ends the run; so does any refusal that the provider gave on purpose, for it shows that the
//! upstream is there. [`Policy::outage_run`] such attempts in a row are an outage.
//!
//! # What it does
//!
//! Requests always go out: whether the upstream is back can only be seen by asking. What an outage
//! limits is the second asking:
//!
//! * A retry waits: [`Policy::outage_backoff`], doubled with each failure of the run, at most
//!   [`Policy::outage_max_backoff`]; of that between half and all, by chance, so that requests
//!   that failed together do not come back together.
//! * Retries under way are at most [`Policy::retry_budget`] of the requests under way, though
//!   [`Policy::retry_floor`] are always allowed. In an outage one at a time is.
//!
//! Moving on to another key after a refusal that concerns the key is no such retry: it ends with
//! the keys, and each is then known not to serve.

use std::time::Duration;

use jiff::Timestamp;

use crate::{Policy, classify::Effect};

/// The module's documentation is its specification.
#[derive(Debug, Clone)]
pub struct Upstream {
    outage_run: u32,
    backoff: Duration,
    max_backoff: Duration,
    budget: f64,
    floor: u32,
    run: u32,
    since: Option<Timestamp>,
    requests: u32,
    retries: u32,
}

impl Upstream {
    /// An upstream of which nothing bad is known.
    pub fn new(policy: &Policy) -> Self {
        Self {
            outage_run: policy.outage_run,
            backoff: policy.outage_backoff,
            max_backoff: policy.outage_max_backoff,
            budget: policy.retry_budget,
            floor: policy.retry_floor,
            run: 0,
            since: None,
            requests: 0,
            retries: 0,
        }
    }

    /// A client's request begins.
    pub fn begin(&mut self) {
        self.requests = self.requests.saturating_add(1);
    }

    /// A client's request has ended. To be called once for each [`Self::begin`].
    pub fn end(&mut self) {
        self.requests = self.requests.saturating_sub(1);
    }

    /// An attempt has ended.
    pub fn observe(&mut self, effect: &Effect, now: Timestamp) {
        match effect {
            Effect::Upstream(_) => {
                self.run = self.run.saturating_add(1);
                self.since.get_or_insert(now);
            }
            Effect::Works | Effect::Block(_) | Effect::LacksModel => {
                (self.run, self.since) = (0, None);
            }
            // The client left, or nobody knows what the answer means.
            Effect::None | Effect::Suspect => {}
        }
    }

    /// Since when there is an outage; `None`: there is none.
    pub fn outage(&self) -> Option<Timestamp> {
        self.since.filter(|_| self.run >= self.outage_run.max(1))
    }

    /// Asks for a retry of an attempt that the upstream failed: the pause before it, or `None`
    /// when the client gets the failure. Each `Some` is followed by one [`Self::retry_ended`].
    ///
    /// `random` is a number from 0 to 1, by chance.
    pub fn retry(&mut self, random: f64) -> Option<Duration> {
        if self.retries >= self.allowed() {
            return None;
        }
        self.retries += 1;
        let doublings = self.run.saturating_sub(1).min(20);
        let pause = self.backoff.saturating_mul(1 << doublings).min(self.max_backoff);
        // What is no number from 0 to 1 must not panic in the multiplication.
        let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 1.0 };
        Some(pause.mul_f64(0.5 + random / 2.0))
    }

    /// A retry has ended, whatever came of it.
    pub fn retry_ended(&mut self) {
        self.retries = self.retries.saturating_sub(1);
    }

    /// How many retries may be under way.
    fn allowed(&self) -> u32 {
        if self.outage().is_some() {
            return 1;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let share = (f64::from(self.requests) * self.budget) as u32;
        share.max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::classify::{Trouble, Verdict};
    use kmi_core::outcome::Outcome;

    const DOWN: Effect = Effect::Upstream(Trouble::Server);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn upstream() -> Upstream {
        Upstream::new(&Policy::default())
    }

    fn down(failures: u32) -> Upstream {
        let mut upstream = upstream();
        for n in 0..failures {
            upstream.observe(&DOWN, at(i64::from(n)));
        }
        upstream
    }

    #[test]
    fn a_run_of_failures_is_an_outage_and_a_good_answer_ends_it() {
        assert_eq!(down(4).outage(), None);
        let mut upstream = down(5);
        assert_eq!(upstream.outage(), Some(at(0)));
        upstream.observe(&Effect::None, at(9));
        assert_eq!(upstream.outage(), Some(at(0)), "a client that leaves says nothing");
        upstream.observe(&Verdict::of(Outcome::Ok).effect, at(9));
        assert_eq!(upstream.outage(), None);
    }

    #[test]
    fn pauses_double_and_are_jittered_and_capped() {
        let pause = |failures, random| down(failures).retry(random).unwrap().as_millis();
        let all: Vec<_> = (1..9).map(|failures| pause(failures, 1.0)).collect();
        assert_eq!(all, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!((pause(1, 0.0), pause(1, 0.5)), (500, 750));
        assert_eq!(pause(1000, 0.0), 15_000);
        for odd in [f64::NAN, f64::INFINITY, -5.0, 1e300] {
            assert!((500..=1000).contains(&pause(1, odd)));
        }
    }

    #[test]
    fn retries_are_a_fifth_of_the_requests_but_three_at_least() {
        let allowed = |requests| {
            let mut upstream = down(1);
            for _ in 0..requests {
                upstream.begin();
            }
            (0..requests + 9).take_while(|_| upstream.retry(0.0).is_some()).count()
        };
        assert_eq!(
            (allowed(0), allowed(1), allowed(19), allowed(20), allowed(100)),
            (3, 3, 3, 4, 20)
        );
    }

    #[test]
    fn an_outage_allows_one_retry_at_a_time() {
        let mut upstream = down(5);
        assert!(upstream.retry(0.0).is_some());
        assert_eq!(upstream.retry(0.0), None);
        upstream.retry_ended();
        assert!(upstream.retry(0.0).is_some());
    }

    proptest! {
        /// However an outage goes, it is multiplied by little more than a fifth.
        #[test]
        fn retries_never_exceed_the_budget(events in prop::collection::vec(0u8..5, 0..300)) {
            let (mut upstream, mut requests, mut retries) = (upstream(), 0u32, 0u32);
            for event in events {
                match event {
                    0 => { upstream.begin(); requests += 1; }
                    1 if requests > 0 => { upstream.end(); requests -= 1; }
                    2 => if upstream.retry(0.3).is_some() {
                        retries += 1;
                        prop_assert!(retries <= (requests / 5).max(3));
                    },
                    3 if retries > 0 => { upstream.retry_ended(); retries -= 1; }
                    _ => upstream.observe(&DOWN, at(0)),
                }
            }
        }
    }
}
