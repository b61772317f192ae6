//! Steps through a line whose form is known, without building anything.
//!
//! Every step takes less than JSON would allow and never more; who gets `None` asks a real JSON
//! parser.

use jiff::Timestamp;

/// What is left of a line.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// What has not been stepped over.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// These bytes come next.
    #[inline]
    pub(super) fn literal<const N: usize>(&mut self, expected: &[u8; N]) -> Option<()> {
        let (next, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        (next == expected).then_some(())
    }

    /// The next so many bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (next, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(next)
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    /// A whole number as JSON writes it, of at most 19 digits.
    #[inline]
    pub(super) fn number(&mut self) -> Option<u64> {
        let (mut value, mut digits) = (0u64, 0);
        while let Some(digit) = self.rest.get(digits).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            if digits == 19 {
                return None;
            }
            value = value * 10 + u64::from(digit);
            digits += 1;
        }
        if digits == 0 || (digits > 1 && self.rest[0] == b'0') {
            return None;
        }
        self.rest = &self.rest[digits..];
        Some(value)
    }

    #[inline]
    #[expect(clippy::option_option, reason = "the outer one is the scan's failure")]
    pub(super) fn number_or_null(&mut self) -> Option<Option<u64>> {
        if self.null() { Some(None) } else { self.number().map(Some) }
    }

    /// The bytes of a string without escapes; they are UTF-8.
    #[inline]
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        self.literal(b"\"")?;
        let end = end_of_string(self.rest)?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(text)
    }

    #[inline]
    #[expect(clippy::option_option, reason = "the outer one is the scan's failure")]
    pub(super) fn string_or_null(&mut self) -> Option<Option<&'a [u8]>> {
        if self.null() { Some(None) } else { self.string().map(Some) }
    }

    pub(super) fn truth_or_null(&mut self) -> Option<()> {
        let words = [&b"true"[..], b"false", b"null"];
        self.rest = words.iter().find_map(|word| self.rest.strip_prefix(*word))?;
        Some(())
    }

    #[inline]
    fn null(&mut self) -> bool {
        match self.rest.strip_prefix(b"null") {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

/// Where the closing quote stands; `None` where something stands before it that is more than
/// plain text, or fewer than eight bytes are left (in a line the chain's fields follow).
#[inline]
fn end_of_string(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let word = u64::from_le_bytes(*rest.get(at..)?.first_chunk::<8>()?);
        let stop = not_plain(word);
        if stop != 0 {
            at += stop.trailing_zeros() as usize / 8;
            break;
        }
        at += 8;
    }
    match rest[at] {
        b'"' => Some(at),
        0x80.. => end_of_foreign_string(rest),
        _ => None,
    }
}

/// As [`end_of_string`], for text beyond ASCII.
#[cold]
fn end_of_foreign_string(rest: &[u8]) -> Option<usize> {
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    let whole = rest[end] == b'"' && std::str::from_utf8(&rest[..end]).is_ok();
    whole.then_some(end)
}

/// The lowest set bit is in the first byte that is a quote, a backslash, a control character or
/// not ASCII; 0 if none of the eight is.
#[inline]
fn not_plain(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    const HIGH: u64 = each(0x80);
    // The classic test for a zero byte: exact for the lowest one.
    let zero = |word: u64| word.wrapping_sub(each(1)) & !word & HIGH;
    let quote = zero(word ^ each(b'"'));
    let backslash = zero(word ^ each(b'\\'));
    let control = zero(word & each(0xe0));
    quote | backslash | control | (word & HIGH)
}

/// A time as lines have it, `2026-11-23T14:03:40.120Z`; `None` for every other form.
pub(super) fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.')];
    if !punctuation.iter().all(|(at, mark)| text[*at] == *mark) || text[23] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0i64, |value, byte| {
            byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
        })
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=last).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Timestamp::from_millisecond(seconds * 1_000 + number(20, 23)?).ok()
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar, years from 0 on: years
/// are counted from March, so that the leap day is a year's last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}
