//! What an attempt's line says that bears on the proof, borrowed from the line: for those who
//! read lines by the million.
//!
//! [`Evidence::scan`] knows nothing but the form that [`seal`](super::seal) writes and allocates
//! nothing; [`Evidence::read`] takes any JSON with the same fields. Whatever the first accepts,
//! the second reads alike: a property test says so.

use std::{borrow::Cow, ops::Range};

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    chain::{ChainHash, LineError, Place},
    record::ts,
    scan::{Scanner, timestamp},
};
use crate::eligible::KeySet;

/// An attempt's line, as far as the proof needs it; see [`Attempt`](super::Attempt) for what the
/// fields mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// Its place in the chain.
    pub place: Place,
    /// When the attempt ended.
    pub ts: Timestamp,
    /// The turn's number; `None` where the attempt was no turn.
    pub turn: Option<u64>,
    /// The epoch that the masks refer to.
    pub epoch: u64,
    /// The cursor before the choice; `None` before slot 0, or for no turn.
    pub prev_slot: Option<usize>,
    /// The chosen slot; `None` for no turn.
    pub slot: Option<usize>,
    /// The id of the key that served.
    pub key: Cow<'a, str>,
    /// Its label.
    pub label: Cow<'a, str>,
    /// The keys that were eligible, tried ones included.
    pub eligible: KeySet,
    /// The keys that this request had tried before.
    pub tried: KeySet,
    /// The upstream.
    pub upstream: Cow<'a, str>,
    /// From the choice to the end, in milliseconds.
    pub latency_ms: Option<u64>,
    /// Prompt tokens.
    pub prompt_tokens: Option<u64>,
    /// Completion tokens.
    pub completion_tokens: Option<u64>,
}

impl<'a> Evidence<'a> {
    /// Reads a line that has exactly the form that kmi writes; `None` for every other line,
    /// among them good ones.
    ///
    /// `familiar` is carried from line to line; it changes nothing but the time that this takes.
    pub fn scan(line: &'a [u8], familiar: &mut Familiar) -> Option<Self> {
        let (body, hash) = Place::split(line)?;
        let mut it = Scanner::new(body);
        it.literal(br#"{"type":"attempt","seq":"#)?;
        let seq = it.number()?;
        it.literal(br#","ts":"#)?;
        let ts = timestamp(it.string()?)?;
        it.literal(br#","turn":"#)?;
        let turn = it.number_or_null()?;
        it.literal(br#","epoch":"#)?;
        let epoch = it.number()?;
        it.literal(br#","prev_slot":"#)?;
        let prev_slot = slot(it.number_or_null()?)?;
        it.literal(br#","slot":"#)?;
        let slot = slot(it.number_or_null()?)?;
        it.literal(br#","key":"#)?;
        let key = text(it.string()?)?;
        it.literal(br#","label":"#)?;
        let label = text(it.string()?)?;
        it.literal(br#","eligible":"#)?;
        let eligible = KeySet::from_hex(it.string()?).ok()?;
        it.literal(br#","tried":"#)?;
        let tried = KeySet::from_hex(it.string()?).ok()?;
        it.literal(br#","request_id":"#)?;
        it.string()?;
        it.literal(br#","session_id":"#)?;
        it.string_or_null()?;
        let upstream = text(familiar.pass(&mut it)?)?;
        it.number()?;
        it.literal(br#","connect_ms":"#)?;
        it.number()?;
        it.literal(br#","ttfb_ms":"#)?;
        it.number_or_null()?;
        it.literal(br#","latency_ms":"#)?;
        let latency_ms = Some(it.number()?);
        it.literal(br#","prompt_tokens":"#)?;
        let prompt_tokens = it.number_or_null()?;
        it.literal(br#","completion_tokens":"#)?;
        let completion_tokens = it.number_or_null()?;
        it.literal(br#","cached_tokens":"#)?;
        it.number_or_null()?;
        it.literal(br#","request_bytes":"#)?;
        it.number()?;
        it.literal(br#","response_bytes":"#)?;
        it.number()?;
        it.literal(br#","prev":""#)?;
        let prev = ChainHash::parse_bytes(it.take(64)?)?;
        it.literal(b"\"")?;
        it.end()?;
        Some(Self {
            place: Place { seq, prev, hash, computed: prev.follow(body) },
            ts,
            turn,
            epoch,
            prev_slot,
            slot,
            key,
            label,
            eligible,
            tried,
            upstream,
            latency_ms,
            prompt_tokens,
            completion_tokens,
        })
    }

    /// Reads an attempt's line in any form.
    ///
    /// # Errors
    /// When it is no line, or one of the fields that the proof needs is missing or wrong.
    pub fn read(line: &'a [u8]) -> Result<Self, LineError> {
        let it: Fields<'a> = serde_json::from_str(std::str::from_utf8(line)?)?;
        Ok(Self {
            place: Place::of(line, it.seq, &it.prev)?,
            ts: it.ts,
            turn: it.turn,
            epoch: it.epoch,
            prev_slot: it.prev_slot,
            slot: it.slot,
            key: it.key,
            label: it.label,
            eligible: it.eligible,
            tried: it.tried,
            upstream: it.upstream,
            latency_ms: it.latency_ms,
            prompt_tokens: it.prompt_tokens,
            completion_tokens: it.completion_tokens,
        })
    }
}

/// The stretch of a line that most often is as in the line before: who asked for what, and how it
/// ended. The same bytes between the same neighbours are the same fields, so what was read once
/// is passed by one comparison.
#[derive(Debug, Clone, Default)]
pub struct Familiar {
    /// From `,"attempt":` up to and including `,"queue_ms":`.
    stretch: Vec<u8>,
    /// Where in it the upstream's name stands.
    upstream: Range<usize>,
}

impl Familiar {
    /// Longer stretches are not remembered, in bytes.
    const LONGEST: usize = 1024;

    /// Steps over the stretch and returns the upstream's name.
    fn pass<'a>(&mut self, it: &mut Scanner<'a>) -> Option<&'a [u8]> {
        let line = it.rest();
        if !self.stretch.is_empty() && line.starts_with(&self.stretch) {
            it.take(self.stretch.len())?;
            return line.get(self.upstream.clone());
        }
        let upstream = Self::read(it)?;
        let stretch = line.len() - it.rest().len();
        if stretch <= Self::LONGEST {
            self.stretch.clear();
            self.stretch.extend_from_slice(&line[..stretch]);
            self.upstream.clone_from(&upstream);
        }
        line.get(upstream)
    }

    fn read(it: &mut Scanner<'_>) -> Option<Range<usize>> {
        let line = it.rest().len();
        it.literal(br#","attempt":"#)?;
        it.number()?;
        it.literal(br#","mode":"#)?;
        it.string()?;
        it.literal(br#","policy":"#)?;
        it.string()?;
        it.literal(br#","upstream":"#)?;
        // After the quote.
        let from = line - it.rest().len() + 1;
        let upstream = from..from + it.string()?.len();
        it.literal(br#","method":"#)?;
        it.string()?;
        it.literal(br#","path":"#)?;
        it.string()?;
        it.literal(br#","model":"#)?;
        it.string_or_null()?;
        it.literal(br#","stream":"#)?;
        it.truth_or_null()?;
        it.literal(br#","status":"#)?;
        it.number_or_null()?;
        it.literal(br#","outcome":"#)?;
        it.string()?;
        it.literal(br#","error":"#)?;
        it.string_or_null()?;
        it.literal(br#","queue_ms":"#)?;
        Some(upstream)
    }
}

fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
}

/// `None` for a slot that no machine of this width can number.
#[expect(clippy::option_option, reason = "the outer one is the scan's failure")]
fn slot(number: Option<u64>) -> Option<Option<usize>> {
    number.map(usize::try_from).transpose().ok()
}

#[derive(Deserialize)]
struct Fields<'a> {
    seq: u64,
    #[serde(borrow)]
    prev: Cow<'a, str>,
    #[serde(with = "ts")]
    ts: Timestamp,
    turn: Option<u64>,
    epoch: u64,
    prev_slot: Option<usize>,
    slot: Option<usize>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    label: Cow<'a, str>,
    eligible: KeySet,
    tried: KeySet,
    #[serde(borrow)]
    upstream: Cow<'a, str>,
    latency_ms: Option<u64>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

#[cfg(test)]
mod tests;
