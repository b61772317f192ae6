//! What an upstream's answer says about the key that got it, and what to do next.
//!
//! All knowledge about providers' errors is one table (`classify/table.rs`): status, then `error.type` or
//! `error.code`, then the words of the message; the first row that fits decides. The words are
//! what counts, because Kimi uses one type for several things (403 `access_terminated_error`
//! covers four). What no row knows falls back by its status, and never to a verdict that only the
//! user can undo.

mod table;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use kmi_core::{inventory::Limits, outcome::Outcome, state::Reason};

pub use table::{Meaning, RowView, rows};

use crate::{
    UpstreamKind,
    account::AccountId,
    kimi_error::KimiError,
    limits,
    retry_after::{self, RetryHeaders},
};

/// An upstream's answer, as far as it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The upstream's family.
    pub kind: UpstreamKind,
    /// The HTTP status.
    pub status: u16,
    /// The headers that state a wait.
    pub retry: RetryHeaders<'a>,
    /// The body of an error (at most [`crate::kimi_error::MAX_BODY`] bytes are read), or nothing
    /// when it is compressed. Bodies of good answers are never looked at.
    pub body: &'a [u8],
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// What that says about the key.
    pub effect: Effect,
    /// What the proxy does while the client has seen no byte.
    pub action: Action,
    /// The provider's words, safe to show and to store.
    pub message: Option<Arc<str>>,
    /// The account that the message names.
    pub account: Option<AccountId>,
    /// The limits that the message prints.
    pub limits: Limits,
}

/// What the end of an attempt says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the request's own fault, or nobody's.
    None,
    /// The key works.
    Works,
    /// The key, or its whole account, must rest.
    Block(Block),
    /// The key's plan lacks the model that was asked for.
    LacksModel,
    /// A refusal that nobody can explain; a run of them blocks the key as failing.
    Suspect,
    /// The upstream is in trouble; no key is to blame.
    Upstream(Trouble),
}

/// A rest that a provider's answer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Why.
    pub reason: Reason,
    /// Who has to rest.
    pub scope: Scope,
    /// The wait that the provider stated, if it did.
    pub wait: Option<Duration>,
    /// The quota window whose reset ends the block, where one is spent.
    pub window: Option<QuotaWindow>,
}

/// Who is meant by a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This key alone.
    Key,
    /// Every key of its account: Kimi's limits belong to accounts (WIRE section 3).
    Account,
}

impl Scope {
    /// Who rests for a reason, where nothing else is known: a block of an earlier process.
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::AuthFailed | Reason::Failing | Reason::ModelNotAllowed | Reason::Slow => {
                Self::Key
            }
            Reason::AccountTerminated
            | Reason::BalanceExhausted
            | Reason::ConcurrencyLimited
            | Reason::MembershipLapsed
            | Reason::QuotaExhausted
            | Reason::QuotaLow
            | Reason::QuotaUnknown
            | Reason::RateLimited => Self::Account,
        }
    }
}

/// A quota window as error messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaWindow {
    /// The rolling five hours of Kimi Code.
    FiveHours,
    /// A day's tokens of the Open Platform.
    Day,
    /// The seven days of a Kimi Code membership.
    Week,
    /// A month.
    Month,
    /// One of them; the message does not say which.
    Unnamed,
}

/// What an upstream suffers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No connection came about.
    Connection,
    /// The model's engine is overloaded.
    Engine,
    /// A server or a gateway failed.
    Server,
}

/// What the proxy does with an answer while the client has seen no byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The client gets the answer.
    PassThrough,
    /// The next key tries.
    NextKey,
    /// One more try, and no more than one.
    RetryOnce,
}

/// Judges an answer: the table of WIRE section 3.
pub fn classify(answer: &Answer<'_>, now: Timestamp) -> Verdict {
    if (100..400).contains(&answer.status) {
        return Verdict::of(Outcome::Ok);
    }
    let error = KimiError::parse(answer.body);
    let row = table::row(table::TABLE, answer.kind, answer.status, &error);
    let meaning = table::meaning(table::TABLE, row, answer.status);
    let wait = answer.retry.wait(now).or_else(|| retry_after::in_text(&error.message));
    // What a provider says of a request may quote it, and no prompt goes into a trace: of such
    // sentences only those that the table knows are kept.
    let may_quote =
        meaning == Meaning::Request && row.is_none_or(|row| table::TABLE[row].3.is_empty());
    let message = if may_quote { error.named() } else { error.shown() };
    Verdict {
        message: message.map(Arc::from),
        account: AccountId::in_text(&error.message),
        limits: limits::in_text(&error.message),
        ..meaning.verdict(wait, now)
    }
}

impl Verdict {
    /// The verdict on an attempt that ended without an answer to read: a transport failure, a
    /// client that left, a shutdown; and on a good answer.
    ///
    /// What may have been carried out is not repeated: only a connection that did not come about
    /// gets another try (CONTRACT section 4, Failover).
    pub fn of(outcome: Outcome) -> Self {
        let (effect, action) = match outcome {
            Outcome::Ok => (Effect::Works, Action::PassThrough),
            Outcome::ConnectFailed => (Effect::Upstream(Trouble::Connection), Action::RetryOnce),
            Outcome::UpstreamCut
            | Outcome::UpstreamError
            | Outcome::UpstreamProtocol
            | Outcome::UpstreamTimeout => (Effect::Upstream(Trouble::Server), Action::PassThrough),
            Outcome::Auth
            | Outcome::ClientError
            | Outcome::ClientGone
            | Outcome::Quota
            | Outcome::RateLimited
            | Outcome::Shutdown => (Effect::None, Action::PassThrough),
        };
        Self { outcome, effect, action, message: None, account: None, limits: Limits::default() }
    }
}

impl Meaning {
    /// What follows from a meaning: the second half of the table.
    #[rustfmt::skip]
    fn verdict(self, wait: Option<Duration>, now: Timestamp) -> Verdict {
        use Action::{NextKey, PassThrough, RetryOnce};
        use Scope::{Account, Key};
        let block = |reason, scope| Effect::Block(Block { reason, scope, wait, window: None });
        let spent = |window| Effect::Block(Block {
            reason: Reason::QuotaExhausted, scope: Account, wait, window: Some(window),
        });
        let (outcome, effect, action) = match self {
            Self::UnknownKey      => (Outcome::Auth,          block(Reason::AuthFailed, Key),                NextKey),
            Self::UnclearRefusal  => (Outcome::Auth,          block(Reason::Failing, Key),                   NextKey),
            Self::OddRefusal      => (Outcome::Auth,          Effect::Suspect,                               NextKey),
            Self::NotFromHere     => (Outcome::Auth,          block(Reason::Failing, Account),               NextKey),
            Self::AccountClosed   => (Outcome::Auth,          block(Reason::AccountTerminated, Account),     NextKey),
            Self::AccountPaused
            | Self::Membership    => (Outcome::Auth,          block(Reason::MembershipLapsed, Account),      NextKey),
            Self::Spent(window)   => (Outcome::Quota,         spent(window),                                 NextKey),
            Self::NoMoney         => (Outcome::Quota,         block(Reason::BalanceExhausted, Account),      NextKey),
            Self::TooManyAtOnce   => (Outcome::RateLimited,   block(Reason::ConcurrencyLimited, Account),    NextKey),
            Self::TooFast         => (Outcome::RateLimited,   block(Reason::RateLimited, Account),           NextKey),
            Self::TokensPerMinute => (Outcome::RateLimited,   Effect::Block(Block {
                reason: Reason::RateLimited, scope: Account, wait: wait.or(Some(rest_of_minute(now))), window: None,
            }), NextKey),
            Self::NoSuchModel     => (Outcome::ClientError,   Effect::LacksModel,                            NextKey),
            Self::Engine          => (Outcome::UpstreamError, Effect::Upstream(Trouble::Engine),             RetryOnce),
            Self::Unavailable     => (Outcome::UpstreamError, Effect::Upstream(Trouble::Server),             RetryOnce),
            Self::Server          => (Outcome::UpstreamError, Effect::Upstream(Trouble::Server),             PassThrough),
            Self::Request         => (Outcome::ClientError,   Effect::None,                                  PassThrough),
            Self::ClientLeft      => (Outcome::ClientGone,    Effect::None,                                  PassThrough),
        };
        Verdict { outcome, effect, action, ..Verdict::of(outcome) }
    }
}

/// What is left of the provider's minute; at least a second, so that a block never ends at once.
fn rest_of_minute(now: Timestamp) -> Duration {
    let second = now.to_zoned(TimeZone::UTC).second();
    SignedDuration::from_secs(60 - i64::from(second).clamp(0, 59)).unsigned_abs()
}
