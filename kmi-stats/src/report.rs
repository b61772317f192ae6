//! What a verification found: the fields of `kmi verify --json` (CONTRACT section 3).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    chi_square::ChiSquare,
    confidence::{MIN_TURNS, REQUIRED_CONFIDENCE, confidence, lower_bound},
};

/// The judgement (FAIRNESS section 3): the first that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A rule was broken, or the chain.
    Violated,
    /// Fewer than 59 turns prove nothing.
    InsufficientData,
    /// Turns are missing or cannot be checked.
    Incomplete,
    /// With at least 95 % confidence at least 95 % of all turns rotate correctly.
    Verified,
}

impl Verdict {
    /// The word that stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Violated => "violated",
            Self::InsufficientData => "insufficient_data",
            Self::Incomplete => "incomplete",
            Self::Verified => "verified",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All turns of all upstreams together.
    #[serde(flatten)]
    pub all: Numbers,
    /// The lines' chain.
    pub chain: ChainReport,
    /// The first number where the file stops being right; absent when the chain is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad_seq: Option<u64>,
    /// The last turns of all upstreams, by time.
    pub window: Window,
    /// Every upstream by itself.
    pub upstreams: BTreeMap<String, UpstreamReport>,
    /// What became of the noted head hash; absent when none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadReport>,
    /// The first few violations, in words.
    pub findings: Vec<Finding>,
}

/// The numbers of one set of turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// The judgement.
    pub verdict: Verdict,
    /// Ended turns.
    pub turns: u64,
    /// Turns that rotate correctly.
    pub conforming: u64,
    /// Broken rules: turns that do not conform, and epochs and gaps that cannot be.
    pub violations: u64,
    /// Turns whose epoch line or masks are missing.
    pub unverifiable: u64,
    /// Turns that were checked without the turn before.
    pub unlinked: u64,
    /// Turn numbers that are in no line.
    pub open: u64,
    /// How sure it is that at least 95 % of turns rotate correctly, 0 to 1.
    pub confidence: f64,
    /// The one-sided 95 % lower bound of the conformity rate, 0 to 1.
    pub lower_bound: f64,
    /// How far two keys drifted apart while both could serve, in turns per weight.
    pub max_pair_gap: f64,
    /// Immediate repeats of a key while another could have served.
    pub repeats: u64,
    /// Shares against expectation.
    pub chi_square: ChiSquare,
    /// Runs of turns whose end is not known; at most [`MAX_GAPS`] are listed.
    pub gaps: Vec<GapReport>,
    /// How many gaps there are.
    pub gap_count: u64,
    /// How many turns lie in gaps.
    pub gap_turns: u64,
    /// How many gaps do not know their slots.
    pub gaps_without_slots: u64,
    /// Open turns that no turn in flight explains.
    pub unexplained: u64,
    /// The keys' shares.
    pub shares: Vec<ShareReport>,
}

/// Most gaps that a report lists.
pub const MAX_GAPS: usize = 1_000;

/// Most violations that a report puts in words.
pub const MAX_FINDINGS: usize = 20;

/// The last turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// How many turns it holds at most.
    pub size: u64,
    /// Its numbers.
    #[serde(flatten)]
    pub numbers: Numbers,
}

/// One upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamReport {
    /// All its turns.
    #[serde(flatten)]
    pub all: Numbers,
    /// Its last turns.
    pub window: Window,
    /// Its newest epoch; `None` without an epoch line.
    pub epoch: Option<u64>,
    /// Its newest turn; 0 for none.
    pub newest_turn: u64,
}

/// Turns whose end is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapReport {
    /// The upstream.
    pub upstream: String,
    /// The first turn.
    pub from_turn: u64,
    /// The last turn.
    pub to_turn: u64,
    /// Why.
    pub reason: String,
    /// Whether the slots are known, so that the turn after it can be verified.
    pub slots_known: bool,
}

/// One key's share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareReport {
    /// The upstream.
    pub upstream: String,
    /// The key's id.
    pub key: String,
    /// Its label.
    pub label: String,
    /// Turns that it served.
    pub turns: u64,
    /// Turns that its weight and eligibility ask for.
    pub expected: f64,
    /// Prompt and completion tokens.
    pub tokens: u64,
}

/// The lines' chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainReport {
    /// Whether every hash and number is right.
    pub ok: bool,
    /// How many lines there are.
    pub records: u64,
    /// The hash of the last line; 64 zeros without one. Note it elsewhere to detect a cut tail.
    pub head: String,
    /// The number of the first contiguous line; `None` without one. Above 1 in an export that
    /// starts later.
    pub first_seq: Option<u64>,
    /// The number of the last line.
    pub last_seq: Option<u64>,
    /// What is wrong with the first bad line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many of the lines are checkpoints.
    pub checkpoints: u64,
    /// The public key that signed every one of them; absent when signatures were not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

/// What became of a head hash that was noted earlier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadReport {
    /// The hash.
    pub hash: String,
    /// Whether it is in the chain.
    pub found: bool,
    /// The number of its line; 0 is the place before line 1.
    pub seq: Option<u64>,
    /// How many lines follow it.
    pub lines_after: Option<u64>,
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The line.
    pub seq: u64,
    /// The upstream, where the line names one.
    pub upstream: Option<String>,
    /// The turn.
    pub turn: Option<u64>,
    /// What is wrong, safe to show.
    pub what: String,
}

impl Report {
    /// The exit code of `kmi verify` (CONTRACT section 3).
    pub fn exit_code(&self, allow_insufficient: bool) -> u8 {
        match self.all.verdict {
            Verdict::Verified => 0,
            Verdict::InsufficientData if allow_insufficient => 0,
            Verdict::InsufficientData => 3,
            Verdict::Incomplete | Verdict::Violated => 1,
        }
    }
}

impl Numbers {
    /// Fills in what follows from the counts: confidence, lower bound and verdict.
    pub(crate) fn judge(&mut self, chain_ok: bool) {
        self.confidence = confidence(self.conforming, self.turns);
        self.lower_bound = lower_bound(self.conforming, self.turns);
        let complete =
            self.gaps_without_slots == 0 && self.unverifiable == 0 && self.unexplained == 0;
        self.verdict = if self.violations > 0 || !chain_ok {
            Verdict::Violated
        } else if self.turns < MIN_TURNS {
            Verdict::InsufficientData
        } else if complete && self.confidence >= REQUIRED_CONFIDENCE {
            Verdict::Verified
        } else {
            Verdict::Incomplete
        };
    }

    /// Several upstreams together: counts added, chi-square statistics and degrees of freedom
    /// added, the largest pair gap. To be judged afterwards.
    pub(crate) fn together(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        let mut chi_squares = Vec::new();
        for part in parts {
            all.turns += part.turns;
            all.conforming += part.conforming;
            all.violations += part.violations;
            all.unverifiable += part.unverifiable;
            all.unlinked += part.unlinked;
            all.open = all.open.saturating_add(part.open);
            all.max_pair_gap = all.max_pair_gap.max(part.max_pair_gap);
            all.repeats += part.repeats;
            all.gap_count += part.gap_count;
            all.gap_turns = all.gap_turns.saturating_add(part.gap_turns);
            all.gaps_without_slots += part.gaps_without_slots;
            all.unexplained = all.unexplained.saturating_add(part.unexplained);
            all.gaps.extend(part.gaps);
            all.shares.extend(part.shares);
            chi_squares.push(part.chi_square);
        }
        all.gaps.truncate(MAX_GAPS);
        all.chi_square = ChiSquare::together(chi_squares);
        all
    }
}

impl Default for Numbers {
    /// Of no turns at all.
    fn default() -> Self {
        Self {
            verdict: Verdict::InsufficientData,
            turns: 0,
            conforming: 0,
            violations: 0,
            unverifiable: 0,
            unlinked: 0,
            open: 0,
            confidence: 0.0,
            lower_bound: 0.0,
            max_pair_gap: 0.0,
            repeats: 0,
            chi_square: ChiSquare::default(),
            gaps: Vec::new(),
            gap_count: 0,
            gap_turns: 0,
            gaps_without_slots: 0,
            unexplained: 0,
            shares: Vec::new(),
        }
    }
}
