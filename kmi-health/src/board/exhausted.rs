//! Why no key is usable, for the three answers of CONTRACT section 4.

use jiff::{SignedDuration, Timestamp};
use kmi_core::state::Reason;

use super::Board;
use crate::breaker::State;

/// The longest wait that a client is asked to keep; kimi-cli honours no longer one, and kimi-code
/// would sleep however long it is told to (WIRE section 5).
const SHORT_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// A wait whose end is not known but surely near: a probe or other requests are under way.
const MOMENT: SignedDuration = SignedDuration::from_secs(1);

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
            let states = [entry.breaker.state(), self.accounts[entry.account].breaker.state()];
            spent |= states.iter().any(|state| is_spent(*state));
            let ends = states.map(|state| end(state, now));
            // A key is usable when the later of its two blocks has ended.
            if let [Some(a), Some(b)] = ends {
                let at = a.max(b);
                first = Some(first.map_or(at, |first: Timestamp| first.min(at)));
            }
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
        State::HalfOpen { .. } => Some(now.saturating_add(MOMENT).unwrap_or(Timestamp::MAX)),
    }
}
