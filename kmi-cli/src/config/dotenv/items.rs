//! What dotenvy makes of a text, item by item, with the line of each.
//!
//! dotenvy does not say where something stands, a quote that is not closed makes it swallow all
//! that follows, and values that name other variables may grow without end. So it is given the text
//! line by line: how far it has read is known after each item, it can be sent back, and a line can
//! be kept from it.

use std::{
    cell::Cell,
    io::{self, Read},
};

use super::Problem;

/// Values are no longer than this in bytes, all together; without names in them, no file's are.
const MAX_VALUES: usize = 4 << 20;

/// How many bytes a value is taken to have at least: variables of the process are put into values, too.
const LONG_VALUE: usize = 4096;

/// How many bytes are read again, behind quotes that are not closed.
const MAX_AGAIN: usize = 64 << 20;

/// A variable, or what is wrong.
pub(super) struct Item<'t> {
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// All of its lines.
    pub(super) text: &'t str,
    /// Name and value.
    pub(super) read: Result<(String, String), Problem>,
}

/// All items of a text, in its order.
pub(super) fn of(text: &str) -> Vec<Item<'_>> {
    let place = Place::default();
    let mut reader = dotenvy::from_read_iter(Lines { text: text.as_bytes(), place: &place });
    let (mut items, mut line, mut counted, mut again) = (Vec::new(), 1, 0, 0);
    loop {
        let from = place.at.get().min(text.len());
        place.names.set(0);
        let Some(read) = reader.next() else { return items };
        let start = from + without_items(&text[from..]);
        line += text[counted..start].matches('\n').count();
        counted = start;
        let mut end = place.at.get().min(text.len());
        let next = text[start..].find('\n').map_or(text.len(), |length| start + length + 1);
        if is_unclosed(&read) && next < end && again < MAX_AGAIN {
            again += end - next;
            end = next;
            place.at.set(next);
        }
        if let Ok((_, value)) = &read {
            place.longest.set(place.longest.get().max(value.len()));
            place.total.set(place.total.get() + value.len());
        }
        items.push(Item {
            line,
            text: &text[start..end],
            read: read.map_err(|error| problem(&error)),
        });
    }
}

fn problem(error: &dotenvy::Error) -> Problem {
    match error {
        dotenvy::Error::Io(_) => Problem::new("its variables make it too long; it is not used")
            .hint("write the value without the names of other variables"),
        _ => Problem::new("a line is not understood and is not used")
            .hint("write NAME=value; values with blanks, # or $ in 'single quotes'"),
    }
}

/// How long the lines are that begin a text and are blank or comments.
fn without_items(text: &str) -> usize {
    let lines = text.split_inclusive('\n').map(|line| (line.len(), line.trim_start()));
    let empty = lines.take_while(|(_, line)| line.is_empty() || line.starts_with('#'));
    empty.map(|(length, _)| length).sum()
}

/// Whether a quote was looked for up to the end of the text: else a last line has lost its end.
fn is_unclosed(read: &dotenvy::Result<(String, String)>) -> bool {
    matches!(read, Err(dotenvy::Error::LineParse(part, _)) if part.ends_with('\n'))
}

/// Where dotenvy is, and what it has found.
#[derive(Default)]
struct Place {
    /// How far it has read; one behind the end, when that was made the end of a line.
    at: Cell<usize>,
    /// How often the lines of the next item may name a variable.
    names: Cell<usize>,
    longest: Cell<usize>,
    total: Cell<usize>,
}

/// Reads a text, never more than one line at once. The last line ends like all others: behind a
/// blank dotenvy would wait for more.
struct Lines<'t> {
    text: &'t [u8],
    place: &'t Place,
}

impl Lines<'_> {
    /// Whether a value out of the lines so far and this one could become too long.
    fn is_too_long(&self, line: &[u8]) -> bool {
        let Place { names, longest, total, .. } = self.place;
        names.set(names.get() + line.split(|byte| *byte == b'$').count() - 1);
        let most = names.get().saturating_mul(longest.get().max(LONG_VALUE));
        names.get() > 0 && total.get().saturating_add(most) > MAX_VALUES
    }
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.place.at.get();
        let rest = self.text.get(at..).unwrap_or_default();
        let begins = at == 0 || self.text.get(at - 1) == Some(&b'\n');
        let length = |rest: &[u8]| rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        if begins {
            let line = &rest[..length(rest).unwrap_or(rest.len())];
            if self.is_too_long(line) {
                self.place.at.set(at + line.len());
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
        }
        let piece = &rest[..rest.len().min(buffer.len())];
        let piece = &piece[..length(piece).unwrap_or(piece.len())];
        let piece =
            if piece.is_empty() && at == self.text.len() && !begins { b"\n" } else { piece };
        buffer[..piece.len()].copy_from_slice(piece);
        self.place.at.set(at + piece.len());
        Ok(piece.len())
    }
}
