//! How an attempt ended, and whose fault that was.

use serde::{Deserialize, Serialize};

/// The end of one upstream attempt (CONTRACT section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The upstream refused the key itself.
    Auth,
    /// The upstream refused the request for what the client sent.
    ClientError,
    /// The client went away before the end.
    ClientGone,
    /// No connection to the upstream came about; nothing was sent.
    ConnectFailed,
    /// Answered to the end.
    Ok,
    /// The key's quota or balance is spent.
    Quota,
    /// The key's rate or concurrency limit was reached.
    RateLimited,
    /// kmi was stopped before the end.
    Shutdown,
    /// The upstream's answer broke off after it had begun.
    UpstreamCut,
    /// The upstream, its engine or its gateway failed.
    UpstreamError,
    /// The upstream's answer was not valid HTTP.
    UpstreamProtocol,
    /// The upstream did not answer in time.
    UpstreamTimeout,
}

/// Who is to blame for an attempt that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// What the client sent, or that it left.
    Client,
    /// The key or its account: another key may do better.
    Key,
    /// kmi itself (it was stopped).
    Ours,
    /// The provider: another key would fare no better.
    Upstream,
}

impl Outcome {
    /// Every outcome, in the order of the words.
    pub const ALL: [Self; 12] = [
        Self::Auth,
        Self::ClientError,
        Self::ClientGone,
        Self::ConnectFailed,
        Self::Ok,
        Self::Quota,
        Self::RateLimited,
        Self::Shutdown,
        Self::UpstreamCut,
        Self::UpstreamError,
        Self::UpstreamProtocol,
        Self::UpstreamTimeout,
    ];

    /// The word that stands in the trace.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::ClientError => "client_error",
            Self::ClientGone => "client_gone",
            Self::ConnectFailed => "connect_failed",
            Self::Ok => "ok",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::Shutdown => "shutdown",
            Self::UpstreamCut => "upstream_cut",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// Reads the word that [`Self::as_str`] writes.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Who is to blame; `None` for [`Outcome::Ok`].
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Ok => None,
            Self::Auth | Self::Quota | Self::RateLimited => Some(Fault::Key),
            Self::ClientError | Self::ClientGone => Some(Fault::Client),
            Self::Shutdown => Some(Fault::Ours),
            Self::ConnectFailed
            | Self::UpstreamCut
            | Self::UpstreamError
            | Self::UpstreamProtocol
            | Self::UpstreamTimeout => Some(Fault::Upstream),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_in_json_and_tables() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
            assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(Outcome::parse("OK"), None);
    }
}
