//! How lines hang together: `hash = hex(SHA-256(prev as 64 hex digits + the line's bytes from '{'
//! up to but not including ',"hash":"'))`, and `hash` is the last field of a line.

use std::{fmt, io::Write as _};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::record::{Attempt, Checkpoint, Epoch, Gap, HealthChange, ModeChange, Record};

const HASH_FIELD: &[u8] = b",\"hash\":\"";
/// `,"hash":"` + 64 digits + `"}`.
const TAIL: usize = HASH_FIELD.len() + 64 + 2;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Which bytes are digits.
const IS_DIGIT: [bool; 256] = {
    let mut is_digit = [false; 256];
    let mut value = 0;
    while value < 16 {
        is_digit[DIGITS[value] as usize] = true;
        value += 1;
    }
    is_digit
};

/// The hash of a line, as the 64 hex digits that stand in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; 64]);

impl ChainHash {
    /// What stands before the very first line: 64 zeros.
    pub const START: Self = Self([b'0'; 64]);

    /// Takes 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_bytes(text.as_bytes())
    }

    pub(super) fn parse_bytes(text: &[u8]) -> Option<Self> {
        let digits: [u8; 64] = text.try_into().ok()?;
        // Without an early end and without a branch: this is done twice for every line.
        let hex = |digit: &u8| IS_DIGIT[usize::from(*digit)];
        digits.iter().fold(true, |all, digit| all & hex(digit)).then_some(Self(digits))
    }

    /// The hash of a line whose bytes before `,"hash":"` are `body` and which follows this one.
    #[must_use]
    pub fn follow(&self, body: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(self.0).chain_update(body).finalize();
        let mut digits = [0; 64];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
            *pair = PAIRS[usize::from(byte)];
        }
        Self(digits)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes a record as the line `seq` that follows `prev` (without a newline) to the end of `out`
/// and returns the line's hash.
///
/// # Errors
/// Only when the record cannot be JSON, which no [`Record`] is; `out` is then as it was.
pub fn seal(
    record: &Record,
    seq: u64,
    prev: &ChainHash,
    out: &mut Vec<u8>,
) -> serde_json::Result<ChainHash> {
    let start = out.len();
    let written = write_body(record, seq, prev, out);
    if let Err(error) = written {
        out.truncate(start);
        return Err(error);
    }
    let hash = prev.follow(&out[start..]);
    out.extend_from_slice(HASH_FIELD);
    out.extend_from_slice(&hash.0);
    out.extend_from_slice(b"\"}");
    Ok(hash)
}

fn write_body(
    record: &Record,
    seq: u64,
    prev: &ChainHash,
    out: &mut Vec<u8>,
) -> serde_json::Result<()> {
    write!(out, r#"{{"type":"{}","seq":{seq}"#, record.kind()).map_err(serde_json::Error::io)?;
    let fields = out.len();
    match record {
        Record::Attempt(it) => serde_json::to_writer(&mut *out, it)?,
        Record::Epoch(it) => serde_json::to_writer(&mut *out, it)?,
        Record::Gap(it) => serde_json::to_writer(&mut *out, it)?,
        Record::Health(it) => serde_json::to_writer(&mut *out, it)?,
        Record::Mode(it) => serde_json::to_writer(&mut *out, it)?,
        Record::Checkpoint(it) => serde_json::to_writer(&mut *out, it)?,
    }
    // The record's own braces: `{"ts":…}` becomes `,"ts":…`.
    out[fields] = b',';
    out.pop();
    out.extend_from_slice(b",\"prev\":\"");
    out.extend_from_slice(&prev.0);
    out.push(b'"');
    Ok(())
}

/// A line's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number: 1, 2, 3, …
    pub seq: u64,
    /// The hash that it says the line before has.
    pub prev: ChainHash,
    /// The hash that stands at its end.
    pub hash: ChainHash,
    /// The hash that its bytes have: equal to `hash` in an untouched line.
    pub computed: ChainHash,
}

impl Place {
    /// The place of a line whose `seq` and `prev` were read.
    pub fn of(line: &[u8], seq: u64, prev: &str) -> Result<Self, LineError> {
        let (body, hash) = Self::split(line).ok_or(LineError::NoHash)?;
        let prev = ChainHash::parse(prev).ok_or(LineError::BadPrev)?;
        Ok(Self { seq, prev, hash, computed: prev.follow(body) })
    }

    /// The bytes that are hashed, and the hash at the end.
    pub(super) fn split(line: &[u8]) -> Option<(&[u8], ChainHash)> {
        let (body, tail) = line.split_at(line.len().checked_sub(TAIL)?);
        let digits = tail.strip_prefix(HASH_FIELD)?.strip_suffix(b"\"}")?;
        Some((body, ChainHash::parse_bytes(digits)?))
    }
}

/// A line that was read: its place in the chain, and what it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place in the chain.
    pub place: Place,
    /// What it tells; `None` for a type that this version does not know.
    pub record: Option<Record>,
}

/// Why a text is no line of a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The first line of an export that was filtered by key or outcome: for reading only.
    #[error("a filtered export: it is for reading and cannot be verified")]
    Filtered,
    /// The line does not end in `,"hash":"<64 hex>"}`.
    #[error("the line does not end in its hash")]
    NoHash,
    /// Not UTF-8.
    #[error("not a trace line: {0}")]
    Utf8(#[from] std::str::Utf8Error),
    /// Not a JSON object with the fields of its type.
    #[error("not a trace line: {0}")]
    Json(#[from] serde_json::Error),
    /// `prev` is not 64 lower-case hex digits.
    #[error("`prev` is not a hash")]
    BadPrev,
}

impl Line {
    /// Reads one line, without its newline.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let head = Head::read(line)?;
        let place = Place::of(line, head.seq, &head.prev)?;
        let record = match &*head.kind {
            "attempt" => Some(Record::Attempt(serde_json::from_slice::<Attempt>(line)?)),
            "epoch" => Some(Record::Epoch(serde_json::from_slice::<Epoch>(line)?)),
            "gap" => Some(Record::Gap(serde_json::from_slice::<Gap>(line)?)),
            "health" => Some(Record::Health(serde_json::from_slice::<HealthChange>(line)?)),
            "mode" => Some(Record::Mode(serde_json::from_slice::<ModeChange>(line)?)),
            "checkpoint" => Some(Record::Checkpoint(serde_json::from_slice::<Checkpoint>(line)?)),
            _ => None,
        };
        Ok(Self { place, record })
    }

    /// Whether the line says that it is an attempt's.
    pub fn is_attempt(line: &[u8]) -> Result<bool, LineError> {
        Ok(Head::read(line)?.kind == "attempt")
    }
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    seq: u64,
    #[serde(borrow)]
    prev: std::borrow::Cow<'a, str>,
}

impl<'a> Head<'a> {
    fn read(line: &'a [u8]) -> Result<Self, LineError> {
        if Place::split(line).is_none() {
            let filtered = serde_json::from_slice::<Kind>(line).is_ok_and(|k| k.kind == "filtered");
            return Err(if filtered { LineError::Filtered } else { LineError::NoHash });
        }
        Ok(serde_json::from_str(std::str::from_utf8(line)?)?)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::state::Mode;

    fn mode(by: &str) -> Record {
        Record::Mode(ModeChange {
            ts: Timestamp::from_millisecond(1_795_000_000_120).unwrap(),
            mode: Mode::Auto,
            key: None,
            by: by.into(),
        })
    }

    fn sealed(record: &Record, seq: u64, prev: &ChainHash) -> (String, ChainHash) {
        let mut out = Vec::new();
        let hash = seal(record, seq, prev, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), hash)
    }

    #[test]
    fn a_line_has_its_hash_last_and_reads_back() {
        let (line, hash) = sealed(&mode("user"), 1, &ChainHash::START);
        let body = r#"{"type":"mode","seq":1,"ts":"2026-11-18T11:06:40.120Z","mode":"auto","key":null,"by":"user","prev":"0000000000000000000000000000000000000000000000000000000000000000""#;
        assert_eq!(line, format!("{body},\"hash\":\"{hash}\"}}"));
        let read = Line::parse(line.as_bytes()).unwrap();
        let place = Place { seq: 1, prev: ChainHash::START, hash, computed: hash };
        assert_eq!(read.place, place);
        assert_eq!(read.record, Some(mode("user")));
    }

    /// The chain's rule, spelled out with the crate's primitives only.
    #[test]
    fn the_hash_is_sha_256_of_prev_and_body() {
        let (first, head) = sealed(&mode("user"), 1, &ChainHash::START);
        let (second, _) = sealed(&mode("config"), 2, &head);
        let (body, hash) = second.rsplit_once(",\"hash\":\"").unwrap();
        let prev = &first[first.len() - 66..first.len() - 2];
        assert_eq!(hex::encode(Sha256::digest(format!("{prev}{body}"))), hash[..64]);
    }

    #[test]
    fn an_edited_line_shows() {
        let (line, _) = sealed(&mode("user"), 1, &ChainHash::START);
        let read = Line::parse(line.replace("auto", "manual").as_bytes()).unwrap();
        assert_ne!(read.place.computed, read.place.hash);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let error = |text: &str| Line::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error(""), "the line does not end in its hash");
        assert_eq!(error("{}"), "the line does not end in its hash");
        assert!(error(r#"{"type":"filtered","by":{"key":"a"}}"#).starts_with("a filtered export"));
        let (line, _) = sealed(&mode("user"), 1, &ChainHash::START);
        assert!(error(&line.replace("\"ts\"", "\"tz\"")).contains("missing field `ts`"));
        assert!(error(&line.replace("\"prev\":\"0", "\"prev\":\"x")).contains("not a hash"));
    }
}
