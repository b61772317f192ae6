//! The words for a key's health (CONTRACT section 5).

use serde::{Deserialize, Serialize};

/// Whether a key may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Usable.
    Healthy,
    /// Usable, but something is off: little quota left, slow, recent failures.
    Warn,
    /// Skipped until its `until`, or until the user acts.
    Blocked,
    /// Switched off by the user.
    Disabled,
}

impl KeyState {
    /// The word that stands in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warn => "warn",
            Self::Blocked => "blocked",
            Self::Disabled => "disabled",
        }
    }

    /// Whether the rotation may choose a key in this state.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Healthy | Self::Warn)
    }
}

/// Why a key is not simply healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The account was closed by the provider; ends only when the user acts.
    AccountTerminated,
    /// The provider does not know the key; ends only when the user acts.
    AuthFailed,
    /// The prepaid balance is spent.
    BalanceExhausted,
    /// The account has too many requests at once.
    ConcurrencyLimited,
    /// Recent attempts failed.
    Failing,
    /// The membership could not be verified or has lapsed.
    MembershipLapsed,
    /// The key's plan lacks the model that was asked for.
    ModelNotAllowed,
    /// The quota of a window is spent; ends when the window resets.
    QuotaExhausted,
    /// Under a fifth of a quota is left.
    QuotaLow,
    /// The quota endpoint did not answer.
    QuotaUnknown,
    /// Too many requests in a short time.
    RateLimited,
    /// Answers come slowly.
    Slow,
}

impl Reason {
    /// The word that stands in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccountTerminated => "account_terminated",
            Self::AuthFailed => "auth_failed",
            Self::BalanceExhausted => "balance_exhausted",
            Self::ConcurrencyLimited => "concurrency_limited",
            Self::Failing => "failing",
            Self::MembershipLapsed => "membership_lapsed",
            Self::ModelNotAllowed => "model_not_allowed",
            Self::QuotaExhausted => "quota_exhausted",
            Self::QuotaLow => "quota_low",
            Self::QuotaUnknown => "quota_unknown",
            Self::RateLimited => "rate_limited",
            Self::Slow => "slow",
        }
    }

    /// Whether a block for this reason lasts until the user acts instead of ending by itself.
    pub fn needs_the_user(self) -> bool {
        matches!(self, Self::AuthFailed | Self::AccountTerminated)
    }
}

/// How a key is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every request takes the next key; each attempt is a turn.
    Auto,
    /// The active key serves; no turns.
    #[default]
    Manual,
}

impl Mode {
    /// The word that stands in JSON, configuration and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
        }
    }
}

/// What auto mode does with requests that belong together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Every request takes the next key.
    #[default]
    RoundRobin,
    /// A session keeps its key; new sessions take turns.
    Session,
}

impl Policy {
    /// The word that stands in JSON, configuration and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Session => "session",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words exist twice (serde and `as_str`); this keeps them one.
    #[test]
    fn words_are_the_same_in_json_and_tables() {
        for state in [KeyState::Healthy, KeyState::Warn, KeyState::Blocked, KeyState::Disabled] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for mode in [Mode::Auto, Mode::Manual] {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        for policy in [Policy::RoundRobin, Policy::Session] {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
        for reason in [
            Reason::AccountTerminated,
            Reason::AuthFailed,
            Reason::BalanceExhausted,
            Reason::ConcurrencyLimited,
            Reason::Failing,
            Reason::MembershipLapsed,
            Reason::ModelNotAllowed,
            Reason::QuotaExhausted,
            Reason::QuotaLow,
            Reason::QuotaUnknown,
            Reason::RateLimited,
            Reason::Slow,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
