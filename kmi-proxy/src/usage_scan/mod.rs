//! Token counts out of an answer that passes by: fed piece by piece, never holding the answer up
//! and never holding it whole.
//!
//! Usage is read from the three places that WIRE.md section 1.3 names (`usage`, `choices[].usage`
//! and Anthropic's `message.usage`), and from `response.usage` of the Responses API; of several,
//! the later count wins. Memory is bounded: a stream's line longer than 64 KiB and a usage object
//! longer than 4 KiB are passed over. How the bytes are cut into pieces changes nothing.
//!
//! A body that comes as gzip or deflate is decoded beside the one that passes by, up to
//! [`PLAIN_LIMIT`].

mod counts;
mod json;
mod sse;

use std::io::{self, Write};

use self::{counts::Counts, json::JsonScan, sse::SseScan};
use crate::body::{Coding, Decoder};

/// How much of a compressed answer's plain text is looked at: a few bytes can make any number.
const PLAIN_LIMIT: usize = 64 << 20;

/// The key whose value is looked for, as it stands in JSON. Inside a JSON string, such as a
/// model's own text, its quotation marks would be escaped.
const KEY: &[u8; 7] = b"\"usage\"";

/// What an answer says that it cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Prompt tokens, cached ones included on every surface.
    pub prompt: Option<u64>,
    /// Completion tokens.
    pub completion: Option<u64>,
    /// Prompt tokens that came out of the provider's cache.
    pub cached: Option<u64>,
}

/// Reads the [`Usage`] out of one answer's body.
#[derive(Debug)]
pub(crate) enum UsageScan {
    Plain(Scan),
    Coded(Decoder<Bounded>),
}

/// The same for plain text.
#[derive(Debug)]
pub(crate) struct Scan {
    form: Form,
    counts: Counts,
}

#[derive(Debug)]
enum Form {
    Json(JsonScan),
    Sse(SseScan),
}

/// Takes plain text up to a limit.
#[derive(Debug)]
pub(crate) struct Bounded {
    scan: Scan,
    left: usize,
}

impl UsageScan {
    /// What fits a `Content-Type` and a coding; `None` where there is nothing to find.
    pub(crate) fn new(content_type: &[u8], coding: Coding) -> Option<Self> {
        let scan = Scan::for_content_type(content_type)?;
        Some(match coding {
            Coding::Identity => Self::Plain(scan),
            _ => Self::Coded(Decoder::new(coding, Bounded { scan, left: PLAIN_LIMIT })?),
        })
    }

    /// Looks at the next piece of the body.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        match self {
            Self::Plain(scan) => scan.feed(piece),
            Self::Coded(decoder) => decoder.feed(piece),
        }
    }

    /// What the pieces so far have said; of a stream, the lines that are complete, or seem to be
    /// at the end of the body. `None` when they have said nothing. To be called at the end.
    pub(crate) fn finish(&mut self) -> Option<Usage> {
        match self {
            Self::Plain(scan) => scan.finish(),
            Self::Coded(decoder) => decoder.end().scan.finish(),
        }
    }
}

impl Scan {
    /// For an answer of one JSON object.
    fn json() -> Self {
        Self { form: Form::Json(JsonScan::default()), counts: Counts::default() }
    }

    /// For an event stream.
    fn sse() -> Self {
        Self { form: Form::Sse(SseScan::default()), counts: Counts::default() }
    }

    fn for_content_type(value: &[u8]) -> Option<Self> {
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if kind.eq_ignore_ascii_case(b"text/event-stream") {
            Some(Self::sse())
        } else if kind.eq_ignore_ascii_case(b"application/json") {
            Some(Self::json())
        } else {
            None
        }
    }

    fn feed(&mut self, piece: &[u8]) {
        match &mut self.form {
            Form::Json(scan) => scan.feed(piece, &mut self.counts),
            Form::Sse(scan) => scan.feed(piece, &mut self.counts),
        }
    }

    fn finish(&mut self) -> Option<Usage> {
        if let Form::Sse(scan) = &mut self.form {
            scan.end_line(&mut self.counts);
        }
        self.counts.usage()
    }
}

impl Write for Bounded {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        let taken = plain.len().min(self.left);
        self.scan.feed(&plain[..taken]);
        self.left -= taken;
        // With nothing left this is 0, which ends the decoding.
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
