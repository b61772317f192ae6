//! Whether the rotation is proven, in words short enough for a line.

use kmi_core::state::Mode;
use kmi_stats::{
    confidence::{MIN_TURNS, shown},
    report::{Report, Verdict},
};

use crate::paint::Tone;

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
        let confidence = shown(last.confidence);
        let (tone, headline, because, meaning) = match last.verdict {
            Verdict::Verified if mode == Mode::Manual => (
                Tone::Good,
                "ROTATION PROVEN",
                format!("of automatic mode: {conforming} of {turns} turns in order"),
                "manual mode takes no turns: it adds nothing".to_owned(),
            ),
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
                // None broke a rule, but some may be unverifiable.
                if conforming == turns {
                    format!("{turns} of {MIN_TURNS} turns that it takes, all in order")
                } else {
                    format!("{turns} of {MIN_TURNS} turns that it takes, {conforming} in order")
                },
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

    /// What a thin trace shows in `kmi trace` and `kmi top`, and a thick one.
    #[test]
    fn it_is_never_certain_and_least_of_all_on_thin_data() {
        for turns in (1..=400).chain([1_000, 1_000_000, u64::MAX / 2]) {
            let it = Judgement::of(&proof(turns, 0), Mode::Auto);
            let told = format!("{} {} {}", it.headline, it.because, it.meaning);
            assert!(!told.contains("100 %") && !told.contains("100.00"), "{turns}: {told}");
            assert_eq!(it.headline == "ROTATION PROVEN", turns >= MIN_TURNS, "{turns}: {told}");
        }
        let told = |turns| Judgement::of(&proof(turns, 0), Mode::Auto).meaning;
        assert_eq!([told(1), told(58)], ["confidence 5.00 % so far", "confidence 94.89 % so far"]);
    }

    #[test]
    fn what_cannot_be_checked_is_not_called_in_order() {
        let mut report = proof(12, 0);
        report.window.numbers.conforming = 9;
        report.window.numbers.unverifiable = 3;
        let told = Judgement::of(&report, Mode::Auto).because;
        assert_eq!(told, "12 of 59 turns that it takes, 9 in order");
    }

    #[test]
    fn the_words_follow_the_verdict() {
        let words = |turns, violations| {
            let it = Judgement::of(&proof(turns, violations), Mode::Auto);
            format!("{}: {}", it.headline, it.because)
        };
        assert_eq!(words(0, 0), "NOT YET PROVEN: no turns yet; it takes 59");
        assert_eq!(words(12, 0), "NOT YET PROVEN: 12 of 59 turns that it takes, all in order");
        assert_eq!(words(200, 0), "ROTATION PROVEN: 200 of 200 turns in order, confidence 99.99 %");
        let manual = |turns| Judgement::of(&proof(turns, 0), Mode::Manual);
        assert_eq!(manual(12).headline, "NOTHING TO PROVE");
        assert_eq!(manual(200).because, "of automatic mode: 200 of 200 turns in order");
        assert_eq!(words(200, 2), "ROTATION BROKEN: 2 of 200 turns broke the rules");
    }
}
