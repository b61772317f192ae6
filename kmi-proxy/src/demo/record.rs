//! What a stand-in remembers of its requests: a bounded log, newest last.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Bytes of bodies that are remembered in all; older records go first.
const BODY_BUDGET: usize = 64 << 20;
/// Longer bodies are not spelled out in [`Record::to_json`].
const BODY_SHOWN: usize = 1 << 20;

/// One request as it came over the wire, and what became of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number since the start or the last reset, from 1, in order of arrival.
    pub seq: u64,
    /// When its head and body were there.
    pub at: Timestamp,
    /// The key it came with, where that is a known one.
    pub key: Option<Arc<str>>,
    /// Its request line and headers, byte for byte, the empty line included.
    pub head: Bytes,
    /// Its body.
    pub body: Bytes,
    /// The status it was answered with; `None` when it got no answer.
    pub status: Option<u16>,
    /// How it ended.
    pub end: End,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its answer was handed over to the end.
    Answered,
    /// The stand-in broke off, as its scenario says.
    Broken,
    /// The client went away before the end.
    ClientGone,
    /// It is still being answered.
    Open,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Broken => "broken",
            Self::ClientGone => "client_gone",
            Self::Open => "open",
        }
    }
}

impl Record {
    fn line(&self) -> impl Iterator<Item = &[u8]> {
        let end = self.head.windows(2).position(|w| w == b"\r\n").unwrap_or(self.head.len());
        self.head[..end].split(|b| *b == b' ')
    }

    /// The method.
    pub fn method(&self) -> String {
        text(self.line().next().unwrap_or_default())
    }

    /// The target as it stood in the request line: path and query.
    pub fn target(&self) -> String {
        text(self.line().nth(1).unwrap_or_default())
    }

    /// Names and values of the headers, in the order and case in which they came.
    pub fn headers(&self) -> Vec<(String, String)> {
        let lines = self.head.split(|b| *b == b'\n').skip(1);
        let pair = |line: &[u8]| {
            let colon = line.iter().position(|b| *b == b':')?;
            Some((text(&line[..colon]), text(line[colon + 1..].trim_ascii())))
        };
        lines.filter_map(pair).collect()
    }

    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// SHA-256 of the body, in hex.
    pub fn body_sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.body))
    }

    /// One element of what `GET /__requests` answers.
    pub fn to_json(&self) -> Value {
        let shown = if self.body.len() > BODY_SHOWN { &[][..] } else { &self.body };
        json!({
            "seq": self.seq,
            "at": self.at.to_string(),
            "key": self.key.as_deref(),
            "method": self.method(),
            "target": self.target(),
            "headers": self.headers(),
            "body_bytes": self.body.len(),
            "body_sha256": self.body_sha256(),
            "body": std::str::from_utf8(shown).ok().filter(|text| !text.is_empty()),
            "status": self.status,
            "end": self.end.as_str(),
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bounded log.
#[derive(Debug)]
pub(super) struct Log {
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    records: VecDeque<Record>,
    /// Numbers given out; a reset starts them anew.
    seq: u64,
    body_bytes: usize,
    /// How often the log was reset, so that a request from before cannot change a later record.
    resets: u64,
}

/// Which record a running request writes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) seq: u64,
    resets: u64,
}

impl Log {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default() }
    }

    pub(super) fn begin(&self, key: Option<Arc<str>>, head: Bytes, body: Bytes) -> Place {
        let mut inner = self.inner.lock();
        inner.seq += 1;
        let place = Place { seq: inner.seq, resets: inner.resets };
        if self.limit > 0 {
            inner.body_bytes += body.len();
            let (seq, at) = (place.seq, Timestamp::now());
            let record = Record { seq, at, key, head, body, status: None, end: End::Open };
            inner.records.push_back(record);
            while inner.records.len() > self.limit || inner.body_bytes > BODY_BUDGET {
                let Some(oldest) = inner.records.pop_front() else { break };
                inner.body_bytes -= oldest.body.len();
            }
        }
        place
    }

    pub(super) fn update(&self, place: Place, change: impl FnOnce(&mut Record)) {
        let mut inner = self.inner.lock();
        if inner.resets != place.resets {
            return;
        }
        let Some(oldest) = inner.records.front().map(|r| r.seq) else { return };
        let index = place.seq.checked_sub(oldest).and_then(|n| usize::try_from(n).ok());
        if let Some(record) = index.and_then(|n| inner.records.get_mut(n)) {
            change(record);
        }
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.inner.lock().records.iter().cloned().collect()
    }

    pub(super) fn reset(&self) {
        let mut inner = self.inner.lock();
        *inner = Inner { resets: inner.resets + 1, ..Inner::default() };
    }

    pub(super) fn to_json(&self) -> Value {
        let records = self.records();
        let total = self.inner.lock().seq;
        let shown: Vec<_> = records.iter().map(Record::to_json).collect();
        json!({"total": total, "requests": shown})
    }
}
