//! One key on the board.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kmi_core::{
    inventory::Key,
    outcome::{Fault, Outcome},
    snapshot::KeyRow,
    state::{KeyState, Reason},
    trace::HealthChange,
};

use super::account::Account;
use crate::{
    Policy,
    account::Known,
    breaker::{Breaker, State},
    latency::Latency,
    limits::Usage,
    quota::Quota,
};

/// Models that a key is remembered to lack; the names come from requests, so they are bounded.
const MAX_MODELS: usize = 16;

/// A key's speed is compared with that of its peers at every so many requests.
const COMPARE_EVERY: u64 = 32;

/// One key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Arc<Key>,
    /// Its account's number.
    pub(super) account: usize,
    /// Switched off: by its file, or by the user since.
    switched_off: bool,
    pub(super) breaker: Breaker,
    /// What it uses of the limits that the user set.
    pub(super) usage: Usage,
    /// What the provider has said of its account.
    pub(super) known: Known,
    /// When it last answered well.
    pub(super) last_ok: Option<Timestamp>,
    /// Whether its answers come much slower than those of its peers.
    pub(super) slow: bool,
    pub(super) meter: Meter,
    /// The health that was last reported.
    pub(super) shown: Health,
    lacking: Vec<(Arc<str>, Timestamp)>,
}

/// What is counted for the status table.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    requests: u64,
    errors: u64,
    last_used: Option<Timestamp>,
    pub(super) latency: Latency,
}

/// What is said of a key: state, reason and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) state: KeyState,
    pub(super) reason: Option<Reason>,
    pub(super) until: Option<Timestamp>,
}

impl Meter {
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.requests += 1;
        self.last_used = Some(now);
    }

    pub(super) fn end(&mut self, outcome: Outcome, latency: Duration) {
        self.errors += u64::from(matches!(outcome.fault(), Some(Fault::Key | Fault::Upstream)));
        if outcome == Outcome::Ok {
            self.latency.record(latency);
        }
    }

    /// Whether it is time to compare this key's speed with that of its peers.
    pub(super) fn is_due(&self) -> bool {
        self.requests.is_multiple_of(COMPARE_EVERY)
    }
}

impl Entry {
    pub(super) fn new(key: Arc<Key>, account: usize) -> Self {
        Self {
            switched_off: key.disabled,
            usage: Usage::new(key.limits),
            key,
            account,
            breaker: Breaker::default(),
            known: Known::default(),
            last_ok: None,
            slow: false,
            meter: Meter::default(),
            shown: Health::HEALTHY,
            lacking: Vec::new(),
        }
    }

    /// Takes over what was known of the same key before a reload. The file's word on `disabled`
    /// counts when it has changed, the user's otherwise.
    pub(super) fn adopt(&mut self, old: &Self) {
        if self.key.disabled == old.key.disabled {
            self.switched_off = old.switched_off;
        }
        self.breaker = old.breaker.clone();
        self.usage = old.usage.clone();
        self.usage.set_limits(self.key.limits);
        self.known.clone_from(&old.known);
        self.last_ok = old.last_ok;
        self.slow = old.slow;
        self.meter = old.meter.clone();
        self.lacking.clone_from(&old.lacking);
        self.shown = old.shown;
    }

    pub(super) fn is_off(&self) -> bool {
        self.switched_off
    }

    pub(super) fn switch(&mut self, off: bool) {
        self.switched_off = off;
    }

    pub(super) fn admits(&self, now: Timestamp) -> bool {
        !self.is_off() && self.breaker.admits() && self.usage.admits(now)
    }

    /// Whether it lacks any model, as far as is known.
    pub(super) fn lacks_models(&self) -> bool {
        !self.lacking.is_empty()
    }

    pub(super) fn lacks(&self, model: &str) -> bool {
        self.lacking.iter().any(|(lacking, _)| **lacking == *model)
    }

    pub(super) fn set_lacking(&mut self, model: &str, until: Timestamp) {
        self.forget_lacking(model);
        if self.lacking.len() == MAX_MODELS {
            self.lacking.remove(0);
        }
        self.lacking.push((model.into(), until));
    }

    pub(super) fn forget_lacking(&mut self, model: &str) {
        self.lacking.retain(|(lacking, _)| **lacking != *model);
    }

    pub(super) fn clear(&mut self) {
        self.breaker.close();
        self.lacking.clear();
    }

    pub(super) fn clock_set_back(&mut self) {
        self.breaker.clock_set_back();
        self.lacking.clear();
    }

    pub(super) fn tick(&mut self, policy: &Policy, now: Timestamp) {
        self.breaker.tick(policy, now);
        self.lacking.retain(|(_, until)| *until > now);
    }

    pub(super) fn next_change(&self, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
        let models = self.lacking.iter().map(|(_, until)| *until);
        models.chain(self.breaker.next_change(policy)).chain(self.usage.frees_at(now)).min()
    }

    /// The trace's record of a new health.
    pub(super) fn change(&self, to: Health, now: Timestamp) -> HealthChange {
        HealthChange {
            ts: now,
            upstream: Some(Arc::clone(&self.key.upstream)),
            key: self.key.id.to_string().into(),
            label: self.key.label.shared(),
            from: self.shown.state,
            to: to.state,
            reason: to.reason,
            until: to.until,
        }
    }

    pub(super) fn row(&self, health: Health, account: &Account) -> KeyRow {
        KeyRow {
            key: self.key.id.to_string(),
            label: self.key.label.to_string(),
            masked: self.key.secret.masked(),
            upstream: self.key.upstream.to_string(),
            account: account.name(self.known.id()),
            priority: self.key.priority,
            weight: self.key.weight,
            state: health.state,
            reason: health.reason,
            until: health.until,
            last_used: self.meter.last_used,
            requests: self.meter.requests,
            errors: self.meter.errors,
            in_flight: self.usage.in_flight(),
            latency_ms: self.meter.latency.row(),
            quota: account.quota.as_ref().map(Quota::row).unwrap_or_default(),
        }
    }
}

impl Health {
    pub(super) const HEALTHY: Self = Self { state: KeyState::Healthy, reason: None, until: None };

    /// The worst of what is known: off, blocked for longest, half-open, then what is merely off.
    pub(super) fn of(entry: &Entry, account: &Account, policy: &Policy) -> Self {
        if entry.is_off() {
            return Self { state: KeyState::Disabled, ..Self::HEALTHY };
        }
        let breakers = [entry.breaker.state(), account.breaker.state()];
        let blocked = breakers.into_iter().filter_map(|state| match state {
            State::Open { reason, until } => Some((until.is_none(), until, reason)),
            _ => None,
        });
        if let Some((_, until, reason)) = blocked.max_by_key(|(ever, until, _)| (*ever, *until)) {
            return Self { state: KeyState::Blocked, reason: Some(reason), until };
        }
        let probed = breakers.into_iter().find_map(|state| match state {
            State::HalfOpen { reason, .. } => Some(reason),
            _ => None,
        });
        let remaining = account.quota.as_ref().and_then(Quota::remaining_ratio);
        let warnings = [
            (!entry.lacking.is_empty(), Reason::ModelNotAllowed),
            (remaining.is_some_and(|left| left < policy.quota_low), Reason::QuotaLow),
            (entry.slow, Reason::Slow),
            (account.quota_unknown, Reason::QuotaUnknown),
        ];
        let warning = || warnings.iter().find(|(holds, _)| *holds).map(|(_, reason)| *reason);
        match probed.or_else(warning) {
            Some(reason) => Self { state: KeyState::Warn, reason: Some(reason), until: None },
            None => Self::HEALTHY,
        }
    }
}
