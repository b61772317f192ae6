//! What the verifier needs to know of an attempt's line.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kmi_core::{
    eligible::KeySet,
    trace::{Attempt, ChainHash},
};
use serde_json::Value;

use super::chain::Link;

/// A turn's attempt, or as much of it as could be read.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) turn: u64,
    pub(super) ts: Timestamp,
    /// When the turn was chosen, to the millisecond.
    pub(super) chosen: Option<Timestamp>,
    pub(super) epoch: Option<u64>,
    pub(super) prev_slot: Option<usize>,
    pub(super) slot: Option<usize>,
    pub(super) key: Arc<str>,
    pub(super) label: Arc<str>,
    /// `eligible` and `tried`; `None` makes the turn unverifiable.
    pub(super) masks: Option<(Arc<KeySet>, KeySet)>,
    pub(super) tokens: u64,
}

impl Seen {
    /// `None` for an attempt that was no turn.
    pub(super) fn of(it: Attempt) -> Option<Self> {
        let tokens =
            it.prompt_tokens.unwrap_or(0).saturating_add(it.completion_tokens.unwrap_or(0));
        Some(Self {
            turn: it.turn?,
            ts: it.ts,
            chosen: before(it.ts, it.latency_ms),
            epoch: Some(it.epoch),
            prev_slot: it.prev_slot,
            slot: it.slot,
            key: it.key,
            label: it.label,
            masks: Some((it.eligible, it.tried)),
            tokens,
        })
    }
}

fn before(ts: Timestamp, ms: u64) -> Option<Timestamp> {
    ts.checked_sub(SignedDuration::from_millis(i64::try_from(ms).ok()?)).ok()
}

/// A line whose place in the chain can be read though its own fields cannot: masks are missing,
/// say, or a newer kmi wrote a word that this one does not know.
#[derive(Debug)]
pub(super) struct Partial(Value);

/// What can be read of an attempt whose fields are not all right.
#[derive(Debug)]
pub(super) enum PartialAttempt {
    /// It was no turn.
    NoTurn,
    /// A turn that cannot be verified.
    Turn { upstream: Arc<str>, seen: Seen },
}

impl Partial {
    /// `None` for what is no line at all.
    pub(super) fn read(line: &[u8]) -> Option<(Self, Link)> {
        let at = line.len().checked_sub(r#","hash":""}"#.len() + 64)?;
        let fields: Value = serde_json::from_slice(line).ok()?;
        let hash = |name: &str| fields.get(name)?.as_str().and_then(ChainHash::parse);
        let prev = hash("prev")?;
        let place = Link {
            seq: fields.get("seq")?.as_u64()?,
            prev,
            hash: hash("hash")?,
            computed: prev.follow(&line[..at]),
            is_epoch: fields.get("type")?.as_str()? == "epoch",
            ts: fields.get("ts").and_then(timestamp),
        };
        Some((Self(fields), place))
    }

    /// Whether the line bears on the rotation: an attempt, an epoch or a gap.
    pub(super) fn matters(&self) -> bool {
        matches!(self.text("type"), Some("attempt" | "epoch" | "gap"))
    }

    /// What can be read of an attempt; `None` for a line that is none, or does not say where it
    /// belongs.
    pub(super) fn attempt(&self) -> Option<PartialAttempt> {
        if self.text("type")? != "attempt" {
            return None;
        }
        let turn = match self.0.get("turn") {
            None | Some(Value::Null) => return Some(PartialAttempt::NoTurn),
            Some(turn) => turn.as_u64()?,
        };
        let number = |name: &str| self.0.get(name).and_then(Value::as_u64);
        let slot = |name: &str| number(name).and_then(|slot| usize::try_from(slot).ok());
        let ts = self.0.get("ts").and_then(timestamp)?;
        let tokens = number("prompt_tokens").unwrap_or(0);
        let seen = Seen {
            turn,
            ts,
            chosen: number("latency_ms").and_then(|ms| before(ts, ms)),
            epoch: number("epoch"),
            prev_slot: slot("prev_slot"),
            slot: slot("slot"),
            key: self.text("key")?.into(),
            label: self.text("label").unwrap_or_default().into(),
            masks: None,
            tokens: tokens.saturating_add(number("completion_tokens").unwrap_or(0)),
        };
        Some(PartialAttempt::Turn { upstream: self.text("upstream")?.into(), seen })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}
