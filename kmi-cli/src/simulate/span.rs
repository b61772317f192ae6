//! Times and ranges as a scenario writes them.

use std::{error::Error, fmt, str::FromStr, time::Duration};

use serde::Deserialize;

use crate::config;

/// A time in milliseconds: `500ms`, `30s`, `10m`, `1h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Time(pub(crate) i64);

/// A time out of a range, every one as likely as the others: `2s..8s`, or always `4s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span {
    from: Time,
    to: Time,
}

/// When something happens: from one moment up to another, or from one attempt up to another, both
/// included. Attempts of all keys are counted together, from 1; under `round-robin` they are the
/// turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum When {
    Times(Time, Time),
    Attempts(u64, u64),
}

/// So many a minute: `30/m`, `2/s`, `100/h`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Rate {
    /// The mean time between two, in milliseconds.
    pub(crate) every_ms: f64,
}

/// Why a text is none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoSpan {
    text: String,
    expected: &'static str,
}

impl fmt::Display for NoSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}", self.text, self.expected)
    }
}

impl Error for NoSpan {}

const TIME: &str = "a time such as 500ms, 30s, 10m or 2h";
const SPAN: &str = "a time such as 4s, or a range such as 2s..8s";
const WHEN: &str = "a range of attempts or times such as 100..200 or 10m..1h";
const RATE: &str = "a rate such as 2/s, 30/m or 100/h";

impl From<Duration> for Time {
    /// Longer ones than any simulation takes are as long as one can be.
    fn from(time: Duration) -> Self {
        Self(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    }
}

impl FromStr for Time {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        config::duration(text).map(Self::from).ok_or_else(|| no(text, TIME))
    }
}

impl FromStr for Span {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) if from <= to => Ok(Self { from, to }),
            _ => Err(no(text, SPAN)),
        }
    }
}

impl FromStr for When {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        let wrong = || no(text, WHEN);
        let (from, to) = text.split_once("..").ok_or_else(wrong)?;
        if let (Ok(from), Ok(to)) = (from.parse(), to.parse()) {
            return if from <= to { Ok(Self::Attempts(from, to)) } else { Err(wrong()) };
        }
        // `0..10m` is as clear as `0s..10m`.
        let from = if from == "0" { Ok(Time(0)) } else { from.parse() };
        match (from, to.parse()) {
            (Ok(from), Ok(to)) if from <= to => Ok(Self::Times(from, to)),
            _ => Err(wrong()),
        }
    }
}

impl FromStr for Rate {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        let parsed = text.split_once('/').and_then(|(number, unit)| {
            let unit_ms = match unit {
                "s" => 1_000.0,
                "m" | "min" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return None,
            };
            let number: f64 = number.parse().ok()?;
            // Virtual milliseconds are the smallest step.
            (number > 0.0 && number.is_finite()).then_some(unit_ms / number)
        });
        let every_ms = parsed.filter(|ms| (0.1..=1e12).contains(ms));
        every_ms.map(|every_ms| Self { every_ms }).ok_or_else(|| no(text, RATE))
    }
}

impl Span {
    /// From so many milliseconds to so many.
    pub(crate) const fn of(from: i64, to: i64) -> Self {
        Self { from: Time(from), to: Time(to) }
    }

    /// A time out of the range.
    pub(crate) fn draw(self, dice: &mut fastrand::Rng) -> i64 {
        if self.from == self.to { self.from.0 } else { dice.i64(self.from.0..=self.to.0) }
    }
}

impl When {
    /// Whether an attempt with this number at this time lies in it.
    pub(crate) fn holds(self, attempt: u64, ms: i64) -> bool {
        match self {
            Self::Times(from, to) => (from.0..=to.0).contains(&ms),
            Self::Attempts(from, to) => (from..=to).contains(&attempt),
        }
    }
}

fn no(text: &str, expected: &'static str) -> NoSpan {
    NoSpan { text: text.to_owned(), expected }
}

/// How serde reads them.
macro_rules! from_text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = NoSpan;

            fn try_from(text: String) -> Result<Self, NoSpan> {
                text.parse()
            }
        }
    )*};
}

from_text!(Time, Span, When, Rate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_attempts_or_of_times() {
        assert_eq!("100..200".parse(), Ok(When::Attempts(100, 200)));
        assert_eq!("0..10m".parse(), Ok(When::Times(Time(0), Time(600_000))));
        assert_eq!("500ms..2s".parse(), Ok(When::Times(Time(500), Time(2_000))));
        let attempts: When = "3..4".parse().unwrap();
        assert_eq!([2, 3, 4, 5].map(|at| attempts.holds(at, 0)), [false, true, true, false]);
        for text in ["", "5", "9..3", "9m..3m", "5..3m", "a..b", "1..", "..2", "-1..4"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
        assert_eq!(
            "2h..1h".parse::<When>().unwrap_err().to_string(),
            "`2h..1h` is not a range of attempts or times such as 100..200 or 10m..1h"
        );
    }

    #[test]
    fn times_are_drawn_from_their_range() {
        let mut dice = fastrand::Rng::with_seed(1);
        let always: Span = "4s".parse().unwrap();
        assert_eq!(always.draw(&mut dice), 4_000);
        let some: Span = "2s..8s".parse().unwrap();
        let drawn: Vec<i64> = (0..1_000).map(|_| some.draw(&mut dice)).collect();
        assert!(drawn.iter().all(|ms| (2_000..=8_000).contains(ms)));
        let mean = drawn.iter().sum::<i64>() / 1_000;
        assert!((4_700..5_300).contains(&mean), "{mean}");
        assert!("8s..2s".parse::<Span>().is_err() && "4".parse::<Span>().is_err());
    }

    #[test]
    fn rates_have_a_unit() {
        let every = |text: &str| text.parse::<Rate>().map(|rate| rate.every_ms);
        assert_eq!(every("2/s"), Ok(500.0));
        assert_eq!(every("30/m"), Ok(2_000.0));
        assert_eq!(every("0.5/h"), Ok(7_200_000.0));
        for text in ["2", "0/s", "-1/s", "1/d", "inf/s", "1e9/s", "x/s"] {
            assert!(every(text).is_err(), "{text}");
        }
    }
}
