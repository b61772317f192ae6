//! An explanation in words.

use jiff::{SignedDuration, Timestamp};
use kmi_core::{display::visible, state::Reason};

use super::{Because, Earlier, Explanation, Other, Why};

/// Below this distance the end of a block is told with its seconds.
const SOON: SignedDuration = SignedDuration::from_mins(10);
/// Most characters of a session's id that are told; clients make them long.
const SESSION: usize = 24;

impl Explanation {
    /// The explanation in one sentence: `turn 4711: beta, because alpha was blocked until 14:00
    /// (weekly quota) and gamma was tried before (rate_limited)`.
    pub fn sentence(&self) -> String {
        let label = visible(&self.label);
        let turn = self.turn.map_or_else(|| "no turn".to_owned(), |turn| format!("turn {turn}"));
        // What was tried stands behind the cursor then, and is the reason why there is a turn at all.
        let tells =
            |other: &&Other| other.passed_over || matches!(other.because, Because::Tried { .. });
        let passed = self.others.iter().filter(tells);
        let passed: Vec<String> = passed.map(|other| because(self, other)).collect();
        match &self.why {
            Why::Turn { session, moved_from } => {
                let choice = match (&self.after, passed.is_empty()) {
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
            Why::Manual { active: Some(active) } if *active == self.label => {
                format!("{turn}: {label}, the active key of manual mode")
            }
            Why::Manual { active: Some(active) } => {
                let why = self.others.iter().find(|other| other.label == *active);
                let why = why.map(|other| because(self, other));
                let why = why.unwrap_or_else(|| format!("{} could not serve", visible(active)));
                format!(
                    "{turn}: {label} stands in for the active key of manual mode, because {why}"
                )
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

    /// Why another key did not serve, with the provider's words where there are any: `was blocked
    /// until 14:00 (weekly quota): You've reached …`.
    pub fn why_not(&self, other: &Other) -> String {
        let words = match &other.because {
            Because::Tried { words: Some(words), .. }
            | Because::Blocked { words: Some(words), .. } => format!(": {}", visible(words)),
            _ => String::new(),
        };
        format!("{}{words}", state(self, other))
    }
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
        Because::Untold => {
            "could not serve; the lines that are kept do not say why (switched off or blocked \
             before them, or at a limit of its own)"
                .to_owned()
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

/// The first characters of a session's id.
fn short(session: &str) -> String {
    let session = visible(session);
    if session.chars().count() <= SESSION {
        return session.into_owned();
    }
    session.chars().take(SESSION - 1).chain(['…']).collect()
}

/// `a`, `a and b`, `a, b and c`.
fn listed(parts: &[String]) -> String {
    match parts.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
