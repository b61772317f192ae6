//! The breaker of the upstream itself: an outage blocks no key and is not multiplied.
//!
//! # What it counts
//!
//! Attempts that end with [`Effect::Upstream`], one after the other, over all keys, and refusals
//! that every key gets alike ([`crate::Board::is_everybodys`]). A good answer ends the run; so does
//! any other refusal that the provider gave on purpose, of the key or of the request, for it shows
//! that the upstream is there. [`Policy::outage_run`] such attempts in a row are an outage.
//!
//! # What it does
//!
//! Requests always go out: whether the upstream is back can only be seen by asking. What an outage
//! limits is the second asking:
//!
//! * A retry waits: [`Policy::outage_backoff`], in an outage doubled with each further failure, at
//!   most [`Policy::outage_max_backoff`] (a client waits for it, and may have less patience); of that
//!   between half and all, by chance, so that requests that failed together do not come back together.
//! * Retries under way are at most [`Policy::retry_budget`] of the attempts under way, though
//!   [`Policy::retry_floor`] are always allowed. In an outage one at a time is.
//!
//! Moving on to another key after a refusal that concerns the key is no such retry: it ends with
//! the keys, and each is then known not to serve.

use std::time::Duration;

use jiff::Timestamp;

use kmi_core::outcome::Outcome;

use crate::{
    Policy,
    classify::{Effect, Verdict},
};

/// The module's documentation is its specification.
#[derive(Debug, Clone)]
pub struct Upstream {
    policy: Policy,
    run: u32,
    since: Option<Timestamp>,
    attempts: u32,
    retries: u32,
}

impl Upstream {
    /// An upstream of which nothing bad is known.
    pub fn new(policy: Policy) -> Self {
        Self { policy, run: 0, since: None, attempts: 0, retries: 0 }
    }

    /// Puts other settings into force; what is known stays known.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// An attempt begins.
    pub fn begin(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// An attempt has ended. To be called once for each [`Self::begin`].
    pub fn end(&mut self, verdict: &Verdict, now: Timestamp) {
        self.attempts = self.attempts.saturating_sub(1);
        match verdict.effect {
            Effect::Upstream(_) => {
                self.run = self.run.saturating_add(1);
                self.since.get_or_insert(now);
            }
            Effect::Works | Effect::Block(_) | Effect::LacksModel => self.is_there(),
            Effect::None if verdict.outcome == Outcome::ClientError => self.is_there(),
            // The client left, or nobody knows what the answer means.
            Effect::None | Effect::Suspect => {}
        }
    }

    fn is_there(&mut self) {
        (self.run, self.since) = (0, None);
    }

    /// Since when there is an outage; `None`: there is none.
    pub fn outage(&self) -> Option<Timestamp> {
        self.since.filter(|_| self.run >= self.outage_run())
    }

    fn outage_run(&self) -> u32 {
        self.policy.outage_run.max(1)
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
        let doublings = self.run.saturating_sub(self.outage_run()).min(20);
        let backoff = self.policy.outage_backoff.saturating_mul(1 << doublings);
        let pause = backoff.min(self.policy.outage_max_backoff);
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
        let share = (f64::from(self.attempts) * self.policy.retry_budget) as u32;
        share.max(self.policy.retry_floor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn upstream() -> Upstream {
        Upstream::new(Policy::default())
    }

    fn ended(upstream: &mut Upstream, outcome: Outcome, second: i64) {
        upstream.begin();
        upstream.end(&Verdict::of(outcome), at(second));
    }

    fn down(failures: u32) -> Upstream {
        let mut upstream = upstream();
        for n in 0..failures {
            ended(&mut upstream, Outcome::UpstreamError, i64::from(n));
        }
        upstream
    }

    #[test]
    fn a_run_of_failures_is_an_outage_and_an_answer_ends_it() {
        assert_eq!(down(4).outage(), None);
        for (outcome, outage) in [
            (Outcome::Ok, None),
            (Outcome::ClientError, None),
            (Outcome::ClientGone, Some(at(0))),
            (Outcome::ConnectFailed, Some(at(0))),
        ] {
            let mut upstream = down(5);
            assert_eq!(upstream.outage(), Some(at(0)));
            ended(&mut upstream, outcome, 9);
            assert_eq!(upstream.outage(), outage, "{outcome:?}");
        }
    }

    #[test]
    fn pauses_double_in_an_outage_and_are_jittered_and_capped() {
        let pause = |failures, random| down(failures).retry(random).unwrap().as_millis();
        let all: Vec<_> = [1, 4, 5, 6, 7, 8, 9, 99].map(|failures| pause(failures, 1.0)).into();
        assert_eq!(all, [1000, 1000, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!((pause(1, 0.0), pause(1, 0.5)), (500, 750));
        assert_eq!(pause(1000, 0.0), 5_000);
        for odd in [f64::NAN, f64::INFINITY, -5.0, 1e300] {
            assert!((500..=1000).contains(&pause(1, odd)));
        }
    }

    /// How many retries are allowed at once while so many attempts are under way.
    fn allowed(upstream: &mut Upstream, attempts: usize) -> usize {
        for _ in 0..attempts {
            upstream.begin();
        }
        (0..attempts + 9).take_while(|_| upstream.retry(0.0).is_some()).count()
    }

    #[test]
    fn retries_are_a_fifth_of_the_attempts_but_three_at_least() {
        let allowed = [0, 1, 19, 20, 100].map(|attempts| allowed(&mut down(1), attempts));
        assert_eq!(allowed, [3, 3, 3, 4, 20]);
    }

    #[test]
    fn other_settings_count_at_once_and_forget_nothing() {
        let mut upstream = down(4);
        upstream.set_policy(Policy { outage_run: 4, ..Policy::default() });
        assert_eq!(upstream.outage(), Some(at(0)));
        let mut upstream = down(1);
        upstream.set_policy(Policy { retry_budget: 0.5, retry_floor: 0, ..Policy::default() });
        assert_eq!(allowed(&mut upstream, 10), 5);
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
            let (mut upstream, mut attempts, mut retries) = (upstream(), 0u32, 0u32);
            for event in events {
                match event {
                    0 => { upstream.begin(); attempts += 1; }
                    1 if attempts > 0 => {
                        upstream.end(&Verdict::of(Outcome::UpstreamTimeout), at(0));
                        attempts -= 1;
                    }
                    2 => if upstream.retry(0.3).is_some() {
                        retries += 1;
                        prop_assert!(retries <= (attempts / 5).max(3));
                    },
                    3 if retries > 0 => { upstream.retry_ended(); retries -= 1; }
                    _ => ended(&mut upstream, Outcome::Ok, 0),
                }
            }
        }
    }
}
