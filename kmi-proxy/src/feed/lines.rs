//! Trace lines in their order, each once: first from the ledger, then as they are committed.

use std::{
    io::Write as _,
    sync::{Arc, Weak},
};

use super::Source;
use crate::ledger::{Live, Reader, StoredLine, Subscription};

/// How far back a watcher may begin, in lines.
const REPLAY_LIMIT: u64 = 100_000;
/// Lines that are read from the ledger at a time.
const READ_AT_ONCE: u64 = 512;
/// A chunk that has reached this size goes out, in bytes.
const CHUNK: usize = 64 << 10;

/// Where a watcher begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// After this line: the last one that it has.
    After(u64),
    /// So many lines before the newest one.
    Back(u64),
}

/// A watcher's lines.
#[derive(Debug)]
pub(super) struct Lines {
    source: Weak<dyn Source>,
    stage: Stage,
    /// The last line that was handed out, or left out on purpose.
    last: u64,
}

#[derive(Debug)]
enum Stage {
    /// In the ledger. A subscription is made when the end is near, so that it does not overflow
    /// while a long past is read.
    Past(Reader),
    /// The last part of the ledger, which joins the subscription.
    Joining(Reader, Subscription),
    Live(Subscription),
    Ended,
}

impl Lines {
    /// Looks where to begin; blocks for a moment.
    pub(super) fn new(source: &Arc<dyn Source>, begin: Begin) -> Self {
        let subscription = source.subscribe();
        let reader = source.reader();
        let span = reader.as_ref().and_then(|reader| reader.span().ok()?);
        let (first, newest) = span.unwrap_or((1, 0));
        let last = match begin {
            // A number from the future is one of another ledger.
            Begin::After(after) if after > newest => newest,
            Begin::After(after) => after,
            Begin::Back(lines) => newest.saturating_sub(lines).max(first.saturating_sub(1)),
        };
        let stage = match reader {
            Some(reader) if last < newest => Stage::Past(reader),
            _ => Stage::Live(subscription),
        };
        Self { source: Arc::downgrade(source), stage, last }
    }

    /// Whether everything that is in the ledger has been handed out.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live(_) | Stage::Ended)
    }

    /// The next lines of the past; nothing more when [`Self::is_live`].
    pub(super) async fn past(&mut self, out: &mut Vec<u8>) {
        let (reader, joining) = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Past(reader) => (reader, None),
            Stage::Joining(reader, subscription) => (reader, Some(subscription)),
            other => return self.stage = other,
        };
        let after = self.last;
        let reading = tokio::task::spawn_blocking(move || {
            let lines = read(&reader, after);
            (reader, lines)
        });
        // An error: the read panicked; the feed ends.
        let Ok((reader, lines)) = reading.await else { return };
        for line in &lines {
            self.hand_out(line.seq, line.text.as_bytes(), out);
        }
        let full = lines.len() as u64 == READ_AT_ONCE;
        self.stage = match joining {
            Some(subscription) if full => Stage::Joining(reader, subscription),
            Some(subscription) => Stage::Live(subscription),
            None if full => Stage::Past(reader),
            None => match self.source.upgrade() {
                Some(source) => Stage::Joining(reader, source.subscribe()),
                None => Stage::Ended,
            },
        };
    }

    /// Waits for a live line and hands it out; false at the end. Can be dropped while it waits.
    pub(super) async fn live(&mut self, out: &mut Vec<u8>) -> bool {
        let Stage::Live(subscription) = &mut self.stage else { return false };
        match subscription.recv().await {
            Some(live) => {
                self.take(&live, out);
                true
            }
            None => false,
        }
    }

    /// Hands out what waits, up to a chunk; true when there may be more.
    pub(super) fn waiting(&mut self, out: &mut Vec<u8>) -> bool {
        while out.len() < CHUNK {
            let Stage::Live(subscription) = &mut self.stage else { return false };
            let Some(live) = subscription.try_recv() else { return false };
            self.take(&live, out);
        }
        true
    }

    fn take(&mut self, live: &Live, out: &mut Vec<u8>) {
        // What was missed shows in the numbers, and so does what was missed before.
        if let Live::Line(line) = live {
            self.hand_out(line.seq, &line.text, out);
        }
    }

    fn hand_out(&mut self, seq: u64, text: &[u8], out: &mut Vec<u8>) {
        if seq <= self.last {
            return;
        }
        if let lines @ 1.. = seq - self.last - 1 {
            // Writing to memory does not fail.
            let _ = writeln!(out, "{{\"type\":\"missed\",\"lines\":{lines}}}");
        }
        self.last = seq;
        out.extend_from_slice(text);
        out.push(b'\n');
    }
}

/// The lines after `after`, or after those that are gone or too long ago.
fn read(reader: &Reader, after: u64) -> Vec<StoredLine> {
    // Retention may take the first line between the look and the reading: then once more.
    for _ in 0..3 {
        let Ok(Some((first, newest))) = reader.span() else { break };
        let from = first.max(after.saturating_add(1)).max(newest.saturating_sub(REPLAY_LIMIT));
        let to = newest.min(from.saturating_add(READ_AT_ONCE - 1));
        let lines: Vec<_> = reader.lines(from, to).map_while(Result::ok).collect();
        if !lines.is_empty() || from > newest {
            return lines;
        }
    }
    Vec::new()
}
