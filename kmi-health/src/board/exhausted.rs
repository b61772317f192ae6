//! Why no key is usable, for the three answers of CONTRACT section 4.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kmi_core::state::Reason;

use super::Board;
use crate::{breaker::State, cooldown::later, limits::Usage};

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

impl Exhausted {
    /// When it is worth to look again.
    pub fn at(self) -> Option<Timestamp> {
        match self {
            Self::ShortWait { at } => Some(at),
            Self::QuotaSpent { at } | Self::NoneWorking { at } => at,
        }
    }
}

impl Board {
    /// Why no key is usable, and when the next one will be; `None` while one is.
    pub fn soonest(&self, now: Timestamp) -> Option<Exhausted> {
        if !self.usable.is_empty() {
            return None;
        }
        let (mut first, mut spent) = (None, false);
        for entry in self.keys.iter().filter(|entry| !entry.is_off()) {
            let account = &self.accounts[entry.account];
            let states = [entry.breaker.state(), account.breaker.state()];
            spent |= states.iter().any(|state| is_spent(*state));
            // A key is usable when the last of what keeps it back has ended.
            let [Some(key), Some(its_account)] = states.map(|state| end(state, now)) else {
                continue;
            };
            let limits = frees_at(&entry.usage, now).max(frees_at(&account.usage, now));
            let at = key.max(its_account).max(limits);
            first = Some(first.map_or(at, |first: Timestamp| first.min(at)));
        }
        Some(match first {
            Some(at) if at.duration_since(now) <= SHORT_WAIT => Exhausted::ShortWait { at },
            at if spent => Exhausted::QuotaSpent { at },
            at => Exhausted::NoneWorking { at },
        })
    }
}

fn is_spent(state: State) -> bool {
    let State::Open { reason, .. } = state else { return false };
    matches!(reason, Reason::QuotaExhausted | Reason::BalanceExhausted)
}

/// When a breaker lets requests pass again; `None`: not by itself.
fn end(state: State, now: Timestamp) -> Option<Timestamp> {
    match state {
        State::Closed => Some(now),
        State::Open { until, .. } => until.map(|until| until.max(now)),
        State::HalfOpen { .. } => Some(later(now, MOMENT)),
    }
}

/// When limits let a request pass.
fn frees_at(usage: &Usage, now: Timestamp) -> Timestamp {
    let slot = if usage.has_slot() { now } else { later(now, MOMENT) };
    usage.frees_at(now).map_or(slot, |at| at.max(slot))
}
