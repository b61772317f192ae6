//! Reads a trace line by line and says what it proves (FAIRNESS sections 3 to 5).
//!
//! [`Verifier`] takes raw lines in the order of the file, from a file, the ledger or a running
//! proxy, and can report at any time. Its memory does not grow with the trace: turns are linked
//! as their neighbours come in (see `spans`), and only the window's turns are kept. Nothing that
//! a line claims makes it panic or allocate more than the line's own size asks for.
//!
//! ```
//! use kmi_stats::verify::{InFlight, Options, Verifier};
//!
//! let mut verifier = Verifier::new(Options::default());
//! verifier.line(b"not a line of a trace")?;
//! let report = verifier.report(&InFlight::None);
//! assert_eq!(report.first_bad_seq, Some(1));
//! # Ok::<(), kmi_stats::verify::Refused>(())
//! ```

mod chain;
mod order;
mod seen;
mod spans;
mod tally;
mod upstream;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kmi_core::{
    display::visible,
    trace::{Attempt, ChainHash, Evidence, Familiar, Line, LineError, Record},
};

use self::{
    chain::{Chain, Link},
    seen::{Partial, PartialAttempt, Seen},
    tally::Row,
    upstream::Upstream,
};
use crate::{
    checkpoint::PublicKey,
    conformity::Violation,
    report::{Finding, MAX_FINDINGS, Numbers, Report, Window},
};

/// The usual window: the last 200 turns.
pub const DEFAULT_WINDOW: usize = 200;

/// The largest window; a larger one is cut to it.
pub const MAX_WINDOW: usize = 1_000_000;

/// Longer lines are no lines of a trace, in bytes. Whoever reads lines need not keep more.
pub const MAX_LINE: usize = 32 * 1024 * 1024;

/// Most upstreams of one trace.
const MAX_UPSTREAMS: usize = 1_024;

/// What is asked of a verification.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many of the last turns the window holds.
    pub window: usize,
    /// A head hash that was noted earlier and must be in the chain.
    pub head: Option<ChainHash>,
    /// Whose signatures the trace's checkpoints must bear; `None`: they are not checked.
    pub signer: Option<PublicKey>,
}

impl Default for Options {
    fn default() -> Self {
        Self { window: DEFAULT_WINDOW, head: None, signer: None }
    }
}

/// The turns that were given out and have not ended, at the time of a report.
#[derive(Debug, Clone, Default)]
pub enum InFlight {
    /// Nobody knows: nothing explains an open turn.
    #[default]
    None,
    /// No proxy runs. The newest turn of each upstream that was ever given out, as its turn page
    /// counts: what was cut off the trace's end, or never came into it, is open.
    GivenOut(HashMap<Arc<str>, u64>),
    /// A proxy runs. Taken *before* the last lines were read, so that what ends or starts in
    /// between is no open turn.
    Turns(HashMap<Arc<str>, Flight>),
}

/// The turns of one upstream that are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// How many, lines that wait to be written included.
    pub turns: u64,
    /// The newest turn that was given out.
    pub newest: u64,
}

/// A text that is not to be verified at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// An export that was filtered by key or outcome.
    #[error("a filtered export: it is for reading and cannot be verified")]
    Filtered,
}

/// Verifies a trace, line by line.
#[derive(Debug, Clone)]
pub struct Verifier {
    window: usize,
    chain: Chain,
    familiar: Familiar,
    upstreams: BTreeMap<Arc<str>, Upstream>,
    loose_violations: u64,
    found: Findings,
    /// Records that came without a line.
    unchained: u64,
}

impl Verifier {
    /// Nothing read yet.
    pub fn new(options: Options) -> Self {
        Self {
            window: options.window.clamp(1, MAX_WINDOW),
            chain: Chain::new(options.head, options.signer),
            familiar: Familiar::default(),
            upstreams: BTreeMap::new(),
            loose_violations: 0,
            found: Findings::default(),
            unchained: 0,
        }
    }

    /// Takes the next line, without its newline. An empty line is skipped.
    ///
    /// # Errors
    /// Only when the first line says that this is a filtered export. Everything else that is
    /// wrong with a line is part of the report.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Refused> {
        if line.is_empty() {
            return Ok(());
        }
        if line.len() > MAX_LINE {
            self.chain.garbage("the line is too long");
            return Ok(());
        }
        if let Some(evidence) = Evidence::scan(line, &mut self.familiar) {
            self.attempt(&evidence);
            return Ok(());
        }
        match self.read(line) {
            Ok(()) => {}
            Err(LineError::Filtered) if self.chain.is_empty() => return Err(Refused::Filtered),
            Err(LineError::Json(error)) => match Partial::read(line) {
                Some((partial, place)) => self.read_partial(&partial, place, &error),
                None => self.chain.garbage(&visible(&error.to_string())),
            },
            Err(error) => self.chain.garbage(&error.to_string()),
        }
        Ok(())
    }

    fn read(&mut self, line: &[u8]) -> Result<(), LineError> {
        if let Some(evidence) = seen::evidence(line)? {
            self.attempt(&evidence);
            return Ok(());
        }
        let Line { place, record } = Line::parse(line)?;
        self.chain.line(Link {
            place,
            is_epoch: matches!(record, Some(Record::Epoch(_))),
            ts: record.as_ref().map(Record::ts),
        });
        match record {
            Some(Record::Checkpoint(checkpoint)) => self.chain.checkpoint(&place, &checkpoint),
            Some(record) => self.record(place.seq, record),
            None => {}
        }
        Ok(())
    }

    /// Takes a record that is in no line, from a simulation say: as [`Self::line`], but for the
    /// chain, which stays empty.
    pub fn unchained(&mut self, record: Record) {
        match record {
            Record::Attempt(attempt) => self.unchained_attempt(&attempt),
            record => {
                self.unchained += 1;
                self.record(self.unchained, record);
            }
        }
    }

    /// As [`Self::unchained`] for an attempt, which costs nothing but the replay.
    pub fn unchained_attempt(&mut self, attempt: &Attempt) {
        self.unchained += 1;
        let (place, seen) = (attempt.slot.or(attempt.prev_slot), Seen::recorded(attempt));
        self.replay(self.unchained, &attempt.upstream, place, seen.as_ref());
    }

    /// What is no attempt.
    fn record(&mut self, seq: u64, record: Record) {
        let beginning = self.chain.beginning();
        match record {
            Record::Epoch(epoch) => {
                let name = Arc::clone(&epoch.upstream);
                self.upstream(seq, &name, |it, found| it.epoch(seq, epoch, found));
            }
            Record::Gap(gap) => {
                let take = |it: &mut Upstream, found: &mut _| it.gap(seq, &gap, beginning, found);
                self.upstream(seq, &gap.upstream, take);
            }
            Record::Attempt(_) | Record::Checkpoint(_) | Record::Health(_) | Record::Mode(_) => {}
        }
    }

    fn attempt(&mut self, it: &Evidence<'_>) {
        self.chain.line(Link { place: it.place, is_epoch: false, ts: Some(it.ts) });
        self.replay(it.place.seq, &it.upstream, it.slot.or(it.prev_slot), Seen::of(it).as_ref());
    }

    /// `place` is what an attempt claims of the rotation, which only a turn may.
    fn replay(&mut self, seq: u64, name: &str, place: Option<usize>, seen: Option<&Seen<'_>>) {
        match seen {
            Some(seen) => self.turn(seq, name, seen),
            None if place.is_some() => self.upstream(seq, name, |it, found| it.no_turn(seq, found)),
            None => {}
        }
    }

    fn turn(&mut self, seq: u64, name: &str, seen: &Seen<'_>) {
        let beginning = self.chain.beginning();
        self.upstream(seq, name, |it, found| it.turn(seq, seen, beginning, found));
    }

    fn read_partial(&mut self, partial: &Partial, link: Link, error: &serde_json::Error) {
        self.chain.line(link);
        match partial.attempt() {
            Some(PartialAttempt::Turn { upstream, seen }) => {
                self.turn(link.place.seq, upstream, &seen);
            }
            Some(PartialAttempt::NoTurn) => {}
            // A word of a newer kmi about health or mode is no harm.
            None if !partial.matters() => {}
            None => {
                let why = visible(&error.to_string()).into_owned();
                self.loose(link.place.seq, &Violation::Unreadable(why));
            }
        }
    }

    fn upstream(&mut self, seq: u64, name: &str, then: impl FnOnce(&mut Upstream, &mut Findings)) {
        if let Some(upstream) = self.upstreams.get_mut(name) {
            return then(upstream, &mut self.found);
        }
        if self.upstreams.len() == MAX_UPSTREAMS {
            return self.loose(seq, &Violation::TooMany(MAX_UPSTREAMS, "upstreams"));
        }
        let name: Arc<str> = name.into();
        let mut upstream = Upstream::new(Arc::clone(&name), self.window);
        then(&mut upstream, &mut self.found);
        self.upstreams.insert(name, upstream);
    }

    fn loose(&mut self, seq: u64, violation: &Violation) {
        self.loose_violations += 1;
        self.found.add(seq, "", None, violation);
    }

    /// What the lines so far prove. Costs O(window), not O(trace).
    pub fn report(&self, in_flight: &InFlight) -> Report {
        let chain_ok = self.chain.is_ok();
        let flight = |it: &Upstream| match in_flight {
            InFlight::None => None,
            InFlight::GivenOut(newest) => {
                // A page that an outage of the machine has set back hides no hole.
                let newest = (*newest.get(it.name())?).max(it.newest_turn());
                Some(Flight { turns: 0, newest })
            }
            InFlight::Turns(turns) => turns.get(it.name()).copied(),
        };
        let parts: Vec<_> = self
            .upstreams
            .values()
            .map(|it| (visible(it.name()).into_owned(), it.report(flight(it), chain_ok)))
            .collect();
        let mut all = Numbers::together(parts.iter().map(|(_, part)| part.all.clone()));
        all.violations += self.loose_violations;
        all.judge(chain_ok);
        let windows = self.windows();
        let of_window =
            |(it, rows): (&Upstream, &Vec<&Row>)| it.numbers_of(rows.iter().copied(), flight(it));
        let mut recent = Numbers::together(self.upstreams.values().zip(&windows).map(of_window));
        recent.judge(chain_ok);
        Report {
            all,
            chain: self.chain.report(),
            first_bad_seq: self.chain.first_bad_seq(),
            window: Window { size: self.window as u64, numbers: recent },
            upstreams: parts.into_iter().collect(),
            head: self.chain.head_report(),
            findings: self.found.list.clone(),
        }
    }

    /// The last turns of all upstreams by time: for each upstream its part, by turn number.
    fn windows(&self) -> Vec<Vec<&Row>> {
        let mut rows: Vec<_> = self
            .upstreams
            .values()
            .enumerate()
            .flat_map(|(at, it)| it.recent().map(move |row| (at, row)))
            .collect();
        if let Some(extra) = rows.len().checked_sub(self.window).filter(|extra| *extra > 0) {
            rows.sort_by_key(|(_, row)| (row.ts, row.seq));
            rows.drain(..extra);
            rows.sort_by_key(|(at, row)| (*at, row.turn, row.seq));
        }
        let mut parts = vec![Vec::new(); self.upstreams.len()];
        for (at, row) in rows {
            parts[at].push(row);
        }
        parts
    }
}

/// The first few violations, in words.
#[derive(Debug, Clone, Default)]
struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, seq: u64, upstream: &str, turn: Option<u64>, violation: &Violation) {
        if self.list.len() < MAX_FINDINGS {
            self.list.push(Finding {
                seq,
                upstream: (!upstream.is_empty()).then(|| visible(upstream).into_owned()),
                turn,
                what: visible(&violation.to_string()).into_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
