//! A simulation for people: the schedule, what came of it, and the proof.

use jiff::SignedDuration;
use kmi_stats::report::{Report, Verdict};
use kmi_tui::{
    bars::right,
    paint::{Paint, Tone, cell, trimmed, wrap},
    quantity::{count, duration, percent, seconds},
    verify_text::verify_text,
};

use crate::simulate::{Change, Row, Summary};

/// Most changes of health that are listed one by one.
const MOST_CHANGES: usize = 12;

/// One simulation.
pub(super) fn one(
    summary: &Summary,
    proof: &Report,
    rows: &[Row],
    changes: &[Change],
    width: u16,
    paint: Paint,
) -> String {
    let mut parts = vec![head(summary)];
    if !rows.is_empty() {
        parts.push(schedule(summary, rows, width, paint));
    }
    if !changes.is_empty() {
        parts.push(health(changes));
    }
    parts.push(answers(summary, width));
    parts.push(verify_text(proof, width, paint));
    parts.join("\n\n")
}

fn head(summary: &Summary) -> String {
    format!(
        "{} keys, {} turns in {} of simulated time; {}, seed {}",
        summary.keys,
        summary.turns,
        time(summary.simulated_ms),
        summary.policy.as_str(),
        summary.seed
    )
}

fn schedule(summary: &Summary, rows: &[Row], width: u16, paint: Paint) -> String {
    let mut table = paint.table(width);
    let header = ["turn", "at", "key", "outcome", "took", "client", ""];
    table.set_header(header.map(|it| cell(Tone::Dim, it)));
    for row in rows {
        let again =
            if row.attempt > 1 { format!("attempt {}", row.attempt) } else { String::new() };
        let tone =
            if row.outcome == kmi_core::outcome::Outcome::Ok { Tone::Plain } else { Tone::Warn };
        table.add_row([
            cell(Tone::Plain, row.turn.map_or("-".to_owned(), |turn| turn.to_string())),
            cell(Tone::Plain, clock(row.at_ms)),
            cell(Tone::Plain, &*row.key),
            cell(tone, row.outcome.as_str()),
            cell(Tone::Plain, seconds(row.latency_ms)),
            cell(Tone::Plain, row.client.to_string()),
            cell(Tone::Dim, again),
        ]);
    }
    right(&mut table, &[0, 1, 4, 5]);
    let text = trimmed(&table);
    let left = summary.attempts.saturating_sub(rows.len() as u64);
    if left == 0 {
        return text;
    }
    format!("{text}\n{left} more; --rows N shows them, --trace FILE writes them all")
}

fn health(changes: &[Change]) -> String {
    let line = |change: &Change| {
        let reason = change.reason.map(|reason| format!(" ({})", reason.as_str()));
        let until = change.until_ms.map(|until| format!(" until {}", clock(until)));
        format!(
            "{}  {} {}{}{}",
            clock(change.at_ms),
            change.key,
            change.to.as_str(),
            reason.unwrap_or_default(),
            until.unwrap_or_default()
        )
    };
    let mut lines: Vec<String> = changes.iter().take(MOST_CHANGES).map(line).collect();
    if changes.len() > MOST_CHANGES {
        lines.push("…".to_owned());
    }
    lines.join("\n")
}

fn answers(summary: &Summary, width: u16) -> String {
    let asked = &summary.requests;
    let mut lines = vec![format!(
        "{} requests in {} sessions: {} answered ({} by another key than the first), {} failed, {} \
         found no key",
        asked.asked, summary.sessions, asked.good, asked.moved, asked.failed, asked.refused
    )];
    if let Some(mean) = asked.waited_ms.checked_div(i64::try_from(asked.waited).unwrap_or(0)) {
        lines.push(format!("{} waited for a key, {} on average", asked.waited, time(mean)));
    }
    lines.push(format!(
        "{} prompt tokens, {} of them out of a cache ({}); {} completion tokens",
        count(summary.tokens.prompt),
        count(summary.tokens.cached),
        percent(summary.tokens.cached_share(), 0),
        count(summary.tokens.completion)
    ));
    lines.push(match &summary.exhausted {
        None => "some key was usable all the time".to_owned(),
        Some(it) if it.for_good => format!(
            "no key was usable any more after {}; only the user could have helped",
            time(it.first_ms)
        ),
        Some(it) => format!(
            "no key was usable for the first time after {}, and for {} altogether",
            time(it.first_ms),
            time(it.total_ms)
        ),
    });
    lines.iter().map(|line| wrap(line, width, "  ")).collect::<Vec<_>>().join("\n")
}

/// Several simulations, one line each.
pub(super) fn several<'a>(
    runs: impl Iterator<Item = (Verdict, &'a Summary)>,
    width: u16,
    paint: Paint,
) -> String {
    let mut table = paint.table(width);
    let header = [
        "keys",
        "policy",
        "answered",
        "no key",
        "failed",
        "cached",
        "dry after",
        "dry for",
        "proof",
    ];
    table.set_header(header.map(|it| cell(Tone::Dim, it)));
    for (verdict, it) in runs {
        let (first, total) = match &it.exhausted {
            None => ("never".to_owned(), String::new()),
            Some(dry) if dry.for_good => (time(dry.first_ms), "good".to_owned()),
            Some(dry) => (time(dry.first_ms), time(dry.total_ms)),
        };
        let tone = if it.requests.refused > 0 { Tone::Warn } else { Tone::Plain };
        table.add_row([
            cell(Tone::Plain, it.keys.to_string()),
            cell(Tone::Plain, it.policy.as_str()),
            cell(Tone::Plain, it.requests.good.to_string()),
            cell(tone, it.requests.refused.to_string()),
            cell(Tone::Plain, it.requests.failed.to_string()),
            cell(Tone::Plain, percent(it.tokens.cached_share(), 1)),
            cell(tone, first),
            cell(tone, total),
            cell(Tone::Plain, verdict.as_str()),
        ]);
    }
    right(&mut table, &[0, 2, 3, 4, 5, 6, 7]);
    trimmed(&table)
}

fn time(ms: i64) -> String {
    duration(SignedDuration::from_millis(ms))
}

/// As a clock shows it, from the beginning of the simulation.
fn clock(ms: i64) -> String {
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    format!("{}:{:02}:{:02}.{:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60, ms)
}
