//! The chain: every line's hash, number and predecessor (FAIRNESS section 5).

use jiff::Timestamp;
use kmi_core::trace::{self, ChainHash, Place};

use crate::checkpoint::{Checkpoint, PublicKey};
use crate::report::{ChainReport, HeadReport};

/// A line as the chain sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) place: Place,
    /// Whether the line is an epoch's: these may stand alone before an export's stretch.
    pub(super) is_epoch: bool,
    /// When the line was made, where it says so.
    pub(super) ts: Option<Timestamp>,
}

/// Where a trace begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Beginning {
    /// With line 1.
    Whole,
    /// Later, at this time: an export, or a ledger whose oldest lines are gone.
    Cut(Option<Timestamp>),
}

/// Checks lines in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    records: u64,
    start: Option<Link>,
    last: Option<Link>,
    /// Only epoch lines so far, so the contiguous stretch may still begin.
    before_stretch: bool,
    first_bad: Option<(u64, String)>,
    head: Option<ChainHash>,
    /// The number of the line with the noted hash; 0 for before line 1.
    head_seq: Option<u64>,
    checkpoints: u64,
    /// Whose signatures they must bear.
    signer: Option<PublicKey>,
}

impl Chain {
    pub(super) fn new(head: Option<ChainHash>, signer: Option<PublicKey>) -> Self {
        Self { before_stretch: true, head, signer, ..Self::default() }
    }

    /// Takes the next line.
    pub(super) fn line(&mut self, line: Link) {
        self.records += 1;
        let place = line.place;
        let intact = place.hash == place.computed;
        match self.last {
            None => self.begin(&line),
            Some(last) => self.follow(&last, &line, intact),
        }
        if !intact {
            self.bad(place.seq, "its bytes do not have the hash that stands at its end");
        }
        if self.head == Some(place.hash) && intact {
            self.head_seq = Some(place.seq);
        }
        self.before_stretch &= line.is_epoch;
        self.last = Some(line);
    }

    /// Takes what the last line states of those before it.
    pub(super) fn checkpoint(&mut self, place: &Place, it: &trace::Checkpoint) {
        self.checkpoints += 1;
        let stated = match &self.signer {
            Some(signer) => signer.check(&it.note),
            None => Checkpoint::parse(&it.note),
        };
        let fits = |stated: &Checkpoint| {
            stated.count == it.count
                && it.count.checked_add(1) == Some(place.seq)
                && stated.head == place.prev
                && *it.head == *place.prev.as_str()
        };
        match stated {
            Err(error) => self.bad(place.seq, &format!("of its checkpoint: {error}")),
            Ok(stated) if !fits(&stated) => {
                self.bad(place.seq, "its checkpoint states something else than the line before it");
            }
            Ok(_) => {}
        }
    }

    /// Takes what is no line. It is the first bad one, if none was before: nothing that the lines
    /// after it do or do not follow is asked any more.
    pub(super) fn garbage(&mut self, why: &str) {
        self.records += 1;
        self.bad(self.expected(), why);
        self.before_stretch = false;
    }

    /// Where the lines begin, as far as is known.
    pub(super) fn beginning(&self) -> Beginning {
        match self.start {
            Some(start) if start.place.seq > 1 => Beginning::Cut(start.ts),
            _ => Beginning::Whole,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(super) fn is_ok(&self) -> bool {
        self.first_bad.is_none() && self.head_report().is_none_or(|head| head.found)
    }

    pub(super) fn first_bad_seq(&self) -> Option<u64> {
        self.first_bad.as_ref().map(|(seq, _)| *seq)
    }

    pub(super) fn report(&self) -> ChainReport {
        ChainReport {
            ok: self.first_bad.is_none(),
            records: self.records,
            head: self.last.map_or(ChainHash::START, |last| last.place.hash).to_string(),
            first_seq: self.start.map(|start| start.place.seq),
            last_seq: self.last.map(|last| last.place.seq),
            error: self.first_bad.as_ref().map(|(_, why)| why.clone()),
            checkpoints: self.checkpoints,
            signer: self.signer.as_ref().map(ToString::to_string),
        }
    }

    pub(super) fn head_report(&self) -> Option<HeadReport> {
        let hash = self.head?;
        let last = self.last.map_or(0, |last| last.place.seq);
        // An empty ledger's head is what stands before line 1.
        let empty = self.last.is_none() && hash == ChainHash::START;
        let seq = self.head_seq.or(empty.then_some(0));
        Some(HeadReport {
            hash: hash.to_string(),
            found: seq.is_some(),
            seq,
            lines_after: seq.map(|seq| last.saturating_sub(seq)),
        })
    }

    /// The first line of the contiguous stretch, as far as is known.
    fn begin(&mut self, line: &Link) {
        let place = &line.place;
        if (place.seq == 1) != (place.prev == ChainHash::START) {
            self.bad(1, "line 1, and no other, follows 64 zeros");
        } else if place.seq == 0 {
            self.bad(0, "numbers start at 1");
        }
        self.start = Some(*line);
        // A noted head may be the line just before an export's first.
        self.head_seq = (self.head == Some(place.prev)).then(|| place.seq.saturating_sub(1));
    }

    fn follow(&mut self, before: &Link, next_one: &Link, intact: bool) {
        let (last, line) = (&before.place, &next_one.place);
        let next = last.seq.checked_add(1);
        if Some(line.seq) == next && line.prev == last.hash {
            return;
        }
        if self.before_stretch && intact && line.seq > last.seq && Some(line.seq) != next {
            return self.begin(next_one);
        }
        if Some(line.seq) == next {
            self.bad(line.seq, "it does not follow the line before it");
        } else {
            self.bad(next.unwrap_or(u64::MAX), &format!("line {} is in its place", line.seq));
        }
    }

    fn expected(&self) -> u64 {
        self.last.map_or(1, |last| last.place.seq.saturating_add(1))
    }

    fn bad(&mut self, seq: u64, why: &str) {
        self.first_bad.get_or_insert_with(|| (seq, why.to_owned()));
    }
}
