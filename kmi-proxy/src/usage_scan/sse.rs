//! Event streams: lines that name a usage object are parsed, all others are only searched.

use super::{KEY, counts::Counts};
use memchr::memmem;

/// Longer lines are passed over.
const LINE_LIMIT: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct SseScan {
    /// The line that the last piece ended in.
    line: Vec<u8>,
    /// That line is too long and is not kept.
    passing: bool,
}

impl SseScan {
    pub(super) fn feed(&mut self, piece: &[u8], counts: &mut Counts) {
        let mut rest = piece;
        if self.passing || !self.line.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            self.keep(&rest[..end.unwrap_or(rest.len())]);
            let Some(end) = end else { return };
            self.end_line(counts);
            rest = &rest[end + 1..];
        }
        // Events end in an empty line, so the last newline is nearly always near the end.
        let lines = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let (lines, tail) = rest.split_at(lines);
        search(lines, counts);
        self.keep(tail);
    }

    pub(super) fn end_line(&mut self, counts: &mut Counts) {
        search(&self.line, counts);
        self.line.clear();
        self.passing = false;
    }

    /// Bytes that are allocated at the moment.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.line.capacity()
    }

    fn keep(&mut self, part: &[u8]) {
        if self.passing || self.line.len() + part.len() > LINE_LIMIT {
            self.passing = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }
}

/// Reads the usage out of every line that names a usage object.
fn search(mut lines: &[u8], counts: &mut Counts) {
    while let Some(at) = memmem::find(lines, KEY) {
        let start = lines[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |n| n + 1);
        let end = lines[at..].iter().position(|byte| *byte == b'\n');
        let end = end.map_or(lines.len(), |n| at + n);
        if end - start <= LINE_LIMIT
            && names_object(&lines[at..end])
            && let Some(data) = lines[start..end].strip_prefix(b"data:")
        {
            counts.read_event(data);
        }
        lines = lines.get(end + 1..).unwrap_or_default();
    }
}

/// Whether one of the keys has an object as its value: some providers write `"usage":null` into
/// every event, which need not be parsed.
fn names_object(mut line: &[u8]) -> bool {
    while let Some(at) = memmem::find(line, KEY) {
        line = &line[at + KEY.len()..];
        let value = line.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if value.is_some_and(|value| value.starts_with(b"{")) {
            return true;
        }
    }
    false
}
