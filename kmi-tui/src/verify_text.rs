//! What a verification found, for people: the verdict first, then why, then the numbers.

use kmi_core::display::visible;
use kmi_stats::{
    confidence::{MIN_TURNS, shown},
    report::{Numbers, Report, Verdict},
};

use crate::{
    bars::{apart, right, shares},
    paint::{Paint, Tone, cell, trimmed, wrap},
    quantity::counted,
};

/// Most gaps and findings that are listed one by one.
const MOST_LISTED: usize = 8;

/// The whole report as text.
pub fn verify_text(report: &Report, width: u16, paint: Paint) -> String {
    let mut parts = vec![verdict(report, width, paint)];
    parts.extend(findings(report, width));
    parts.push(numbers(report, width, paint));
    parts.extend(upstreams(report, width, paint));
    parts.push(shares(&report.all.shares, width, paint));
    parts.push(chi_square(&report.all, width));
    parts.extend(gaps(&report.all, width));
    parts.extend(chain(report, width));
    parts.join("\n\n")
}

fn word(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Incomplete => ("incomplete", Tone::Warn),
        Verdict::InsufficientData => ("insufficient data", Tone::Warn),
        Verdict::Verified => ("verified", Tone::Good),
        Verdict::Violated => ("violated", Tone::Bad),
    }
}

fn verdict(report: &Report, width: u16, paint: Paint) -> String {
    let (word, tone) = word(report.all.verdict);
    // Wrapped before it is painted, so that colours take no room.
    let text = wrap(&format!("{word}: {}", why(report)), width, "");
    text.replacen(word, &paint.text(tone, word), 1)
}

fn why(report: &Report) -> String {
    let all = &report.all;
    match all.verdict {
        Verdict::Verified => format!(
            "with {} confidence at least 95 % of turns rotate correctly.",
            shown(all.confidence)
        ),
        Verdict::InsufficientData => format!(
            "{} prove{} nothing yet; {MIN_TURNS} without a violation are needed.",
            counted(all.turns, "turn"),
            if all.turns == 1 { "s" } else { "" }
        ),
        Verdict::Incomplete => {
            let reasons = [
                (all.gaps_without_slots, "gap", " without known slots"),
                (all.unexplained, "turn", " in no line and not in flight"),
                (all.unverifiable, "turn", " without epoch or masks"),
            ];
            let there = reasons.iter().filter(|(n, _, _)| *n > 0);
            let there: Vec<String> =
                there.map(|(n, what, how)| format!("{}{how}", counted(*n, what))).collect();
            format!("nothing is wrong, but not everything can be checked: {}.", there.join(", "))
        }
        Verdict::Violated => violated(report),
    }
}

fn violated(report: &Report) -> String {
    let mut reasons = Vec::new();
    if let Some(seq) = report.first_bad_seq {
        let what = report.chain.error.as_deref().unwrap_or_default();
        reasons.push(format!("the chain is broken at line {seq} ({})", visible(what)));
    }
    if report.all.violations > 0 {
        reasons.push(format!("the rules were broken {}", counted(report.all.violations, "time")));
    }
    if report.head.as_ref().is_some_and(|head| !head.found) {
        reasons.push(
            "the head that was noted is not in this chain: lines were cut off, or the file was \
             rewritten"
                .to_owned(),
        );
    }
    format!("{}.", reasons.join("; "))
}

fn findings(report: &Report, width: u16) -> Option<String> {
    if report.findings.is_empty() {
        return None;
    }
    let mut lines: Vec<String> = report
        .findings
        .iter()
        .take(MOST_LISTED)
        .map(|it| {
            let turn = it.turn.map(|turn| format!(", turn {turn}")).unwrap_or_default();
            wrap(&format!("line {}{turn}: {}", it.seq, visible(&it.what)), width, "  ")
        })
        .collect();
    let listed = report.findings.len().min(MOST_LISTED) as u64;
    if report.all.violations > listed {
        lines.push(format!("and {} more", report.all.violations - listed));
    }
    Some(lines.join("\n"))
}

fn numbers(report: &Report, width: u16, paint: Paint) -> String {
    let columns = [&report.all, &report.window.numbers];
    let mut table = paint.table(width);
    let recent = format!("last {}", report.window.size);
    table.set_header(["", "all turns", &recent].map(|it| cell(Tone::Dim, it)));
    let mut row = |name: &str, of: &dyn Fn(&Numbers) -> String| {
        let [all, recent] = columns.map(|it| cell(Tone::Plain, of(it)));
        table.add_row([cell(Tone::Plain, name), all, recent]);
    };
    row("turns", &|it| it.turns.to_string());
    row("conforming", &|it| it.conforming.to_string());
    row("violations", &|it| it.violations.to_string());
    row("confidence", &|it| shown(it.confidence));
    row("lower bound of the rate", &|it| shown(it.lower_bound));
    row("largest pair gap (at most 1)", &|it| format!("{:.2}", it.max_pair_gap));
    row("immediate repeats", &|it| it.repeats.to_string());
    row("open", &|it| it.open.to_string());
    for (name, count) in [
        ("checked without the turn before", (|it| it.unlinked) as fn(&Numbers) -> u64),
        ("unverifiable", |it| it.unverifiable),
    ] {
        if columns.iter().any(|it| count(it) > 0) {
            row(name, &|it| count(it).to_string());
        }
    }
    right(&mut table, &[1, 2]);
    apart(&mut table);
    trimmed(&table)
}

/// One line for each upstream, where there are several.
fn upstreams(report: &Report, width: u16, paint: Paint) -> Option<String> {
    if report.upstreams.len() < 2 {
        return None;
    }
    let mut table = paint.table(width);
    let header = ["upstream", "verdict", "conforming", "pair gap", "open"];
    table.set_header(header.map(|it| cell(Tone::Dim, it)));
    for (name, of) in &report.upstreams {
        let (word, tone) = word(of.all.verdict);
        table.add_row([
            cell(Tone::Plain, visible(name)),
            cell(tone, word),
            cell(Tone::Plain, format!("{} of {}", of.all.conforming, of.all.turns)),
            cell(Tone::Plain, format!("{:.2}", of.all.max_pair_gap)),
            cell(Tone::Plain, of.all.open.to_string()),
        ]);
    }
    right(&mut table, &[2, 3, 4]);
    apart(&mut table);
    Some(trimmed(&table))
}

fn chi_square(all: &Numbers, width: u16) -> String {
    let chi = &all.chi_square;
    if chi.df == 0 {
        return wrap("chi-square: fewer than two keys could serve, nothing to compare.", width, "");
    }
    let found = if chi.is_biased() && all.violations == 0 {
        "the shares are more uneven than chance explains, though no choice broke the rule. A key that \
         rests whenever it has served is served more often than its share of such turns. The replay \
         is the proof."
    } else if chi.is_biased() {
        "the shares are more uneven than chance explains."
    } else {
        "no bias found. A strict rotation is more even than chance, so p sits near 1; chi-square \
         looks for bias, the replay is the proof."
    };
    let text = format!("chi-square {:.2}, df {}, p {:.4}: {found}", chi.statistic, chi.df, chi.p);
    wrap(&text, width, "")
}

fn gaps(all: &Numbers, width: u16) -> Option<String> {
    if all.gap_count == 0 {
        return None;
    }
    let (gaps, turns) = (counted(all.gap_count, "gap"), counted(all.gap_turns, "turn"));
    let mut lines = vec![format!("{gaps}: the end of {turns} is not known")];
    // The newest ones.
    let from = all.gaps.len().saturating_sub(MOST_LISTED);
    for gap in &all.gaps[from..] {
        let slots = if gap.slots_known { "slots known" } else { "slots not known" };
        let (from, to) = (gap.from_turn, gap.to_turn);
        let run = if from == to { format!("turn {from}") } else { format!("turns {from} to {to}") };
        lines.push(wrap(&format!("- {run}: {} ({slots})", visible(&gap.reason)), width, "  "));
    }
    Some(lines.join("\n"))
}

/// `None` for turns that stand in no line: a simulation's.
fn chain(report: &Report, width: u16) -> Option<String> {
    let chain = &report.chain;
    if chain.records == 0 && report.all.turns > 0 {
        return None;
    }
    let state = if chain.ok { "unbroken" } else { "broken" };
    let mut lines = vec![
        format!("chain: {}, {state}, head", counted(chain.records, "line")),
        visible(&chain.head).into_owned(),
    ];
    if let Some(first) = chain.first_seq.filter(|first| *first > 1) {
        lines.push(wrap(
            &format!("It begins with line {first}: an export, or older lines are gone."),
            width,
            "",
        ));
    }
    if chain.checkpoints > 0 {
        let signed = match &chain.signer {
            None => "signatures not checked (`--public-key FILE`)",
            Some(_) if chain.ok => "signed by the given key",
            Some(_) => "not all of them good",
        };
        lines.push(format!("{} in it, {signed}", counted(chain.checkpoints, "checkpoint")));
    }
    lines.push(match report.head.as_ref() {
        Some(head) if head.found => wrap(
            &format!(
                "The head that was noted is that of line {}; {} came after it.",
                head.seq.unwrap_or(0),
                counted(head.lines_after.unwrap_or(0), "line")
            ),
            width,
            "",
        ),
        Some(_) => wrap("The head that was noted is not in this chain.", width, ""),
        None => wrap(
            "Note head and count elsewhere: the chain shows edits, but not a cut tail or a file \
             that was rewritten as a whole. `kmi verify --head HASH` compares.",
            width,
            "",
        ),
    });
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests;
