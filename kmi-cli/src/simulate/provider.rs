//! The provider: answers that take their time, and refuses what its limits or the scenario's
//! failures forbid.

use std::collections::VecDeque;

use fastrand::Rng;

use super::{
    population::{Population, Truth},
    scenario::Allowance,
    trouble::{Ending, Trouble},
};

/// The provider's minute.
const MINUTE: i64 = 60_000;
/// How long a refusal takes, in milliseconds.
const REFUSAL: std::ops::RangeInclusive<i64> = 80..=300;

/// The provider, with what it counts.
#[derive(Debug)]
pub(super) struct Provider {
    truths: Vec<Truth>,
    accounts: Vec<Account>,
}

/// What an attempt will come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) ending: Ending,
    pub(super) latency: i64,
}

#[derive(Debug)]
struct Account {
    allows: Allowance,
    running: u32,
    /// When the requests of the last minute came.
    minute: VecDeque<i64>,
    /// When the quota's window ends; before the first request there is none.
    window_ends: i64,
    requests: u64,
    tokens: u64,
}

impl Provider {
    pub(super) fn new(population: &Population) -> Self {
        let account = |allows: &Allowance| Account {
            allows: allows.clone(),
            running: 0,
            minute: VecDeque::new(),
            window_ends: 0,
            requests: 0,
            tokens: 0,
        };
        Self {
            truths: population.truths.clone(),
            accounts: population.accounts.iter().map(account).collect(),
        }
    }

    /// The account of a key.
    pub(super) fn account(&self, key: usize) -> usize {
        self.truths[key].account
    }

    /// Takes attempt number `attempt` with a key. [`Self::ended`] is to follow.
    pub(super) fn answer(
        &mut self,
        key: usize,
        attempt: u64,
        tokens: u64,
        now: i64,
        dice: &mut Rng,
    ) -> Answer {
        let truth = &self.truths[key];
        let account = &mut self.accounts[truth.account];
        account.running += 1;
        let fails = truth.fails.iter().find(|(when, _)| when.holds(attempt, now));
        let trouble = match fails {
            Some((_, trouble)) => Some((*trouble, None)),
            None => account.refuses(now),
        };
        let ending = match trouble {
            Some((trouble, wait)) => Ending::Bad(trouble, wait),
            None if truth.errors > 0.0 && dice.f64() < truth.errors => {
                Ending::Bad(Trouble::ServerError, None)
            }
            None => Ending::Good,
        };
        if ending == Ending::Good {
            account.count(tokens, now);
        }
        let latency = match ending {
            Ending::Bad(trouble, _) => trouble.latency().unwrap_or_else(|| dice.i64(REFUSAL)),
            Ending::Good => truth.latency.draw(dice),
        };
        Answer { ending, latency }
    }

    /// The attempt has ended.
    pub(super) fn ended(&mut self, key: usize) {
        self.accounts[self.truths[key].account].running -= 1;
    }
}

impl Account {
    /// Why the account gets no answer now, and the wait in seconds that is stated with it.
    fn refuses(&mut self, now: i64) -> Option<(Trouble, Option<u32>)> {
        if now >= self.window_ends {
            (self.requests, self.tokens) = (0, 0);
        }
        let spent = |used: u64, allowed: Option<u64>| allowed.is_some_and(|most| used >= most);
        if spent(self.requests, self.allows.requests) || spent(self.tokens, self.allows.tokens) {
            // What kmi learns from the quota endpoint: when the window ends.
            let wait = (self.window_ends - now + 999) / 1_000;
            return Some((Trouble::QuotaExhausted, u32::try_from(wait).ok()));
        }
        if self.allows.concurrency.is_some_and(|most| self.running > most) {
            return Some((Trouble::ConcurrencyLimited, None));
        }
        let most = self.allows.rpm?;
        while self.minute.front().is_some_and(|at| *at + MINUTE <= now) {
            self.minute.pop_front();
        }
        (self.minute.len() >= most as usize).then_some((Trouble::RateLimited, None))
    }

    fn count(&mut self, tokens: u64, now: i64) {
        if let Some(window) = self.allows.window.filter(|_| now >= self.window_ends) {
            self.window_ends = now + window.0;
        }
        self.requests += 1;
        self.tokens += tokens;
        if self.allows.rpm.is_some() {
            self.minute.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::scenario::Scenario;

    fn provider(allowance: &str, fail: &str) -> Provider {
        let text = format!("[[key]]\nlatency = '1s'\n[key.provider]\n{allowance}\n{fail}");
        Provider::new(&Population::new(&Scenario::parse(&text).unwrap()).unwrap())
    }

    /// Sends one request at each time; the first must end before the next begins.
    fn ask(provider: &mut Provider, times: &[i64]) -> Vec<Ending> {
        let mut dice = Rng::with_seed(1);
        let ask = |(n, at): (usize, &i64)| {
            let answer = provider.answer(0, n as u64 + 1, 100, *at, &mut dice);
            provider.ended(0);
            answer.ending
        };
        times.iter().enumerate().map(ask).collect()
    }

    #[test]
    fn a_minute_holds_so_many_requests() {
        let endings = ask(&mut provider("rpm = 2", ""), &[0, 1_000, 2_000, 60_000, 60_500]);
        let refused = Ending::Bad(Trouble::RateLimited, None);
        assert_eq!(endings, [Ending::Good, Ending::Good, refused, Ending::Good, refused]);
    }

    #[test]
    fn a_window_begins_with_its_first_request() {
        let mut provider = provider("tokens = 200\nwindow = '1h'", "");
        let endings = ask(&mut provider, &[600_000, 601_000, 602_000, 4_200_000]);
        let spent = Ending::Bad(Trouble::QuotaExhausted, Some(3_598));
        assert_eq!(endings, [Ending::Good, Ending::Good, spent, Ending::Good]);
    }

    #[test]
    fn requests_at_once_are_limited() {
        let (mut provider, mut dice) = (provider("concurrency = 1", ""), Rng::with_seed(1));
        assert_eq!(provider.answer(0, 1, 0, 0, &mut dice).ending, Ending::Good);
        let second = provider.answer(0, 2, 0, 0, &mut dice);
        assert_eq!(second.ending, Ending::Bad(Trouble::ConcurrencyLimited, None));
        assert!(second.latency < 1_000, "a refusal comes at once");
    }

    #[test]
    fn failures_come_when_the_scenario_says() {
        let fail = "[[fail]]\nkey = '1'\nat = '2..3'\nwith = 'timeout'";
        let endings = ask(&mut provider("", fail), &[0, 1, 2, 3]);
        let fails = Ending::Bad(Trouble::Timeout, None);
        assert_eq!(endings, [Ending::Good, fails, fails, Ending::Good]);
    }
}
