//! A trace line as the live views hold it: read once, shown often.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use kmi_core::{
    display::visible,
    state::KeyState,
    trace::{Attempt, Epoch, Gap, HealthChange, ModeChange},
};

use crate::{key_words::KeyNames, paint::Tone};

/// A trace line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number; of a notice that lines are missing, that of the line after them.
    pub seq: u64,
    /// When it was made.
    pub ts: Timestamp,
    /// What it tells.
    pub tells: Tells,
    /// The line as it is stored; empty for what is no line.
    pub text: Arc<str>,
}

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tells {
    /// An attempt has ended.
    Attempt(Box<Attempt>),
    /// Something else.
    Event(Event),
}

/// What a line tells that is no attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The mode was set, or the active key switched. Only here the line has no label: it is looked
    /// up when it is shown.
    Mode(ModeChange),
    /// Anything else, in words that are safe to show.
    Said(Tone, String),
}

impl Event {
    /// In which tone it is shown.
    pub(crate) fn tone(&self) -> Tone {
        match self {
            Self::Mode(_) => Tone::Strong,
            Self::Said(tone, _) => *tone,
        }
    }

    /// It in words that are safe to show.
    pub(crate) fn words(&self, names: &KeyNames) -> Cow<'_, str> {
        match self {
            Self::Mode(it) => mode(it, names).into(),
            Self::Said(_, text) => text.into(),
        }
    }
}

impl Row {
    /// Reads a line; `None` where it is none, or one of a later version of kmi.
    ///
    /// Its hash is not looked at: that is what the proof is for.
    pub fn parse(line: &str) -> Option<Self> {
        let (kind, seq) = head(line)?;
        let (ts, tells) = match kind {
            "attempt" => {
                let attempt: Box<Attempt> = serde_json::from_str(line).ok()?;
                (attempt.ts, Tells::Attempt(attempt))
            }
            "epoch" => {
                let it: Epoch = serde_json::from_str(line).ok()?;
                (it.ts, said(Tone::Dim, epoch(&it)))
            }
            "gap" => {
                let it: Gap = serde_json::from_str(line).ok()?;
                (it.ts, said(Tone::Warn, gap(&it)))
            }
            "health" => {
                let it: HealthChange = serde_json::from_str(line).ok()?;
                (it.ts, said(tone(it.to), health(&it)))
            }
            "mode" => {
                let it: ModeChange = serde_json::from_str(line).ok()?;
                (it.ts, Tells::Event(Event::Mode(it)))
            }
            _ => return None,
        };
        Some(Self { seq, ts, tells, text: line.into() })
    }

    /// A notice that lines were left out before line `seq`.
    pub fn missed(lines: u64, seq: u64, ts: Timestamp) -> Self {
        let text = format!("{lines} lines came too fast to be shown; the ledger has them");
        Self { seq, ts, tells: said(Tone::Warn, text), text: "".into() }
    }

    /// The attempt that it tells of.
    pub fn attempt(&self) -> Option<&Attempt> {
        match &self.tells {
            Tells::Attempt(attempt) => Some(attempt),
            Tells::Event(_) => None,
        }
    }
}

/// A line's number, without reading the rest of it.
pub fn seq(line: &str) -> Option<u64> {
    head(line).map(|(_, seq)| seq)
}

/// Type and number, which stand first in every line.
fn head(line: &str) -> Option<(&str, u64)> {
    let (kind, rest) = line.strip_prefix(r#"{"type":""#)?.split_once(r#"","seq":"#)?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    Some((kind, rest[..end].parse().ok()?))
}

/// In which tone a key's state is shown.
pub fn tone(state: KeyState) -> Tone {
    match state {
        KeyState::Healthy => Tone::Good,
        KeyState::Warn => Tone::Warn,
        KeyState::Blocked => Tone::Bad,
        KeyState::Disabled => Tone::Dim,
    }
}

fn health(it: &HealthChange) -> String {
    let reason = it.reason.map(|reason| format!(", {}", reason.as_str())).unwrap_or_default();
    let until = it.until.map(|at| format!(", until {}", at.strftime("%H:%M:%S")));
    let (label, from, to) = (visible(&it.label), it.from.as_str(), it.to.as_str());
    format!("key {label}: {from} → {to}{reason}{}", until.unwrap_or_default())
}

fn said(tone: Tone, text: String) -> Tells {
    Tells::Event(Event::Said(tone, text))
}

fn mode(it: &ModeChange, names: &KeyNames) -> String {
    let key = it.key.as_deref().map(|key| names.label(key).unwrap_or(key));
    let key = key.map(|key| format!(", active key {}", visible(key)));
    format!("mode {}{} (by {})", it.mode.as_str(), key.unwrap_or_default(), visible(&it.by))
}

fn epoch(it: &Epoch) -> String {
    let labels: Vec<_> = it.keys.iter().map(|key| visible(&key.label)).collect();
    format!("epoch {} of {}: {}", it.epoch, visible(&it.upstream), labels.join(", "))
}

fn gap(it: &Gap) -> String {
    let reason = visible(&it.reason);
    format!("turns {} to {}: their end is not known ({reason})", it.from_turn, it.to_turn)
}

#[cfg(test)]
pub(crate) mod tests {
    use kmi_core::{
        outcome::Outcome,
        state::{Mode, Reason},
        trace::{ChainHash, Record, seal},
    };

    use super::*;
    use crate::samples::{at, attempt, id, status};

    /// A record as a stored line.
    pub(crate) fn line(record: &Record, seq: u64) -> String {
        let mut out = Vec::new();
        seal(record, seq, &ChainHash::START, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn attempts_are_read_back() {
        let attempt = attempt(7, "work", Outcome::Ok);
        let row = Row::parse(&line(&Record::Attempt(attempt.clone()), 9)).unwrap();
        assert_eq!((row.seq, row.attempt()), (9, Some(&attempt)));
        assert_eq!(seq(&row.text), Some(9));
    }

    #[test]
    fn other_lines_are_words() {
        let words = |record: Record| match Row::parse(&line(&record, 1)).unwrap().tells {
            Tells::Event(event) => event.words(&KeyNames::default()).into_owned(),
            Tells::Attempt(_) => panic!("an attempt"),
        };
        let health = HealthChange {
            ts: at(0),
            upstream: None,
            key: "k-12345678".into(),
            label: "wo\u{1b}rk".into(),
            from: KeyState::Healthy,
            to: KeyState::Blocked,
            reason: Some(Reason::RateLimited),
            until: Some(at(5_000)),
        };
        let text = words(Record::Health(health));
        assert_eq!(text, "key wo\\u{1b}rk: healthy → blocked, rate_limited, until 11:06:45");
        let mode = ModeChange { ts: at(0), mode: Mode::Manual, key: None, by: "user".into() };
        assert_eq!(words(Record::Mode(mode)), "mode manual (by user)");
    }

    #[test]
    fn a_key_has_its_label_where_that_is_known() {
        let names = KeyNames::of_keys(&status().snapshot);
        let told = |key: &str| {
            let key = Some(key.into());
            let mode = ModeChange { ts: at(0), mode: Mode::Manual, key, by: "user".into() };
            match Row::parse(&line(&Record::Mode(mode), 1)).unwrap().tells {
                Tells::Event(event) => event.words(&names).into_owned(),
                Tells::Attempt(_) => panic!("an attempt"),
            }
        };
        assert_eq!(told(&id("alpha")), "mode manual, active key alpha (by user)");
        assert_eq!(told("k-00000000"), "mode manual, active key k-00000000 (by user)");
    }

    #[test]
    fn what_is_no_line_is_left_out() {
        for text in [
            "",
            "{}",
            "\u{0}",
            r#"{"type":"later","seq":1}"#,
            r#"{"type":"attempt","seq":1}"#,
            r#"{"type":"mode","seq":"#,
        ] {
            assert_eq!(Row::parse(text), None, "{text}");
        }
    }
}
