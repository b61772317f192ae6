//! What is left of a quota, out of what the provider's endpoints answer (WIRE section 1.5).
//!
//! `/usages` describes the same windows in two shapes that disagree at times, and either is known
//! to claim too much: of each window the worst view counts. Fields may be strings or numbers and
//! are absent when zero.

pub mod pool;

use std::time::Duration;

use jiff::Timestamp;
use kmi_core::{
    display::visible,
    snapshot::{LimitRow, QuotaRow},
};
use serde_json::Value;

use crate::{account::AccountId, classify::QuotaWindow, cooldown::later, retry_after::LONGEST};

/// Most limits that are read of one answer.
const MAX_LIMITS: usize = 16;

/// A window used up to this part is taken for the one that a refusal speaks of.
const SPENT: f64 = 0.99;

/// What is left of a key's quota.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// Which endpoint said so.
    pub source: Source,
    /// Every window that it reports.
    pub limits: Vec<Limit>,
    /// The balance, where the account is prepaid.
    pub balance: Option<f64>,
    /// How many requests at once the account may have.
    pub concurrency: Option<u32>,
    /// The account.
    pub account: Option<AccountId>,
    /// When the endpoint was asked.
    pub checked_at: Timestamp,
}

/// The endpoint that a quota comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Kimi Code's `/usages`.
    Usages,
    /// The Open Platform's `/users/me/balance`.
    Balance,
}

/// One window of a quota.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Its name: `5h`, `7d`, `month_total`, …
    pub name: String,
    /// What is used up, 0 to 1.
    pub used_ratio: f64,
    /// When it starts anew.
    pub resets_at: Option<Timestamp>,
}

/// Why a quota endpoint's answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// No JSON.
    #[error("the quota endpoint's answer is not JSON")]
    Json,
    /// JSON in which nothing about a quota stands.
    #[error("the quota endpoint's answer names no limit and no balance")]
    Empty,
}

impl Quota {
    /// Reads an answer of `/usages`, in the old shape, the new one, or both.
    pub fn of_usages(body: &[u8], now: Timestamp) -> Result<Self, QuotaError> {
        let json: Value = serde_json::from_slice(body).map_err(|_| QuotaError::Json)?;
        let mut limits = Vec::new();
        let mut add = |name: String, view: View| {
            let Some(used_ratio) = view.used_ratio else { return };
            worst(&mut limits, Limit { name, used_ratio, resets_at: view.resets_at });
        };
        add("7d".into(), View::counted(&json["usage"], now));
        for limit in json["limits"].as_array().into_iter().flatten().take(MAX_LIMITS) {
            if let Some(name) = window_name(&limit["window"]) {
                add(name, View::counted(&limit["detail"], now));
            }
        }
        add("total".into(), View::counted(&json["totalQuota"], now));
        for (name, view) in json["usages"].as_object().into_iter().flatten().take(MAX_LIMITS) {
            let name = visible(name.strip_prefix("limit_").unwrap_or(name)).into_owned();
            add(name, View::stated(view, now));
        }
        if limits.is_empty() {
            return Err(QuotaError::Empty);
        }
        let concurrency = first_number(&json["parallel"]["limit"]).filter(|limit| *limit >= 1.0);
        Ok(Self {
            source: Source::Usages,
            limits,
            balance: None,
            concurrency: concurrency.and_then(whole),
            account: json["user"]["userId"]
                .as_str()
                .and_then(|id| AccountId::of_user(id.as_bytes())),
            checked_at: now,
        })
    }

    /// Reads an answer of `/users/me/balance`.
    pub fn of_balance(body: &[u8], now: Timestamp) -> Result<Self, QuotaError> {
        let json: Value = serde_json::from_slice(body).map_err(|_| QuotaError::Json)?;
        let balance = number(&json["data"]["available_balance"]).ok_or(QuotaError::Empty)?;
        Ok(Self {
            source: Source::Balance,
            limits: Vec::new(),
            balance: Some(balance),
            concurrency: None,
            account: None,
            checked_at: now,
        })
    }

    /// What is left of the tightest window, 0 to 1; `None` where only a balance is known.
    pub fn remaining_ratio(&self) -> Option<f64> {
        let used = self.limits.iter().map(|limit| limit.used_ratio).max_by(f64::total_cmp)?;
        Some(ratio(1.0 - used))
    }

    /// Whether any window is used up.
    pub fn is_spent(&self) -> bool {
        self.limits.iter().any(|limit| limit.used_ratio >= SPENT)
    }

    /// When the window starts anew that a refusal speaks of; where it names none, the one that is
    /// used up. The refusal counts, however much this quota believes to be left of the window.
    pub fn reset(&self, window: QuotaWindow) -> Option<Timestamp> {
        // Of two that fit, the one that ends later keeps the key back anyway.
        self.limits_of(window).filter_map(|limit| limit.resets_at).max()
    }

    /// Whether the window that a refusal speaks of is used up by this quota's own account.
    pub fn uses_up(&self, window: QuotaWindow) -> bool {
        self.limits_of(window).any(|limit| limit.used_ratio >= SPENT)
    }

    fn limits_of(&self, window: QuotaWindow) -> impl Iterator<Item = &Limit> {
        self.limits.iter().filter(move |limit| match window {
            QuotaWindow::FiveHours => limit.name == "5h",
            QuotaWindow::Day => limit.name == "1d",
            QuotaWindow::Week => limit.name == "7d",
            QuotaWindow::Month => limit.name.starts_with("month"),
            QuotaWindow::Unnamed => limit.used_ratio >= SPENT,
        })
    }

    /// The quota as the status table shows it; the endpoints do not name a currency.
    pub fn row(&self) -> QuotaRow {
        let source = match self.source {
            Source::Usages => "usages",
            Source::Balance => "balance",
        };
        let limits = self.limits.iter().map(|limit| LimitRow {
            name: limit.name.clone(),
            used_ratio: limit.used_ratio,
            resets_at: limit.resets_at,
        });
        QuotaRow {
            source: Some(source.into()),
            remaining_ratio: self.remaining_ratio(),
            limits: limits.collect(),
            balance: self.balance,
            currency: None,
            checked_at: Some(self.checked_at),
        }
    }
}

/// What one place of an answer says about a window.
struct View {
    used_ratio: Option<f64>,
    resets_at: Option<Timestamp>,
}

impl View {
    /// `{"limit":"100","used":"40","remaining":"60","resetTime":…}`.
    fn counted(view: &Value, now: Timestamp) -> Self {
        let limit = number(&view["limit"]).filter(|limit| *limit > 0.0);
        let used_ratio = limit.and_then(|limit| {
            let used = number(&view["used"]).map(|used| used / limit);
            let left = number(&view["remaining"]).map(|left| 1.0 - left / limit);
            // Where both stand there and disagree, the worse one counts.
            used.into_iter().chain(left).max_by(f64::total_cmp)
        });
        Self { used_ratio: used_ratio.map(ratio), resets_at: reset(view, now) }
    }

    /// `{"used_ratio":0.15,"reset_time":…}`; a ratio that is absent is 0.
    fn stated(view: &Value, now: Timestamp) -> Self {
        let used_ratio = view.is_object().then(|| number(&view["used_ratio"]).unwrap_or(0.0));
        Self { used_ratio: used_ratio.map(ratio), resets_at: reset(view, now) }
    }
}

/// A ratio from 0 to 1 without what binary fractions leave behind: 80 of 100 used leave 0.2, which is
/// not under 20 %.
fn ratio(value: f64) -> f64 {
    (value.clamp(0.0, 1.0) * 1e9).round() / 1e9
}

/// Adds a view of a window; what several views say is put together to the worst.
fn worst(limits: &mut Vec<Limit>, view: Limit) {
    match limits.iter_mut().find(|limit| limit.name == view.name) {
        Some(limit) => {
            limit.used_ratio = limit.used_ratio.max(view.used_ratio);
            limit.resets_at = limit.resets_at.max(view.resets_at);
        }
        None => limits.push(view),
    }
}

/// A reset in any of the spellings that kimi-cli reads, no further away than any window is long.
fn reset(view: &Value, now: Timestamp) -> Option<Timestamp> {
    let furthest = later(now, LONGEST);
    let at = ["resetTime", "resetAt", "reset_time", "reset_at"]
        .iter()
        .find_map(|name| view[*name].as_str()?.parse::<Timestamp>().ok());
    let within = || {
        let seconds =
            ["resetIn", "reset_in", "ttl"].iter().find_map(|name| number(&view[*name]))?;
        Some(later(now, Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64()))))
    };
    at.or_else(within).map(|at| at.min(furthest))
}

/// The name of a window by its length: `5h`, `7d`, `90m`.
fn window_name(window: &Value) -> Option<String> {
    let unit = match window["timeUnit"].as_str()? {
        "TIME_UNIT_MINUTE" => 1,
        "TIME_UNIT_HOUR" => 60,
        "TIME_UNIT_DAY" => 1440,
        _ => return None,
    };
    let minutes = number(&window["duration"]).and_then(whole)?.checked_mul(unit)?;
    Some(match minutes {
        0 => return None,
        _ if minutes % 1440 == 0 => format!("{}d", minutes / 1440),
        _ if minutes % 60 == 0 => format!("{}h", minutes / 60),
        _ => format!("{minutes}m"),
    })
}

/// A finite number, or a string that spells one.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    number.is_finite().then_some(number)
}

/// The same of several numbers that a bar parts, such as `20|30`.
fn first_number(value: &Value) -> Option<f64> {
    let first = value.as_str().and_then(|text| text.split('|').next()?.trim().parse().ok());
    first.or_else(|| number(value))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked right before")]
fn whole(number: f64) -> Option<u32> {
    (0.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u32)
}

#[cfg(test)]
mod tests;
