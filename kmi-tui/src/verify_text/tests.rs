use std::collections::BTreeMap;

use kmi_stats::{
    chi_square::ChiSquare,
    confidence::{confidence, lower_bound},
    report::{ChainReport, Finding, GapReport, HeadReport, ShareReport, Window},
};

use super::*;

fn share(label: &str, turns: u64) -> ShareReport {
    let (upstream, key, label) = ("kimi".into(), "k-00000000".into(), label.into());
    ShareReport { upstream, key, label, turns, expected: 100.0, tokens: turns * 1_500 }
}

fn numbers_of(turns: u64, conforming: u64, verdict: Verdict) -> Numbers {
    Numbers {
        verdict,
        turns,
        conforming,
        violations: turns - conforming,
        confidence: confidence(conforming, turns),
        lower_bound: lower_bound(conforming, turns),
        max_pair_gap: 1.0,
        chi_square: ChiSquare { statistic: 0.02, df: 2, p: 0.990_049 },
        shares: vec![share("work", 101), share("home", 100), share("spare", 99)],
        ..Numbers::default()
    }
}

fn report(verdict: Verdict, turns: u64, conforming: u64) -> Report {
    let window = turns.min(200);
    Report {
        all: numbers_of(turns, conforming, verdict),
        chain: ChainReport {
            ok: true,
            records: turns + 1,
            head: "0123456789abcdef".repeat(4),
            first_seq: Some(1),
            last_seq: Some(turns + 1),
            error: None,
        },
        first_bad_seq: None,
        window: Window { size: 200, numbers: numbers_of(window, window, verdict) },
        upstreams: BTreeMap::new(),
        head: None,
        findings: Vec::new(),
    }
}

fn text(report: &Report) -> String {
    let text = verify_text(report, 80, Paint::default());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    text
}

#[test]
fn a_verified_trace() {
    insta::assert_snapshot!(text(&report(Verdict::Verified, 300, 300)), @"");
}

#[test]
fn a_violated_trace_says_what_and_where() {
    let mut report = report(Verdict::Violated, 300, 298);
    report.chain.ok = false;
    report.chain.error = Some("it does not follow the line before it".into());
    report.first_bad_seq = Some(51);
    report.all.chi_square = ChiSquare { statistic: 12.5, df: 4, p: 0.013_996 };
    report.findings = vec![
        Finding {
            seq: 50,
            upstream: Some("kimi".into()),
            turn: Some(49),
            what: "slot 3 was chosen; the next eligible one is 2".into(),
        },
        Finding { seq: 51, upstream: None, turn: None, what: "bad \u{1b}[31m words".into() },
    ];
    report.head =
        Some(HeadReport { hash: "f".repeat(64), found: false, seq: None, lines_after: None });
    insta::assert_snapshot!(text(&report), @"");
}

#[test]
fn an_incomplete_export_says_what_is_missing() {
    let mut report = report(Verdict::Incomplete, 300, 299);
    (report.all.violations, report.all.unverifiable, report.all.unlinked) = (0, 1, 2);
    (report.all.open, report.all.unexplained) = (3, 3);
    (report.all.gap_count, report.all.gap_turns, report.all.gaps_without_slots) = (2, 4, 1);
    let gap = |from_turn, to_turn, slots_known| GapReport {
        upstream: "kimi".into(),
        from_turn,
        to_turn,
        reason: "the process was killed".into(),
        slots_known,
    };
    report.all.gaps = vec![gap(7, 7, true), gap(20, 22, false)];
    report.chain.first_seq = Some(900);
    report.head = Some(HeadReport {
        hash: "f".repeat(64),
        found: true,
        seq: Some(1_000),
        lines_after: Some(200),
    });
    insta::assert_snapshot!(text(&report), @"");
}

#[test]
fn an_empty_trace_has_no_praise() {
    let mut empty = report(Verdict::InsufficientData, 0, 0);
    empty.all = Numbers::default();
    empty.window.numbers = Numbers::default();
    let text = text(&empty);
    let first = "insufficient data: 0 turns prove nothing yet; 59 without a violation are needed.";
    assert_eq!(text.lines().next(), Some(first));
    assert!(text.contains("0.00 %") && !text.contains("100.00 %"), "{text}");
    assert!(text.contains("no turns yet") && text.contains("nothing to compare"), "{text}");
}

#[test]
fn only_the_verdict_is_painted() {
    let report = report(Verdict::Verified, 300, 300);
    let painted = verify_text(&report, 80, Paint { colors: true });
    assert!(painted.starts_with("\u{1b}[32mverified\u{1b}[0m: with "), "{painted}");
}
