//! A point in time as a person types it: a date, an RFC 3339 time, or how long ago.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

/// A point in time that may depend on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// This time.
    At(Timestamp),
    /// So long before now.
    Ago(SignedDuration),
}

impl Moment {
    /// The time, once it is known what time it is now; the beginning of time for what is longer ago.
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }
}

/// Reads `2026-03-01` (UTC), `2026-03-01T12:00:00Z`, `30m`, `24h`, `7d`.
pub(super) fn parse(text: &str) -> Result<Moment, &'static str> {
    const FORM: &str = "expected a date, an RFC 3339 time, or a time ago such as 30m, 24h or 7d";
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Moment::At(at));
    }
    if let Ok(date) = text.parse::<Date>() {
        let midnight = date.to_zoned(TimeZone::UTC).map_err(|_| FORM)?;
        return Ok(Moment::At(midnight.timestamp()));
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(FORM)?;
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().map_err(|_| FORM)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(FORM),
    };
    let seconds = number.checked_mul(seconds).ok_or(FORM)?;
    Ok(Moment::Ago(SignedDuration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_times_and_ages_are_understood() {
        let now: Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
        let at = |text| parse(text).unwrap().resolve(now).to_string();
        assert_eq!(at("2026-03-01"), "2026-03-01T00:00:00Z");
        assert_eq!(at("2026-03-01T12:00:00+02:00"), "2026-03-01T10:00:00Z");
        assert_eq!(at("90s"), "2026-03-01T23:58:30Z");
        assert_eq!(at("30m"), "2026-03-01T23:30:00Z");
        assert_eq!(at("24h"), "2026-03-01T00:00:00Z");
        assert_eq!(at("1d"), "2026-03-01T00:00:00Z");
        assert_eq!(parse("90000000d").unwrap().resolve(now), Timestamp::MIN);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "7", "d", "7w", "-7d", "yesterday", "99999999999999999999d", "2026-13-01"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
