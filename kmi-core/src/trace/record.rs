//! What a line of the trace tells.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    eligible::KeySet,
    outcome::Outcome,
    state::{KeyState, Mode, Policy, Reason},
};

/// One line's content, without its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all records are attempts")]
pub enum Record {
    /// An upstream attempt that has ended.
    Attempt(Attempt),
    /// A new ring.
    Epoch(Epoch),
    /// Turns whose end is not known.
    Gap(Gap),
    /// A key's state has changed.
    Health(HealthChange),
    /// The rotation's mode or active key has changed.
    Mode(ModeChange),
    /// A signed statement of the lines before.
    Checkpoint(Checkpoint),
}

impl Record {
    /// The word in the line's `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Attempt(_) => "attempt",
            Self::Epoch(_) => "epoch",
            Self::Gap(_) => "gap",
            Self::Health(_) => "health",
            Self::Mode(_) => "mode",
            Self::Checkpoint(_) => "checkpoint",
        }
    }

    /// When the record was made.
    pub fn ts(&self) -> Timestamp {
        match self {
            Self::Attempt(it) => it.ts,
            Self::Epoch(it) => it.ts,
            Self::Gap(it) => it.ts,
            Self::Health(it) => it.ts,
            Self::Mode(it) => it.ts,
            Self::Checkpoint(it) => it.ts,
        }
    }
}

/// One upstream attempt, written once, when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When the attempt ended.
    #[serde(with = "ts")]
    pub ts: Timestamp,
    /// The turn's number; `None` where the attempt was no turn.
    pub turn: Option<u64>,
    /// The epoch that `eligible` and `tried` refer to.
    pub epoch: u64,
    /// The cursor before the choice; `None` before slot 0, or for no turn.
    pub prev_slot: Option<usize>,
    /// The chosen slot; `None` for no turn.
    pub slot: Option<usize>,
    /// The id of the key that served.
    pub key: Arc<str>,
    /// Its label.
    pub label: Arc<str>,
    /// The keys that were eligible, tried ones included, by their index in the epoch.
    pub eligible: Arc<KeySet>,
    /// The keys that this request had tried before.
    pub tried: KeySet,
    /// The request; its attempts share it.
    pub request_id: Arc<str>,
    /// The client's session, where it names one.
    pub session_id: Option<Arc<str>>,
    /// 1 for the first attempt of a request.
    pub attempt: u32,
    /// The mode in force.
    pub mode: Mode,
    /// The policy in force.
    pub policy: Policy,
    /// The upstream.
    pub upstream: Arc<str>,
    /// The request's method.
    pub method: Arc<str>,
    /// The request's path below the upstream's base, without its query.
    pub path: Arc<str>,
    /// The model that the body names.
    pub model: Option<Arc<str>>,
    /// Whether the body asks for a stream; `None` where there is no such body.
    pub stream: Option<bool>,
    /// The upstream's status; `None` when it gave none.
    pub status: Option<u16>,
    /// How the attempt ended.
    pub outcome: Outcome,
    /// The error in the provider's or kmi's words, made safe to show.
    pub error: Option<Arc<str>>,
    /// From the request's arrival to the choice, in milliseconds.
    pub queue_ms: u64,
    /// Time to connect, in milliseconds; 0 on a kept connection.
    pub connect_ms: u64,
    /// From the choice to the first byte of the answer's body, or to its head when it has no
    /// body, in milliseconds.
    pub ttfb_ms: Option<u64>,
    /// From the choice to the end, in milliseconds.
    pub latency_ms: u64,
    /// Prompt tokens, cached ones included, as the upstream counted them.
    pub prompt_tokens: Option<u64>,
    /// Completion tokens.
    pub completion_tokens: Option<u64>,
    /// Prompt tokens that came out of the provider's cache.
    pub cached_tokens: Option<u64>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body, without framing.
    pub response_bytes: u64,
}

/// A new ring: a new key set, or new weights or priorities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// When it began.
    #[serde(with = "ts")]
    pub ts: Timestamp,
    /// Its number: 1, 2, 3, … for each upstream.
    pub epoch: u64,
    /// The upstream.
    pub upstream: Arc<str>,
    /// The keys in inventory order.
    pub keys: Vec<EpochKey>,
    /// The key (an index into `keys`) of every slot.
    pub ring: Vec<u32>,
    /// Where the rotation stands in this ring; `None` before slot 0.
    pub cursor: Option<usize>,
}

/// One key of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochKey {
    /// Its id.
    pub key: Arc<str>,
    /// Its label.
    pub label: Arc<str>,
    /// In how many slots it stands.
    pub weight: u32,
    /// Its priority: a lower number serves first.
    pub tier: i32,
}

/// One unbroken run of turns that were given out and whose end is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When it was found.
    #[serde(with = "ts")]
    pub ts: Timestamp,
    /// The upstream.
    pub upstream: Arc<str>,
    /// The epoch of the turns; where the slots are not known, a guess.
    pub epoch: u64,
    /// The first turn.
    pub from_turn: u64,
    /// The last turn.
    pub to_turn: u64,
    /// The slot of each turn, where they are known.
    pub slots: Option<Vec<usize>>,
    /// Why the end is not known.
    pub reason: Arc<str>,
}

/// A key's state has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthChange {
    /// When.
    #[serde(with = "ts")]
    pub ts: Timestamp,
    /// The upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Arc<str>>,
    /// The key's id.
    pub key: Arc<str>,
    /// Its label.
    pub label: Arc<str>,
    /// The state before.
    pub from: KeyState,
    /// The state from now on.
    pub to: KeyState,
    /// Why.
    pub reason: Option<Reason>,
    /// Until when, where that is known.
    #[serde(with = "ts_option")]
    pub until: Option<Timestamp>,
}

/// The rotation's mode or active key has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeChange {
    /// When.
    #[serde(with = "ts")]
    pub ts: Timestamp,
    /// The mode from now on.
    pub mode: Mode,
    /// The id of the active key from now on; `None` when none was chosen.
    pub key: Option<Arc<str>>,
    /// Who changed it: `user`, `config`.
    pub by: Arc<str>,
}

/// A signed statement of the lines before. A reader that does not know it loses nothing: it is a
/// link of the chain like every other line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// That of the line before: the statement needs no clock.
    #[serde(with = "ts")]
    pub ts: Timestamp,
    /// How many lines there were: the number of the line before.
    pub count: u64,
    /// Its hash.
    pub head: Arc<str>,
    /// Both, signed: a note in C2SP's form.
    pub note: Arc<str>,
}

/// Times in lines: always with milliseconds, so that columns align.
pub(super) mod ts {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(ts: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{ts:.3}"))
    }

    pub(in crate::trace) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(from)
    }
}

mod ts_option {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(
        ts: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match ts {
            Some(ts) => super::ts::serialize(ts, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Option::deserialize(from)
    }
}
