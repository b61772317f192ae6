//! How long the provider says to wait: in headers, or in the words of an error.
//!
//! Kimi's live answers carry no `Retry-After`; the wait stands in the text (WIRE section 3).
//! Whatever is said, the result is never negative and never for ever: at most [`LONGEST`].

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// The longest wait that is believed: a month's window is the longest that Kimi knows.
pub const LONGEST: Duration = Duration::from_hours(32 * 24);

/// The values of the headers that state a wait, as they came.
#[derive(Debug, Clone, Copy, Default)]
pub struct RetryHeaders<'a> {
    /// `Retry-After`: seconds or an HTTP date.
    pub retry_after: Option<&'a [u8]>,
    /// `retry-after-ms`: milliseconds; more exact, so it is read first.
    pub retry_after_ms: Option<&'a [u8]>,
}

impl RetryHeaders<'_> {
    /// The wait that the headers state; what cannot be read counts as not said.
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        let text = |bytes| std::str::from_utf8(bytes).ok().map(str::trim);
        let millis = self.retry_after_ms.and_then(text).and_then(|ms| amount(ms, 0.001));
        let seconds = || self.retry_after.and_then(text).and_then(|s| amount(s, 1.0));
        let date = || self.retry_after.and_then(text).and_then(|date| until_date(date, now));
        millis.or_else(seconds).or_else(date)
    }
}

/// The wait that an error's message states: "try again after 6 seconds", "in 6m0s", "after 20s".
pub fn in_text(message: &str) -> Option<Duration> {
    let text = message.to_ascii_lowercase();
    let starts = ["after ", "again in ", "retry in ", "wait "];
    starts.iter().find_map(|start| {
        text.match_indices(start).find_map(|(at, _)| span(&text[at + start.len()..]))
    })
}

/// A span of time at the beginning of a text: numbers with their units, such as `1m30s` or
/// `20 seconds`.
fn span(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text.trim_start(), None);
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let Some(part) = unit_seconds(unit).and_then(|unit| amount(number, unit)) else {
            return total;
        };
        total = Some(total.unwrap_or(Duration::ZERO).saturating_add(part).min(LONGEST));
        rest = after;
    }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

/// A plain decimal number of units; a negative one is 0, a huge one [`LONGEST`].
fn amount(number: &str, unit_seconds: f64) -> Option<Duration> {
    let digits = number.strip_prefix('-').unwrap_or(number);
    // `parse` alone would also take "inf", "NaN" and "1e9".
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let seconds = number.parse::<f64>().ok()? * unit_seconds;
    Some(Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64())))
}

fn until_date(date: &str, now: Timestamp) -> Option<Duration> {
    let at = httpdate::parse_http_date(date).ok()?;
    let wait = at.duration_since(SystemTime::from(now)).unwrap_or(Duration::ZERO);
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "2026-05-03T11:00:00Z";

    fn header(value: &str) -> Option<Duration> {
        let headers = RetryHeaders { retry_after: Some(value.as_bytes()), retry_after_ms: None };
        headers.wait(NOW.parse().unwrap())
    }

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_header_is_seconds_or_a_date() {
        assert_eq!(header("30"), Some(secs(30)));
        assert_eq!(header(" 0 "), Some(secs(0)));
        assert_eq!(header("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(header("Sun, 03 May 2026 11:01:30 GMT"), Some(secs(90)));
        assert_eq!(header("Sun, 03 May 2026 10:00:00 GMT"), Some(secs(0)), "a date in the past");
        assert_eq!(header("Fri, 01 Jan 2100 00:00:00 GMT"), Some(LONGEST));
    }

    #[test]
    fn odd_numbers_are_clamped_or_ignored() {
        assert_eq!(header("-5"), Some(secs(0)));
        assert_eq!(header("99999999999999999999999999"), Some(LONGEST));
        for odd in ["", "soon", "inf", "NaN", "1e9", "-", "--1", "0x10", ".", "1.2.3", "30 s"] {
            assert_eq!(header(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn milliseconds_are_read_first_and_odd_ones_passed_over() {
        let now = NOW.parse().unwrap();
        let wait = |ms: &[u8]| {
            RetryHeaders { retry_after: Some(b"9"), retry_after_ms: Some(ms) }.wait(now)
        };
        assert_eq!(wait(b"250"), Some(Duration::from_millis(250)));
        assert_eq!(wait(b"\xff"), Some(secs(9)));
        assert_eq!(RetryHeaders::default().wait(now), None);
    }

    #[test]
    fn messages_state_waits_in_words() {
        let kimi = "Your account org-1<ak-2> request reached organization max RPM: 3, \
                    please try again after 1 seconds";
        assert_eq!(in_text(kimi), Some(secs(1)));
        assert_eq!(in_text("Please try again in 6m0s."), Some(secs(360)));
        assert_eq!(in_text("please retry after 20s"), Some(secs(20)));
        assert_eq!(in_text("Try again in 120ms."), Some(Duration::from_millis(120)));
        assert_eq!(in_text("wait 2 minutes before the next"), Some(secs(120)));
        assert_eq!(in_text("after a while, try again after 3 seconds"), Some(secs(3)));
    }

    #[test]
    fn other_numbers_are_no_waits() {
        for text in [
            "current: 600, limit: 500",
            "try again later",
            "after 5 messages",
            "total message size 9 exceeds limit 2097152",
            "Please wait for your ongoing requests to finish",
            "",
        ] {
            assert_eq!(in_text(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_or_waits_for_ever(text in "(after |wait |[0-9.]{0,30}|[smhd]|\\PC){0,12}") {
            prop_assert!(in_text(&text).unwrap_or_default() <= LONGEST);
            prop_assert!(header(&text).unwrap_or_default() <= LONGEST);
        }
    }
}
