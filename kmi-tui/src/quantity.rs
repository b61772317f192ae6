//! Durations, counts and shares as people write them.

use jiff::{SignedDuration, Timestamp};

/// A duration in its two largest units, such as `4m12s` or `3d 4h`; nothing below a second.
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (d, h, m, s) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, m) => format!("{m}m{s:02}s"),
        (0, h, m) => format!("{h}h{m:02}m"),
        (d, h, _) => format!("{d}d{h:02}h"),
    }
}

/// How long it is until a moment, rounded up to the second so that 0 means it has come.
pub fn countdown(until: Timestamp, now: Timestamp) -> String {
    let left = until.duration_since(now);
    let up = SignedDuration::from_secs(i64::from(left.subsec_nanos() > 0));
    duration(left.saturating_add(up))
}

/// How long ago a moment was, in its largest unit.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Milliseconds as seconds with as many digits as fit into four characters.
pub fn seconds(ms: u64) -> String {
    let tenths = ms.saturating_add(50) / 100;
    match ms {
        0..100 => format!("{ms}ms"),
        100..9_950 => format!("{}.{}s", tenths / 10, tenths % 10),
        _ => format!("{}s", ms.saturating_add(500) / 1_000),
    }
}

/// So many of something, such as `1 turn` or `3 turns`.
pub fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// A count in at most four characters: `950`, `1.2k`, `34k`, `5.6M`.
pub fn count(n: u64) -> String {
    let mut unit = 1u64;
    for (next, letter) in [(1_000, 'k'), (1_000_000, 'M'), (1_000_000_000, 'G')] {
        if n < next {
            break;
        }
        unit = next;
        if n < next.saturating_mul(1_000) || letter == 'G' {
            let tenths = n / (unit / 10);
            return if tenths < 100 {
                format!("{}.{}{letter}", tenths / 10, tenths % 10)
            } else {
                format!("{}{letter}", n / unit)
            };
        }
    }
    (n / unit).to_string()
}

/// A size in its largest unit: `512 B`, `64.0 MiB`, `12.5 GiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, size)| n >= *size) {
        // In tenths, rounded down: more is never claimed than there is.
        Some((unit, size)) => {
            let tenths = u128::from(n) * 10 / u128::from(size);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{n} B"),
    }
}

/// A share from 0 to 1 as a percentage, never rounded up to one that it does not reach.
pub fn percent(share: f64, decimals: usize) -> String {
    let unit = 10f64.powi(i32::try_from(decimals).unwrap_or(0));
    format!("{:.decimals$} %", (share * 100.0 * unit).floor() / unit)
}

/// What is left of a quota in whole percent, never rounded up: 0.4 % is not 1 %. A count of 58 in 100
/// is 58 %, although 0.58 is a little less in binary.
pub(crate) fn percent_left(share: f64) -> String {
    format!("{:.0}%", (share.clamp(0.0, 1.0) * 100.0 + 1e-7).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_counted_as_the_provider_counts() {
        for whole in 0..=100_u8 {
            assert_eq!(percent_left(f64::from(whole) / 100.0), format!("{whole}%"));
        }
        assert_eq!([0.004, 0.999, 1.5].map(percent_left), ["0%", "99%", "100%"]);
    }

    #[test]
    fn sizes_have_one_unit_and_are_never_more() {
        let told = [0, 1023, 1024, 67_108_863, 1 << 30, u64::MAX].map(bytes);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "63.9 MiB", "1.0 GiB", "16777215.9 TiB"]);
    }

    #[test]
    fn durations_have_two_units() {
        let text = |secs| duration(SignedDuration::from_secs(secs));
        assert_eq!([text(-5), text(0), text(59), text(60)], ["0s", "0s", "59s", "1m00s"]);
        assert_eq!([text(3_725), text(90_000)], ["1h02m", "1d01h"]);
    }

    #[test]
    fn a_countdown_ends_at_0_and_not_before() {
        let now = Timestamp::from_millisecond(1_000_000).unwrap();
        let left = |ms: i64| countdown(Timestamp::from_millisecond(1_000_000 + ms).unwrap(), now);
        assert_eq!([left(1), left(1_000), left(1_001)], ["1s", "1s", "2s"]);
        assert_eq!([left(0), left(-5)], ["0s", "0s"]);
        assert_eq!(ago(now, Timestamp::from_millisecond(1_185_000).unwrap()), "3m");
        assert_eq!(ago(now, Timestamp::UNIX_EPOCH), "0s", "a clock that was set back");
        assert_eq!(countdown(Timestamp::MAX, Timestamp::MIN).len(), 11, "no overflow");
    }

    #[test]
    fn numbers_are_short() {
        let all = [0, 99, 100, 949, 9_949, 9_950, 65_000].map(seconds);
        assert_eq!(all, ["0ms", "99ms", "0.1s", "0.9s", "9.9s", "10s", "65s"]);
        let all = [0, 999, 1_000, 9_999, 10_000, 999_999, 1_000_000, u64::MAX].map(count);
        assert_eq!(all, ["0", "999", "1.0k", "9.9k", "10k", "999k", "1.0M", "18446744073G"]);
    }

    #[test]
    fn confidence_is_never_rounded_up() {
        assert_eq!(percent(0.949_999, 1), "94.9 %");
        assert_eq!(percent(1.0, 2), "100.00 %");
        assert_eq!(percent(0.999_999, 2), "99.99 %");
    }
}
