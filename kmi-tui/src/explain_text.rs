//! Why a key served an attempt, in words.

use kmi_core::{display::visible, state::Policy};
use kmi_stats::explain::{Because, Explanation, Lost};

use crate::{
    bars::{apart, cut},
    paint::{Paint, Tone, cell, trimmed, wrap},
};

/// The whole explanation: the sentence, where and when, and what kept every other key from it.
pub fn explain_text(it: &Explanation, width: u16, paint: Paint) -> String {
    let mut lines = vec![paint.text(Tone::Strong, &wrap(&it.sentence(), width, "  "))];
    let policy = match it.policy {
        Policy::RoundRobin => "",
        Policy::Session => " (session)",
    };
    let place = format!(
        "request {}, attempt {}; chosen {} UTC by {} in {} mode{policy}",
        visible(&it.request_id),
        it.attempt,
        it.chosen_at.strftime("%Y-%m-%d %H:%M:%S%.3f"),
        visible(&it.upstream),
        it.mode.as_str(),
    );
    lines.push(wrap(&place, width, "  "));
    let status = it.status.map(|status| format!(" {status}")).unwrap_or_default();
    lines.push(format!("ended: {}{status}", it.outcome.as_str()));
    match it.follows_rule {
        Some(true) => lines.push(paint.text(Tone::Good, "replay: the rule leads to this key")),
        Some(false) => lines.push(paint.text(Tone::Bad, "replay: the rule leads to another key")),
        None if it.turn.is_some() => {
            let missing = "replay: not possible, the line of its epoch is not in the trace";
            lines.push(paint.text(Tone::Warn, missing));
        }
        None => {}
    }
    if !it.others.is_empty() {
        lines.push(String::new());
        lines.push(others(it, width, paint));
    }
    lines.join("\n")
}

/// What is known of a turn whose end is not.
pub fn lost_text(it: &Lost, width: u16) -> String {
    let who = match &it.label {
        Some(label) => format!("{} was chosen", visible(label)),
        None => "nobody knows for which key".to_owned(),
    };
    let text = format!(
        "turn {} of {}: given out ({who}), but its end is not known: {} (gap of turns {} to {})",
        it.turn,
        visible(&it.upstream),
        visible(&it.reason),
        it.from_turn,
        it.to_turn,
    );
    wrap(&text, width, "  ")
}

fn others(it: &Explanation, width: u16, paint: Paint) -> String {
    let mut table = paint.table(width);
    table.set_header(["other keys", "", "why not"].map(|name| cell(Tone::Dim, name)));
    for other in &it.others {
        let (mark, tone) = match (other.passed_over, &other.because) {
            (true, _) => ("passed over", Tone::Warn),
            (false, Because::Later | Because::NotMeant) => ("", Tone::Plain),
            (false, _) => ("", Tone::Dim),
        };
        table.add_row([
            cell(Tone::Plain, cut(&visible(&other.label), 20)),
            cell(Tone::Warn, mark),
            cell(tone, it.why_not(other)),
        ]);
    }
    apart(&mut table);
    trimmed(&table)
}

#[cfg(test)]
mod tests;
