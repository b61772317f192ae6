//! Whether the rotation is proven, in words short enough for a line.

use kmi_core::state::Mode;
use kmi_stats::{
    confidence::MIN_TURNS,
    report::{Report, Verdict},
};

use crate::{paint::Tone, quantity::percent};

/// A judgement in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// How it is to be taken.
    pub tone: Tone,
    /// The judgement itself, in one or two words.
    pub headline: &'static str,
    /// What it rests on.
    pub because: String,
    /// What that means; empty where there is nothing to add.
    pub meaning: String,
}

impl Judgement {
    /// Of the last turns that a report knows; there are no new ones in manual mode.
    pub fn of(report: &Report, mode: Mode) -> Self {
        let last = &report.window.numbers;
        let (turns, conforming) = (last.turns, last.conforming);
        let confidence = percent(last.confidence, 2);
        let (tone, headline, because, meaning) = match last.verdict {
            Verdict::Verified => (
                Tone::Good,
                "ROTATION PROVEN",
                format!("{conforming} of {turns} turns in order, confidence {confidence}"),
                "so sure it is that at least 95 % of turns rotate correctly".to_owned(),
            ),
            Verdict::InsufficientData if mode == Mode::Manual => (
                Tone::Dim,
                "NOTHING TO PROVE",
                "manual mode: the active key serves, which is no turn".to_owned(),
                "m among the keys switches automatic rotation on".to_owned(),
            ),
            Verdict::InsufficientData if turns == 0 => (
                Tone::Dim,
                "NOT YET PROVEN",
                format!("no turns yet; it takes {MIN_TURNS}"),
                String::new(),
            ),
            Verdict::InsufficientData => (
                Tone::Warn,
                "NOT YET PROVEN",
                format!("{turns} of {MIN_TURNS} turns that it takes, all in order"),
                format!("confidence {confidence} so far"),
            ),
            Verdict::Incomplete => (
                Tone::Warn,
                "NOT PROVEN",
                "nothing is out of order, but not every turn can be checked".to_owned(),
                "`kmi verify` says which".to_owned(),
            ),
            Verdict::Violated => (
                Tone::Bad,
                "ROTATION BROKEN",
                match (last.violations, report.chain.ok) {
                    (0, _) => "the trace's chain is broken".to_owned(),
                    (n, _) => format!("{n} of {turns} turns broke the rules"),
                },
                "`kmi verify` says where".to_owned(),
            ),
        };
        Self { tone, headline, because, meaning }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::proof;

    #[test]
    fn the_words_follow_the_verdict() {
        let words = |turns, violations| {
            let it = Judgement::of(&proof(turns, violations), Mode::Auto);
            format!("{}: {}", it.headline, it.because)
        };
        assert_eq!(words(0, 0), "NOT YET PROVEN: no turns yet; it takes 59");
        assert_eq!(words(12, 0), "NOT YET PROVEN: 12 of 59 turns that it takes, all in order");
        assert_eq!(words(200, 0), "ROTATION PROVEN: 200 of 200 turns in order, confidence 99.99 %");
        let manual = |turns| Judgement::of(&proof(turns, 0), Mode::Manual).headline;
        assert_eq!([manual(12), manual(200)], ["NOTHING TO PROVE", "ROTATION PROVEN"]);
        assert_eq!(words(200, 2), "ROTATION BROKEN: 2 of 200 turns broke the rules");
    }
}
