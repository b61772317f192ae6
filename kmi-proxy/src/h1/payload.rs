//! The bytes of a body out of its framing.

use super::Error;

/// What chunk extensions and trailers of one body may take together, beyond what each chunk may
/// have; they are dropped.
const MAX_OVERHEAD: u32 = 16 << 10;
/// What stands around a chunk's data may be as long as the data, and so much longer: then a long
/// stream may have any number of such chunks.
const FREE_OVERHEAD: u64 = 16;

/// What still comes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// So many bytes; 0 when the body is over.
    Length(u64),
    /// Chunks, up to the last one and its trailers.
    Chunks(Chunks),
    /// Everything up to the end of the connection.
    UntilClose,
}

impl Payload {
    pub(super) const NONE: Self = Self::Length(0);

    pub(super) fn chunks() -> Self {
        Self::Chunks(Chunks { at: At::Size, left: 0, overhead: 0 })
    }

    /// Whether its last byte was taken.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunks(chunks) => chunks.at == At::Over,
            Self::UntilClose => false,
        }
    }

    /// The bytes that still come, where that is known.
    pub(super) fn exact(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunks(chunks) => (chunks.at == At::Over).then_some(0),
            Self::UntilClose => None,
        }
    }

    /// Takes what belongs to the body from the front of `bytes`, hands its payload to `give`, and
    /// says how many bytes that were: fewer than there are only where the body is over.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        mut give: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        match self {
            Self::Length(left) => {
                let taken = first(bytes, left);
                if !taken.is_empty() {
                    give(taken);
                }
                Ok(taken.len())
            }
            Self::Chunks(chunks) => chunks.take(bytes, give),
            Self::UntilClose => {
                give(bytes);
                Ok(bytes.len())
            }
        }
    }
}

/// The first `left` bytes, or as many as there are; `left` becomes what is missing.
fn first<'a>(bytes: &'a [u8], left: &mut u64) -> &'a [u8] {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= taken as u64;
    &bytes[..taken]
}

/// A chunked body, and where in it the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    /// Of the chunk whose size was read.
    left: u64,
    /// Bytes around the chunks beyond those that each may have.
    overhead: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The first digit of a size.
    Size,
    /// Further digits, or what follows them.
    Digits,
    /// Blanks behind the digits.
    Blanks,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// The first byte of a trailer's line, or of the empty one.
    Trailer,
    TrailerLine,
    TrailerLineFeed,
    LastLineFeed,
    Over,
}

impl Chunks {
    fn take(&mut self, bytes: &[u8], mut give: impl FnMut(&[u8])) -> Result<usize, Error> {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            match self.at {
                At::Over => break,
                At::Data => {
                    let data = first(rest, &mut self.left);
                    give(data);
                    rest = &rest[data.len()..];
                    if self.left == 0 {
                        self.at = At::DataReturn;
                    }
                }
                _ => {
                    self.at = self.framing(*byte)?;
                    rest = after;
                }
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// One byte of what stands around the data; where the next one is.
    fn framing(&mut self, byte: u8) -> Result<At, Error> {
        let malformed = Error::Malformed("a chunk that breaks the rules");
        Ok(match (self.at, byte) {
            (At::Size | At::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let shifted = self.left.checked_mul(16).ok_or(malformed)?;
                self.left = shifted + u64::from(digit);
                At::Digits
            }
            (At::Digits | At::Blanks, b' ' | b'\t') => self.overhead(At::Blanks)?,
            (At::Digits | At::Blanks, b';') => At::Extension,
            (At::Digits | At::Blanks | At::Extension, b'\r') => At::SizeLineFeed,
            // A line feed alone would end the line for some.
            (At::Extension | At::Trailer | At::TrailerLine, b'\n') => return Err(malformed),
            (At::Extension, _) => self.overhead(At::Extension)?,
            (At::SizeLineFeed, b'\n') if self.left == 0 => At::Trailer,
            (At::SizeLineFeed, b'\n') => {
                let free = u32::try_from(self.left.saturating_add(FREE_OVERHEAD));
                self.overhead = self.overhead.saturating_sub(free.unwrap_or(u32::MAX));
                At::Data
            }
            (At::DataReturn, b'\r') => At::DataLineFeed,
            (At::DataLineFeed, b'\n') => At::Size,
            (At::Trailer, b'\r') => At::LastLineFeed,
            (At::TrailerLine, b'\r') => At::TrailerLineFeed,
            (At::Trailer | At::TrailerLine, _) => self.overhead(At::TrailerLine)?,
            (At::TrailerLineFeed, b'\n') => At::Trailer,
            (At::LastLineFeed, b'\n') => At::Over,
            _ => return Err(malformed),
        })
    }

    fn overhead(&mut self, at: At) -> Result<At, Error> {
        self.overhead += 1;
        let within = self.overhead <= MAX_OVERHEAD;
        within.then_some(at).ok_or(Error::Malformed("chunks with too much around them"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The payload, and what was left behind the body; `None` when it breaks the rules.
    fn read(payload: Payload, pieces: &[&[u8]]) -> Option<(String, usize, bool)> {
        let (mut payload, mut out, mut left) = (payload, Vec::new(), 0);
        for piece in pieces {
            let taken = payload.take(piece, |data| out.extend_from_slice(data)).ok()?;
            left += piece.len() - taken;
            assert!(taken == piece.len() || payload.is_over());
        }
        Some((String::from_utf8(out).unwrap(), left, payload.is_over()))
    }

    #[test]
    fn a_length_takes_so_much_and_no_more() {
        assert_eq!(read(Payload::Length(3), &[b"ab"]), Some(("ab".into(), 0, false)));
        assert_eq!(read(Payload::Length(3), &[b"ab", b"cde"]), Some(("abc".into(), 2, true)));
        assert_eq!(read(Payload::NONE, &[b"x"]), Some((String::new(), 1, true)));
        assert_eq!(read(Payload::UntilClose, &[b"a", b"b"]), Some(("ab".into(), 0, false)));
    }

    #[test]
    fn chunks_are_read_up_to_their_end() {
        for (text, expected) in [
            ("0\r\n\r\n", ("", 0, true)),
            ("3\r\nabc\r\n0\r\n\r\n", ("abc", 0, true)),
            ("3;x=\"y\"\r\nabc\r\nA \r\n0123456789\r\n00\r\n\r\n", ("abc0123456789", 0, true)),
            ("1\r\na\r\n0\r\nX: y\r\nZ:\r\n\r\nmore", ("a", 4, true)),
            ("3\r\nab", ("ab", 0, false)),
            ("1\r\na\r\n0\r\n", ("a", 0, false)),
        ] {
            let expected = (expected.0.to_owned(), expected.1, expected.2);
            assert_eq!(read(Payload::chunks(), &[text.as_bytes()]), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn a_long_stream_may_say_something_with_every_chunk() {
        for (chunk, expected) in [
            ("5;t=12345678901234567\r\nabcde\r\n", true),
            ("5;t=123456789012345678901\r\nabcde\r\n", false),
        ] {
            let text = chunk.repeat(20_000) + "0\r\n\r\n";
            let whole = read(Payload::chunks(), &[text.as_bytes()]);
            assert_eq!(whole.is_some(), expected, "{chunk:?}");
        }
    }

    #[test]
    fn what_has_two_meanings_is_refused() {
        let long = format!("1;{}\r\na\r\n", "x".repeat(20_000));
        let trailers = format!("0\r\n{}", "X: 1\r\n".repeat(5000));
        for text in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\na",
            " 1\r\na",
            "1\na",
            "1\r\rna",
            "1 2\r\n",
            "1;a\nb\r\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rX",
            "0\r\n\n",
            "0\r\nX: 1\n",
            "0\r\n\rX",
            "10000000000000000\r\n",
            &long,
            &trailers,
        ] {
            assert_eq!(read(Payload::chunks(), &[text.as_bytes()]), None, "{text:.40?}");
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_come_changes_nothing(
            chunks in proptest::collection::vec("[a-z]{1,9}", 0..5),
            cut in 0_usize..80,
        ) {
            let framed = |text: &String| format!("{:x};e=1\r\n{text}\r\n", text.len());
            let wire = chunks.iter().map(framed).collect::<String>() + "0\r\nX: y\r\n\r\nnext";
            let (a, b) = wire.as_bytes().split_at(cut.min(wire.len()));
            let one = read(Payload::chunks(), &[wire.as_bytes()]);
            prop_assert_eq!(&one, &Some((chunks.concat(), 4, true)));
            prop_assert_eq!(&read(Payload::chunks(), &[a, b]).unwrap().0, &chunks.concat());
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut payload = Payload::chunks();
            let _ = payload.take(&bytes, |_| {});
        }
    }
}
