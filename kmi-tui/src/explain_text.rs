//! Why a key served an attempt, in words.

use jiff::{SignedDuration, Timestamp};
use kmi_core::{
    display::visible,
    state::{Policy, Reason},
};
use kmi_stats::explain::{Because, Earlier, Explanation, Lost, Other, Why};

use crate::{
    bars::{apart, cut},
    paint::{Paint, Tone, cell, trimmed, wrap},
};

/// Below this distance the end of a block is told with its seconds.
const SOON: SignedDuration = SignedDuration::from_mins(10);

/// The whole explanation: the sentence, where and when, and what kept every other key from it.
pub fn explain_text(it: &Explanation, width: u16, paint: Paint) -> String {
    let mut lines = vec![paint.text(Tone::Strong, &wrap(&sentence(it), width, "  "))];
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

/// The explanation in one sentence: `turn 4711: beta, because alpha was blocked until 14:00
/// (weekly quota) and gamma was tried before (rate_limited)`.
pub fn sentence(it: &Explanation) -> String {
    let label = visible(&it.label);
    let turn = it.turn.map_or_else(|| "no turn".to_owned(), |turn| format!("turn {turn}"));
    // What was tried stands behind the cursor then, and is the reason why there is a turn at all.
    let tells =
        |other: &&Other| other.passed_over || matches!(other.because, Because::Tried { .. });
    let passed = it.others.iter().filter(tells);
    let passed: Vec<String> = passed.map(|other| because(it, other)).collect();
    match &it.why {
        Why::Turn { session, moved_from } => {
            let choice = match (&it.after, passed.is_empty()) {
                (_, false) => format!("because {}", listed(&passed)),
                (Some(after), true) => format!("the next key after {}", visible(after)),
                (None, true) => "the first of the ring".to_owned(),
            };
            let session = match (session, moved_from) {
                (Some(session), Some(Earlier { turn, label })) => {
                    let (session, label) = (short(session), visible(label));
                    format!("; session {session} moved here from {label} (turn {turn})")
                }
                (Some(session), None) => format!("; session {} keeps it", short(session)),
                (None, _) => String::new(),
            };
            format!("{turn}: {label}, {choice}{session}")
        }
        Why::Manual { active: None } => format!("{turn}: {label} served in manual mode"),
        Why::Manual { active: Some(active) } if *active == it.label => {
            format!("{turn}: {label}, the active key of manual mode")
        }
        Why::Manual { active: Some(active) } => {
            let why = it.others.iter().find(|other| other.label == *active);
            let why = why.map(|other| because(it, other));
            let why = why.unwrap_or_else(|| format!("{} could not serve", visible(active)));
            format!("{turn}: {label} stands in for the active key of manual mode, because {why}")
        }
        Why::Session { session, since } => {
            let since = since.as_ref().map(|it| format!(" since turn {}", it.turn));
            let since = since.unwrap_or_default();
            format!("{turn}: {label}, which serves session {}{since}", short(session))
        }
        Why::File => format!(
            "{turn}: {label}, because the request names an uploaded file that only its account has"
        ),
    }
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
        let words = match &other.because {
            Because::Tried { words: Some(words), .. }
            | Because::Blocked { words: Some(words), .. } => format!(": {}", visible(words)),
            _ => String::new(),
        };
        table.add_row([
            cell(Tone::Plain, cut(&visible(&other.label), 20)),
            cell(Tone::Warn, mark),
            cell(tone, format!("{}{words}", state(it, other))),
        ]);
    }
    apart(&mut table);
    trimmed(&table)
}

/// A key and why it did not serve, as a half-sentence.
fn because(it: &Explanation, other: &Other) -> String {
    format!("{} {}", visible(&other.label), state(it, other))
}

fn state(it: &Explanation, other: &Other) -> String {
    match &other.because {
        Because::Later => "comes later".to_owned(),
        Because::NotMeant => "could have served, but was not meant".to_owned(),
        Because::Tried { outcome: Some(outcome), .. } => {
            format!("was tried before ({})", outcome.as_str())
        }
        Because::Tried { outcome: None, .. } => "was tried before".to_owned(),
        Because::Blocked { reason, until, words, .. } => {
            let until = match until {
                Some(until) => format!("until {}", clock(*until, it.chosen_at)),
                None => "until the user acts".to_owned(),
            };
            let reason = reason.map(|reason| format!(" ({})", named(reason, words.as_deref())));
            format!("was blocked {until}{}", reason.unwrap_or_default())
        }
        Because::Disabled { since } => {
            format!("was switched off at {}", clock(*since, it.chosen_at))
        }
        Because::LowerPriority { tier, than } => {
            format!("has priority {tier}, and keys of priority {than} could serve")
        }
        Because::Probed { reason } => {
            let reason = reason.map(|reason| format!(" ({})", named(reason, None)));
            let reason = reason.unwrap_or_default();
            format!("was being probed by another request after its block{reason}")
        }
        Because::LacksModel { model: Some(model) } => {
            format!("lacks the model {} in its plan", visible(model))
        }
        Because::LacksModel { model: None } => "lacks the model in its plan".to_owned(),
        Because::AtLimit => {
            "was at a limit of its own (requests at once, or a minute's)".to_owned()
        }
    }
}

/// A reason in words; of a quota, the window that the provider's words name.
fn named(reason: Reason, words: Option<&str>) -> &'static str {
    match reason {
        Reason::AccountTerminated => "account closed",
        Reason::AuthFailed => "key refused",
        Reason::BalanceExhausted => "balance spent",
        Reason::ConcurrencyLimited => "too many requests at once",
        Reason::Failing => "failing",
        Reason::MembershipLapsed => "membership not verified",
        Reason::ModelNotAllowed => "model not in its plan",
        Reason::QuotaExhausted => {
            let words = words.unwrap_or_default().to_ascii_lowercase();
            let windows = [
                ("week", "weekly quota"),
                ("month", "monthly quota"),
                ("this period", "5-hour quota"),
                ("tpd", "daily quota"),
            ];
            let window = windows.iter().find(|(word, _)| words.contains(word));
            window.map_or("quota spent", |(_, window)| window)
        }
        Reason::QuotaLow => "quota low",
        Reason::QuotaUnknown => "quota unknown",
        Reason::RateLimited => "rate limited",
        Reason::Slow => "slow",
    }
}

/// A time as short as it can be told on the day of `now`.
fn clock(at: Timestamp, now: Timestamp) -> String {
    let near = at.duration_since(now).abs() < SOON;
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let form = match (day(at) == day(now), near) {
        (true, true) => "%H:%M:%S",
        (true, false) => "%H:%M",
        (false, _) => "%Y-%m-%d %H:%M",
    };
    at.strftime(form).to_string()
}

/// The first characters of a session's id; clients make them long.
fn short(session: &str) -> String {
    cut(&visible(session), 24)
}

/// `a`, `a and b`, `a, b and c`.
fn listed(parts: &[String]) -> String {
    match parts.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests;
