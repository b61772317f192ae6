//! Answers of one JSON object: a small machine follows strings and depth and keeps only the
//! usage objects that stand in their places.

use super::counts::Counts;
use memchr::memchr2;

/// Longer usage objects are passed over.
const OBJECT_LIMIT: usize = 4 << 10;

#[derive(Debug, Default)]
pub(super) struct JsonScan {
    /// Open braces and brackets.
    depth: u32,
    in_string: bool,
    escaped: bool,
    word: Word,
    /// The key that the outermost object is at.
    at: Place,
    /// The next value belongs to a usage key.
    expected: bool,
    taken: Option<Taken>,
}

/// Where in the outermost object a usage may stand.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the elements of `choices`.
    Choices,
    /// In `message` or `response`.
    Inner,
    #[default]
    Other,
}

/// A usage object on its way in.
#[derive(Debug)]
struct Taken {
    bytes: Vec<u8>,
    /// The depth outside it.
    depth: u32,
}

impl JsonScan {
    pub(super) fn feed(&mut self, piece: &[u8], counts: &mut Counts) {
        let mut rest = piece;
        while !rest.is_empty() {
            let used = if self.in_string { self.string(rest) } else { self.structure(rest) };
            let (done, more) = rest.split_at(used);
            if self.taken.is_some() {
                self.take(done, counts);
            }
            rest = more;
        }
    }

    /// Goes on in a string; gives how many bytes it used.
    fn string(&mut self, bytes: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            return 1;
        }
        let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        self.word.push(&bytes[..end]);
        match bytes.get(end) {
            Some(b'"') => self.in_string = false,
            Some(_) => {
                self.escaped = true;
                self.word.spoil();
            }
            None => return end,
        }
        end + 1
    }

    /// Goes on between strings, up to where one begins or the depth changes; gives how many bytes
    /// it used.
    fn structure(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.expected = false;
                    self.word = Word::default();
                    return at + 1;
                }
                // A usage object is kept from its first byte on.
                b'{' if self.expected && at > 0 => return at,
                b'{' | b'[' => {
                    self.open(*byte);
                    return at + 1;
                }
                b'}' | b']' => {
                    self.expected = false;
                    self.depth = self.depth.saturating_sub(1);
                    return at + 1;
                }
                b':' => self.key(),
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => self.expected = false,
            }
        }
        bytes.len()
    }

    fn open(&mut self, byte: u8) {
        if self.expected && byte == b'{' && self.taken.is_none() {
            self.taken = Some(Taken { bytes: Vec::with_capacity(256), depth: self.depth });
        }
        self.expected = false;
        self.depth = self.depth.saturating_add(1);
    }

    /// The string before was a key.
    fn key(&mut self) {
        let word = self.word.text();
        if self.depth == 1 {
            self.at = match word {
                b"choices" => Place::Choices,
                b"message" | b"response" => Place::Inner,
                _ => Place::Other,
            };
        }
        self.expected = word == b"usage"
            && match self.at {
                Place::Choices => self.depth == 3,
                Place::Inner => self.depth == 2,
                Place::Other => self.depth == 1,
            };
    }

    /// Keeps bytes of a usage object, and reads it where it ends.
    fn take(&mut self, bytes: &[u8], counts: &mut Counts) {
        let Some(taken) = &mut self.taken else { return };
        if taken.bytes.len() + bytes.len() > OBJECT_LIMIT {
            self.taken = None;
            return;
        }
        taken.bytes.extend_from_slice(bytes);
        if self.depth == taken.depth && !self.in_string {
            counts.read(&taken.bytes);
            self.taken = None;
        }
    }
}

/// The last string as far as it may be a key that is looked for.
#[derive(Debug, Default)]
struct Word {
    bytes: [u8; 8],
    len: u8,
    spoilt: bool,
}

impl Word {
    fn push(&mut self, more: &[u8]) {
        let at = usize::from(self.len);
        match self.bytes.get_mut(at..at + more.len()) {
            Some(room) if !self.spoilt => {
                room.copy_from_slice(more);
                self.len += u8::try_from(more.len()).unwrap_or_default();
            }
            _ => self.spoil(),
        }
    }

    fn spoil(&mut self) {
        self.spoilt = true;
    }

    fn text(&self) -> &[u8] {
        if self.spoilt { &[] } else { &self.bytes[..usize::from(self.len)] }
    }
}
