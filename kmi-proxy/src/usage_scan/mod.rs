//! Token counts out of an answer that passes by: fed piece by piece, never holding the answer up
//! and never holding it whole.
//!
//! Usage is read from the three places that WIRE.md section 1.3 names (`usage`, `choices[].usage`
//! and Anthropic's `message.usage`), and from `response.usage` of the Responses API; of several,
//! the later count wins. Memory is bounded: a stream's line longer than 64 KiB and a usage object
//! longer than 4 KiB are passed over. How the bytes are cut into pieces changes nothing.
//!
//! Only bodies without a content coding may be fed.

mod counts;
mod json;
mod sse;

use self::{counts::Counts, json::JsonScan, sse::SseScan};

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
pub(crate) struct UsageScan {
    form: Form,
    counts: Counts,
}

#[derive(Debug)]
enum Form {
    Json(JsonScan),
    Sse(SseScan),
}

impl UsageScan {
    /// For an answer of one JSON object.
    pub(crate) fn json() -> Self {
        Self { form: Form::Json(JsonScan::default()), counts: Counts::default() }
    }

    /// For an event stream.
    pub(crate) fn sse() -> Self {
        Self { form: Form::Sse(SseScan::default()), counts: Counts::default() }
    }

    /// What fits a `Content-Type`; `None` where there is nothing to find.
    pub(crate) fn for_content_type(value: &[u8]) -> Option<Self> {
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if kind.eq_ignore_ascii_case(b"text/event-stream") {
            Some(Self::sse())
        } else if kind.eq_ignore_ascii_case(b"application/json") {
            Some(Self::json())
        } else {
            None
        }
    }

    /// Looks at the next piece of the body.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        match &mut self.form {
            Form::Json(scan) => scan.feed(piece, &mut self.counts),
            Form::Sse(scan) => scan.feed(piece, &mut self.counts),
        }
    }

    /// What the pieces so far have said; of a stream, the lines that are complete, or seem to be
    /// at the end of the body. `None` when they have said nothing.
    pub(crate) fn finish(&mut self) -> Option<Usage> {
        if let Form::Sse(scan) = &mut self.form {
            scan.end_line(&mut self.counts);
        }
        self.counts.usage()
    }
}

#[cfg(test)]
mod tests;
