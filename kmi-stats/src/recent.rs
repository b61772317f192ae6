//! The fairness of the last turns, kept up to date line by line for those who watch.
//!
//! A [`Verifier`] that is fed as lines come in costs little as long as few come. Under load the
//! lines between two looks are more than the window holds: then all but the last of them are left
//! out, so that a look costs the same whatever the load is.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    report::Report,
    verify::{DEFAULT_WINDOW, InFlight, Options, Verifier},
};

/// Lines that wait for the next look. More than the window's turns, because not every line is one.
const WAITING: usize = DEFAULT_WINDOW + DEFAULT_WINDOW / 2;
/// Epoch lines that are kept for the turns that refer to them.
const EPOCHS: usize = 64;
/// How kmi begins the line of an epoch.
const EPOCH: &[u8] = b"{\"type\":\"epoch\"";

/// The last turns of a trace that goes on.
#[derive(Debug, Clone)]
pub struct Recent {
    verifier: Verifier,
    waiting: VecDeque<Arc<[u8]>>,
    /// Whether lines were left out since the verifier began.
    skipped: bool,
    epochs: VecDeque<Arc<[u8]>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            verifier: Verifier::new(Options::default()),
            waiting: VecDeque::new(),
            skipped: false,
            epochs: VecDeque::new(),
        }
    }
}

impl Recent {
    /// Takes the next line of the trace, as it is stored. Costs nothing before the next look.
    ///
    /// A trace that is entered in the middle begins with the epoch lines that are in force there.
    pub fn line(&mut self, line: Arc<[u8]>) {
        if line.starts_with(EPOCH) {
            if self.epochs.len() == EPOCHS {
                self.epochs.pop_front();
            }
            self.epochs.push_back(Arc::clone(&line));
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.skipped = true;
        }
        self.waiting.push_back(line);
    }

    /// Lines were missed: what came before does not join what comes now.
    pub fn gap(&mut self) {
        self.waiting.clear();
        self.skipped = true;
    }

    /// What the last turns prove: its `window` holds the last [`DEFAULT_WINDOW`] of them, and the
    /// other numbers are those of the lines that it happens to remember.
    pub fn report(&mut self, in_flight: &InFlight) -> Report {
        if self.skipped {
            self.skipped = false;
            self.verifier = Verifier::new(Options::default());
            let is_waiting = |epoch: &&Arc<[u8]>| self.waiting.iter().any(|line| line == *epoch);
            for epoch in self.epochs.iter().filter(|epoch| !is_waiting(epoch)) {
                // Only an export can be a filtered one.
                let _ = self.verifier.line(epoch);
            }
        }
        for line in self.waiting.drain(..) {
            let _ = self.verifier.line(&line);
        }
        self.verifier.report(in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::Verdict,
        trace_builder::{mode, rotation, sealed},
    };

    fn lines(records: &[kmi_core::trace::Record]) -> Vec<Arc<[u8]>> {
        sealed(records).into_iter().map(Arc::from).collect()
    }

    fn told(recent: &mut Recent) -> (Verdict, u64, u64) {
        let window = recent.report(&InFlight::None).window.numbers;
        (window.verdict, window.turns, window.conforming)
    }

    #[test]
    fn often_or_seldom_looked_at_it_says_the_same() {
        let trace = lines(&rotation(&[1, 2, 1], 2_000));
        let (mut often, mut seldom) = (Recent::default(), Recent::default());
        for line in trace {
            often.line(Arc::clone(&line));
            often.report(&InFlight::None);
            seldom.line(line);
        }
        assert_eq!(told(&mut often), (Verdict::Verified, 200, 200));
        assert_eq!(told(&mut seldom), (Verdict::Verified, 200, 200));
        assert!(seldom.verifier.report(&InFlight::None).all.turns <= WAITING as u64);
    }

    #[test]
    fn it_begins_in_the_middle_and_goes_on() {
        let trace = lines(&rotation(&[1; 3], 500));
        let mut recent = Recent::default();
        recent.line(Arc::clone(&trace[0]));
        for line in &trace[400..430] {
            recent.line(Arc::clone(line));
        }
        assert_eq!(told(&mut recent), (Verdict::InsufficientData, 30, 30));
        trace[430..].iter().for_each(|line| recent.line(Arc::clone(line)));
        assert_eq!(told(&mut recent), (Verdict::Verified, 101, 101));
    }

    #[test]
    fn what_was_missed_is_no_violation() {
        let trace = lines(&rotation(&[1; 3], 500));
        let mut recent = Recent::default();
        trace[..100].iter().for_each(|line| recent.line(Arc::clone(line)));
        recent.gap();
        trace[300..].iter().for_each(|line| recent.line(Arc::clone(line)));
        assert_eq!(told(&mut recent), (Verdict::Verified, 200, 200));
    }

    #[test]
    fn a_broken_rule_shows() {
        let mut records = rotation(&[1; 3], 500);
        let three = records[497].clone();
        let kmi_core::trace::Record::Attempt(mut wrong) = three else { panic!("an attempt") };
        wrong.slot = wrong.slot.map(|slot| (slot + 1) % 3);
        records[497] = kmi_core::trace::Record::Attempt(wrong);
        records.push(mode());
        let mut recent = Recent::default();
        for line in lines(&records) {
            recent.line(line);
        }
        assert_eq!(told(&mut recent).0, Verdict::Violated);
    }
}
