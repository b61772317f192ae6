//! Words about a key that several views use.

use std::collections::HashMap;

use jiff::Timestamp;
use kmi_core::{
    display::visible,
    snapshot::{KeyRow, QuotaRow, Snapshot},
    state::{KeyState, Reason},
};

use crate::{
    paint::Tone,
    quantity::{countdown, percent_left, seconds},
};

/// Keys by their ids, as they may be shown; of those that are there now.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyNames(HashMap<String, Name>);

#[derive(Debug, Clone)]
struct Name {
    label: String,
    masked: String,
}

impl KeyNames {
    pub(crate) fn of_keys(snapshot: &Snapshot) -> Self {
        let name = |row: &KeyRow| Name { label: row.label.clone(), masked: row.masked.clone() };
        Self(snapshot.keys.iter().map(|row| (row.key.clone(), name(row))).collect())
    }

    /// The label of a key.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|name| &*name.label)
    }

    /// A key without what is secret of it.
    pub(crate) fn masked(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|name| &*name.masked)
    }
}

/// The state, for how long it lasts, and why: `blocked, back in 32s: rate limited`.
pub(crate) fn state(key: &KeyRow, now: Timestamp) -> String {
    let back = until(key, now).map(|until| match key.until {
        Some(_) => format!(", back in {until}"),
        None => format!(", {until}"),
    });
    let why = key.reason.map(|reason| format!(": {}", why(reason)));
    format!("{}{}{}", key.state.as_str(), back.unwrap_or_default(), why.unwrap_or_default())
}

/// A reason in words.
pub(crate) fn why(reason: Reason) -> String {
    reason.as_str().replace('_', " ")
}

/// A reason in eight columns.
pub(crate) fn why_in_short(reason: Reason) -> &'static str {
    match reason {
        Reason::AccountTerminated => "closed",
        Reason::AuthFailed => "refused",
        Reason::BalanceExhausted => "no money",
        Reason::ConcurrencyLimited => "too many",
        Reason::Failing => "failing",
        Reason::MembershipLapsed => "lapsed",
        Reason::ModelNotAllowed => "no model",
        Reason::QuotaExhausted => "no quota",
        Reason::QuotaLow => "low",
        Reason::QuotaUnknown => "quota?",
        Reason::RateLimited => "too fast",
        Reason::Slow => "slow",
    }
}

/// How long a block lasts: a countdown, or that it waits for the user.
pub(crate) fn until(key: &KeyRow, now: Timestamp) -> Option<String> {
    match key.until {
        Some(until) => Some(countdown(until, now)),
        None if key.state == KeyState::Blocked
            && key.reason.is_some_and(Reason::needs_the_user) =>
        {
            Some("needs you".to_owned())
        }
        None => None,
    }
}

/// Median and 95th percentile, as `1.2s/12s`.
pub(crate) fn latency(key: &KeyRow) -> String {
    match (key.latency_ms.p50, key.latency_ms.p95) {
        (Some(p50), Some(p95)) => format!("{}/{}", seconds(p50), seconds(p95)),
        (Some(p50), None) => seconds(p50),
        _ => String::new(),
    }
}

/// What is left: of the tightest limit in percent, or the balance.
pub(crate) fn left(quota: &QuotaRow) -> String {
    if let Some(left) = quota.remaining_ratio {
        return percent_left(left);
    }
    let currency = quota.currency.as_deref().map(|it| format!(" {}", visible(it)));
    let balance = quota.balance.map(|it| format!("{it:.2}{}", currency.unwrap_or_default()));
    balance.unwrap_or_default()
}

/// How a share that is left is to be taken.
pub(crate) fn left_tone(left: Option<f64>) -> Tone {
    match left {
        Some(left) if left <= 0.0 => Tone::Bad,
        Some(left) if left < 0.2 => Tone::Warn,
        _ => Tone::Plain,
    }
}
