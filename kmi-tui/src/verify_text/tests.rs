use std::collections::BTreeMap;

use kmi_stats::{
    chi_square::ChiSquare,
    confidence::{confidence, lower_bound},
    report::{ChainReport, Finding, GapReport, HeadReport, ShareReport, UpstreamReport, Window},
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
            checkpoints: 0,
            signer: None,
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
    insta::assert_snapshot!(text(&report(Verdict::Verified, 300, 300)), @r#"
    verified: with 99.99 % confidence at least 95 % of turns rotate correctly.

                                  all turns  last 200
    turns                               300       200
    conforming                          300       200
    violations                            0         0
    confidence                      99.99 %   99.99 %
    lower bound of the rate         99.00 %   98.51 %
    largest pair gap (at most 1)       1.00      1.00
    immediate repeats                     0         0
    open                                  0         0

    key    share                           turns  expected  tokens
    work   ██████████████████████████████    101     100.0    151k
    home   █████████████████████████████▋    100     100.0    150k
    spare  █████████████████████████████▍     99     100.0    148k

    chi-square 0.02, df 2, p 0.9900: no bias found. A strict rotation is more even
    than chance, so p sits near 1; chi-square looks for bias, the replay is the
    proof.

    chain: 301 lines, unbroken, head
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    Note head and count elsewhere: the chain shows edits, but not a cut tail or a
    file that was rewritten as a whole. `kmi verify --head HASH` compares.
    "#);
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
    insta::assert_snapshot!(text(&report), @r#"
    violated: the chain is broken at line 51 (it does not follow the line before
    it); the rules were broken 2 times; the head that was noted is not in this
    chain: lines were cut off, or the file was rewritten.

    line 50, turn 49: slot 3 was chosen; the next eligible one is 2
    line 51: bad \u{1b}[31m words

                                  all turns  last 200
    turns                               300       200
    conforming                          298       200
    violations                            2         0
    confidence                      99.99 %   99.99 %
    lower bound of the rate         97.91 %   98.51 %
    largest pair gap (at most 1)       1.00      1.00
    immediate repeats                     0         0
    open                                  0         0

    key    share                           turns  expected  tokens
    work   ██████████████████████████████    101     100.0    151k
    home   █████████████████████████████▋    100     100.0    150k
    spare  █████████████████████████████▍     99     100.0    148k

    chi-square 12.50, df 4, p 0.0140: the shares are more uneven than chance
    explains.

    chain: 301 lines, broken, head
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    The head that was noted is not in this chain.
    "#);
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
    insta::assert_snapshot!(text(&report), @r#"
    incomplete: nothing is wrong, but not everything can be checked: 1 gap without
    known slots, 3 turns in no line and not in flight, 1 turn without epoch or
    masks.

                                     all turns  last 200
    turns                                  300       200
    conforming                             299       200
    violations                               0         0
    confidence                         99.99 %   99.99 %
    lower bound of the rate            98.42 %   98.51 %
    largest pair gap (at most 1)          1.00      1.00
    immediate repeats                        0         0
    open                                     3         0
    checked without the turn before          2         0
    unverifiable                             1         0

    key    share                           turns  expected  tokens
    work   ██████████████████████████████    101     100.0    151k
    home   █████████████████████████████▋    100     100.0    150k
    spare  █████████████████████████████▍     99     100.0    148k

    chi-square 0.02, df 2, p 0.9900: no bias found. A strict rotation is more even
    than chance, so p sits near 1; chi-square looks for bias, the replay is the
    proof.

    2 gaps: the end of 4 turns is not known
    - turn 7: the process was killed (slots known)
    - turns 20 to 22: the process was killed (slots not known)

    chain: 301 lines, unbroken, head
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    It begins with line 900: an export, or older lines are gone.
    The head that was noted is that of line 1000; 200 lines came after it.
    "#);
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
    let one = self::text(&report(Verdict::InsufficientData, 1, 1));
    assert!(one.starts_with("insufficient data: 1 turn proves nothing yet; "), "{one}");
    assert!(text.contains("no turns yet") && text.contains("nothing to compare"), "{text}");
}

/// Thin data least of all; but 10,000,000 turns, where the number is 1.0 to `f64`, neither.
#[test]
fn no_trace_is_ever_called_certain() {
    for turns in (0..=300).chain([1_000, 10_000_000]) {
        let verdict = if turns < 59 { Verdict::InsufficientData } else { Verdict::Verified };
        let text = text(&report(verdict, turns, turns));
        assert!(!text.contains("100 %") && !text.contains("100.00"), "{text}");
        assert_eq!(text.starts_with("verified: with 9"), turns >= 59, "{text}");
    }
}

#[test]
fn several_upstreams_have_a_line_each() {
    let mut report = report(Verdict::Verified, 300, 300);
    for (name, verdict, turns) in
        [("kimi", Verdict::Verified, 280), ("open", Verdict::InsufficientData, 20)]
    {
        let all = numbers_of(turns, turns, verdict);
        let window = Window { size: 200, numbers: all.clone() };
        let upstream = UpstreamReport { all, window, epoch: Some(1), newest_turn: turns };
        report.upstreams.insert(name.into(), upstream);
    }
    let text = text(&report);
    let from = text.find("upstream").unwrap();
    insta::assert_snapshot!(text[from..].lines().take(3).collect::<Vec<_>>().join("\n"), @r#"
    upstream  verdict            conforming  pair gap  open
    kimi      verified           280 of 280      1.00     0
    open      insufficient data    20 of 20      1.00     0
    "#);
}

#[test]
fn only_the_verdict_is_painted() {
    let report = report(Verdict::Verified, 300, 300);
    let painted = verify_text(&report, 80, Paint { colors: true });
    assert!(painted.starts_with("\u{1b}[32mverified\u{1b}[0m: with "), "{painted}");
}
