//! What can go wrong with an attempt, in the provider's own words where it says something.

use jiff::Timestamp;
use kmi_core::outcome::Outcome;
use kmi_health::{
    UpstreamKind,
    classify::{Answer, Verdict, classify},
    retry_after::RetryHeaders,
};
use kmi_proxy::demo::errors::{self, ErrorAnswer};
use serde::Deserialize;

/// A kind of failure; most are named after the reason that kmi will show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trouble {
    /// Too many requests; no wait is stated.
    #[default]
    RateLimited,
    ConcurrencyLimited,
    /// The five hours' quota is spent.
    QuotaExhausted,
    BalanceExhausted,
    /// The key is revoked.
    AuthFailed,
    AccountTerminated,
    MembershipLapsed,
    /// The model's engine is busy, for everybody.
    Overloaded,
    /// 503.
    Unavailable,
    /// 500.
    ServerError,
    /// No answer comes.
    Timeout,
    NoConnection,
    /// The answer breaks off.
    Cut,
}

/// How an attempt ends, before anybody has judged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Good,
    /// Refused or failed; with the wait that is stated, in seconds.
    Bad(Trouble, Option<u32>),
}

impl Trouble {
    const ALL: [Self; 13] = [
        Self::RateLimited,
        Self::ConcurrencyLimited,
        Self::QuotaExhausted,
        Self::BalanceExhausted,
        Self::AuthFailed,
        Self::AccountTerminated,
        Self::MembershipLapsed,
        Self::Overloaded,
        Self::Unavailable,
        Self::ServerError,
        Self::Timeout,
        Self::NoConnection,
        Self::Cut,
    ];

    /// The trouble of this name.
    ///
    /// # Errors
    /// A sentence with all names.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        use serde::de::{IntoDeserializer as _, value::Error};
        Self::deserialize(name.into_deserializer()).map_err(|error: Error| error.to_string())
    }

    /// What the provider says; `None` where it says nothing.
    fn words(self) -> Option<ErrorAnswer> {
        Some(match self {
            Self::RateLimited => errors::TOO_MANY_REQUESTS,
            Self::ConcurrencyLimited => errors::CONCURRENCY,
            Self::QuotaExhausted => errors::PERIOD_SPENT,
            Self::BalanceExhausted => errors::OPEN_SUSPENDED,
            Self::AuthFailed => errors::KEY_INVALID,
            Self::AccountTerminated => errors::TERMINATED,
            Self::MembershipLapsed => errors::MEMBERSHIP_UNVERIFIED,
            Self::Overloaded => errors::ENGINE_OVERLOADED,
            Self::Unavailable => errors::UNAVAILABLE,
            Self::ServerError => errors::OPEN_SERVER_ERROR,
            Self::Timeout | Self::NoConnection | Self::Cut => return None,
        })
    }

    /// How long it takes until it is known, in milliseconds, where that is not a moment.
    pub(crate) fn latency(self) -> Option<i64> {
        // The proxy's default for the first byte.
        (self == Self::Timeout).then_some(280_000)
    }
}

/// Every trouble's words, ready to be judged.
#[derive(Debug)]
pub(crate) struct Words(Vec<Option<(u16, Vec<u8>)>>);

impl Words {
    pub(crate) fn new() -> Self {
        let ready = |words: ErrorAnswer| (words.status, words.openai_body().to_vec());
        Self(Trouble::ALL.iter().map(|trouble| trouble.words().map(ready)).collect())
    }

    /// The status of an attempt that ends so.
    pub(crate) fn status(&self, ending: Ending) -> Option<u16> {
        match ending {
            Ending::Good | Ending::Bad(Trouble::Cut, _) => Some(200),
            Ending::Bad(trouble, _) => self.of(trouble).map(|(status, _)| *status),
        }
    }

    /// What kmi's own table makes of it.
    pub(crate) fn judge(&self, ending: Ending, now: Timestamp) -> Verdict {
        let (trouble, wait) = match ending {
            Ending::Good => return Verdict::of(Outcome::Ok),
            Ending::Bad(trouble, wait) => (trouble, wait),
        };
        let Some((status, body)) = self.of(trouble) else {
            return Verdict::of(match trouble {
                Trouble::NoConnection => Outcome::ConnectFailed,
                Trouble::Cut => Outcome::UpstreamCut,
                _ => Outcome::UpstreamTimeout,
            });
        };
        let wait = wait.map(|seconds| seconds.to_string());
        let retry_after = wait.as_ref().map(String::as_bytes);
        let kind = UpstreamKind::KimiCode;
        let retry = RetryHeaders { retry_after, retry_after_ms: None };
        classify(&Answer { kind, status: *status, retry, body }, now)
    }

    fn of(&self, trouble: Trouble) -> Option<&(u16, Vec<u8>)> {
        // The list is in the order of the variants; a test says so.
        self.0[trouble as usize].as_ref()
    }
}

#[cfg(test)]
mod tests {
    use kmi_core::state::Reason;
    use kmi_health::classify::Effect;

    use super::*;

    #[test]
    fn every_trouble_is_judged_as_what_it_is_called() {
        let words = Words::new();
        for (at, trouble) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(trouble as usize, at);
            let verdict = words.judge(Ending::Bad(trouble, None), Timestamp::UNIX_EPOCH);
            let reason = match verdict.effect {
                Effect::Block(block) => Some(block.reason),
                _ => None,
            };
            let expected = match trouble {
                Trouble::RateLimited => Some(Reason::RateLimited),
                Trouble::ConcurrencyLimited => Some(Reason::ConcurrencyLimited),
                Trouble::QuotaExhausted => Some(Reason::QuotaExhausted),
                Trouble::BalanceExhausted => Some(Reason::BalanceExhausted),
                Trouble::AuthFailed => Some(Reason::AuthFailed),
                Trouble::AccountTerminated => Some(Reason::AccountTerminated),
                Trouble::MembershipLapsed => Some(Reason::MembershipLapsed),
                _ => None,
            };
            assert_eq!(reason, expected, "{trouble:?}");
            assert!(expected.is_some() || matches!(verdict.effect, Effect::Upstream(_)));
        }
        assert_eq!(Trouble::parse("quota_exhausted"), Ok(Trouble::QuotaExhausted));
        assert!(Trouble::parse("bad luck").unwrap_err().contains("`rate_limited`"));
    }

    #[test]
    fn a_stated_wait_counts() {
        let ending = Ending::Bad(Trouble::QuotaExhausted, Some(90));
        let verdict = Words::new().judge(ending, Timestamp::UNIX_EPOCH);
        let Effect::Block(block) = verdict.effect else { panic!("{verdict:?}") };
        assert_eq!(block.wait.map(|wait| wait.as_secs()), Some(90));
    }
}
