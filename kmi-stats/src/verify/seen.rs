//! What the verifier sees of an attempt's line.

use jiff::{SignedDuration, Timestamp};
use kmi_core::{
    eligible::KeySet,
    trace::{Attempt, Evidence, LineError, Place},
};
use serde_json::Value;

use super::chain::Link;

/// A turn's attempt, or as much of it as could be read.
#[derive(Debug, Clone)]
pub(super) struct Seen<'a> {
    pub(super) turn: u64,
    pub(super) ts: Timestamp,
    pub(super) latency_ms: Option<u64>,
    pub(super) epoch: Option<u64>,
    pub(super) prev_slot: Option<usize>,
    pub(super) slot: Option<usize>,
    pub(super) key: &'a str,
    pub(super) label: &'a str,
    /// `eligible` and `tried`; `None` makes the turn unverifiable.
    pub(super) masks: Option<(&'a KeySet, &'a KeySet)>,
    pub(super) tokens: u64,
}

impl<'a> Seen<'a> {
    /// `None` for an attempt that was no turn.
    pub(super) fn of(it: &'a Evidence<'_>) -> Option<Self> {
        Some(Self {
            turn: it.turn?,
            ts: it.ts,
            latency_ms: it.latency_ms,
            epoch: Some(it.epoch),
            prev_slot: it.prev_slot,
            slot: it.slot,
            key: &it.key,
            label: &it.label,
            masks: Some((&it.eligible, &it.tried)),
            tokens: tokens(it.prompt_tokens, it.completion_tokens),
        })
    }

    /// As [`Self::of`], from a record.
    pub(super) fn recorded(it: &'a Attempt) -> Option<Self> {
        Some(Self {
            turn: it.turn?,
            ts: it.ts,
            latency_ms: Some(it.latency_ms),
            epoch: Some(it.epoch),
            prev_slot: it.prev_slot,
            slot: it.slot,
            key: &it.key,
            label: &it.label,
            masks: Some((&it.eligible, &it.tried)),
            tokens: tokens(it.prompt_tokens, it.completion_tokens),
        })
    }

    /// When the turn was chosen, to the millisecond.
    pub(super) fn chosen(&self) -> Option<Timestamp> {
        let ms = i64::try_from(self.latency_ms?).ok()?;
        self.ts.checked_sub(SignedDuration::from_millis(ms)).ok()
    }
}

/// A line whose place in the chain can be read though its own fields cannot: masks are missing,
/// say.
#[derive(Debug)]
pub(super) struct Partial(Value);

/// What can be read of an attempt whose fields are not all right.
#[derive(Debug)]
pub(super) enum PartialAttempt<'a> {
    /// It was no turn.
    NoTurn,
    /// A turn that cannot be verified.
    Turn { upstream: &'a str, seen: Box<Seen<'a>> },
}

impl Partial {
    /// `None` for what is no line at all.
    pub(super) fn read(line: &[u8]) -> Option<(Self, Link)> {
        let fields: Value = serde_json::from_slice(line).ok()?;
        let prev = fields.get("prev")?.as_str()?;
        let stands = Link {
            place: Place::of(line, fields.get("seq")?.as_u64()?, prev).ok()?,
            is_epoch: fields.get("type")?.as_str()? == "epoch",
            ts: fields.get("ts").and_then(timestamp),
        };
        Some((Self(fields), stands))
    }

    /// Whether the line bears on the rotation: an attempt, an epoch or a gap.
    pub(super) fn matters(&self) -> bool {
        matches!(self.text("type"), Some("attempt" | "epoch" | "gap"))
    }

    /// What can be read of an attempt; `None` for a line that is none, or does not say where it
    /// belongs.
    pub(super) fn attempt(&self) -> Option<PartialAttempt<'_>> {
        if self.text("type")? != "attempt" {
            return None;
        }
        let turn = match self.0.get("turn") {
            None | Some(Value::Null) => return Some(PartialAttempt::NoTurn),
            Some(turn) => turn.as_u64()?,
        };
        let number = |name: &str| self.0.get(name).and_then(Value::as_u64);
        let slot = |name: &str| number(name).and_then(|slot| usize::try_from(slot).ok());
        let seen = Seen {
            turn,
            ts: self.0.get("ts").and_then(timestamp)?,
            latency_ms: number("latency_ms"),
            epoch: number("epoch"),
            prev_slot: slot("prev_slot"),
            slot: slot("slot"),
            key: self.text("key")?,
            label: self.text("label").unwrap_or_default(),
            masks: None,
            tokens: tokens(number("prompt_tokens"), number("completion_tokens")),
        };
        Some(PartialAttempt::Turn { upstream: self.text("upstream")?, seen: Box::new(seen) })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

fn tokens(prompt: Option<u64>, completion: Option<u64>) -> u64 {
    prompt.unwrap_or(0).saturating_add(completion.unwrap_or(0))
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// An attempt's line in any form; `None` for a line of another type.
pub(super) fn evidence(line: &[u8]) -> Result<Option<Evidence<'_>>, LineError> {
    if kmi_core::trace::Line::is_attempt(line)? { Evidence::read(line).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace_builder::{at, rotation, sealed};

    /// As much of a line as the proof can use, whatever else is wrong with it.
    #[test]
    fn a_turn_has_its_place_and_its_time_without_its_masks() {
        let lines = sealed(&rotation(&[1; 2], 2));
        let (partial, link) = Partial::read(&lines[2]).unwrap();
        assert_eq!((link.place.seq, link.is_epoch, link.ts), (3, false, Some(at(20))));
        let Some(PartialAttempt::Turn { upstream, seen }) = partial.attempt() else {
            panic!("{partial:?}");
        };
        assert_eq!((upstream, seen.key, seen.label), ("kimi", "k-00000001", "key-01"));
        assert_eq!((seen.turn, seen.ts, seen.chosen()), (2, at(20), Some(at(19))));
        assert_eq!((seen.prev_slot, seen.slot, seen.epoch), (Some(0), Some(1), Some(1)));
        assert_eq!((seen.masks, seen.tokens), (None, 15));
    }
}
