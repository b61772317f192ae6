//! Why no key is usable, for the three answers of CONTRACT section 4.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kmi_core::{eligible::KeySet, state::Reason};

use super::{Board, entry::Entry};
use crate::{
    breaker::{Breaker, State},
    cooldown::later,
    limits::Usage,
};

/// The longest wait that a client is asked to keep; kimi-cli honours no longer one, and kimi-code
/// would sleep however long it is told to (WIRE section 5).
const SHORT_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// A wait whose end is not known but surely near: a probe or other requests are under way.
const MOMENT: Duration = Duration::from_secs(1);

/// Why no key is usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// A key will be usable within a minute.
    ShortWait {
        /// When.
        at: Timestamp,
    },
    /// Quotas or balances are spent, and nothing else will be usable soon.
    QuotaSpent {
        /// When the first key may be usable again; `None` until the user acts.
        at: Option<Timestamp>,
    },
    /// No key works at all.
    NoneWorking {
        /// When the first key may be usable again; `None` until the user acts.
        at: Option<Timestamp>,
    },
}

impl Board {
    /// Why no key is usable, and when the next one will be; `None` while one is.
    pub fn soonest(&self, now: Timestamp) -> Option<Exhausted> {
        self.soonest_among(&KeySet::full(self.keys.len()), now)
    }

    /// As [`Self::soonest`] for a request that only some keys may serve.
    pub fn soonest_among(&self, keys: &KeySet, now: Timestamp) -> Option<Exhausted> {
        if keys.iter().any(|key| self.usable.contains(key)) {
            return None;
        }
        let among = || keys.iter().filter_map(|key| self.keys.get(key));
        let on = || among().filter(|entry| !entry.is_off());
        let spent = on().any(|entry| self.states(entry).into_iter().any(is_spent));
        Some(match on().filter_map(|entry| self.usable_at(entry, now)).min() {
            Some(at) if at.duration_since(now) <= SHORT_WAIT => Exhausted::ShortWait { at },
            at if spent => Exhausted::QuotaSpent { at },
            at => Exhausted::NoneWorking { at },
        })
    }

    /// When the first key outside of `tried` may serve; `None` when none will by itself. A request
    /// that waits waits for this: a key that it has tried never serves it again.
    pub fn next_usable(&self, tried: &KeySet, now: Timestamp) -> Option<Timestamp> {
        let left = self.keys.iter().enumerate().filter(|(key, _)| !tried.contains(*key));
        let on = left.filter(|(_, entry)| !entry.is_off());
        on.filter_map(|(_, entry)| self.usable_at(entry, now)).min()
    }

    /// Whether a key may serve within a short wait.
    pub(super) fn is_soon_usable(&self, key: usize, now: Timestamp) -> bool {
        let entry = &self.keys[key];
        let at = self.usable_at(entry, now).filter(|_| !entry.is_off());
        at.is_some_and(|at| at.duration_since(now) <= SHORT_WAIT)
    }

    fn states(&self, entry: &Entry) -> [State; 2] {
        self.breakers(entry).map(Breaker::state)
    }

    /// A key is usable when the last of what keeps it back has ended.
    fn usable_at(&self, entry: &Entry, now: Timestamp) -> Option<Timestamp> {
        let [own, account] = self.states(entry).map(|state| end(state, now));
        let usage = &self.accounts[entry.account].usage;
        let limits = frees_at(&entry.usage, now).max(frees_at(usage, now));
        Some(own?.max(account?).max(limits))
    }
}

fn is_spent(state: State) -> bool {
    let State::Open { reason, .. } = state else { return false };
    matches!(reason, Reason::QuotaExhausted | Reason::BalanceExhausted)
}

/// When a breaker lets requests pass again; `None`: not by itself.
fn end(state: State, now: Timestamp) -> Option<Timestamp> {
    match state {
        State::Closed | State::HalfOpen { probe: None, .. } => Some(now),
        State::Open { until, .. } => until.map(|until| until.max(now)),
        State::HalfOpen { probe: Some(_), .. } => Some(later(now, MOMENT)),
    }
}

/// When limits let a request pass.
fn frees_at(usage: &Usage, now: Timestamp) -> Timestamp {
    let slot = if usage.has_slot() { now } else { later(now, MOMENT) };
    usage.frees_at(now).map_or(slot, |at| at.max(slot))
}
