//! The lines of a file, borrowed from large chunks of it.

use std::io::{self, Read};

use kmi_stats::verify::MAX_LINE;

/// How much is read at once: little enough to stay in the processor's cache until it is verified.
const CHUNK: usize = 256 << 10;

/// Reads lines one after the other. A line that is longer than any line of a trace is not read to
/// its end into memory: it comes in pieces, each too long.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    /// What has been read and not been handed out.
    start: usize,
    end: usize,
    passed: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: vec![0; CHUNK], start: 0, end: 0, passed: 0 }
    }

    /// The next line, without its newline; `None` at the end of the file.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut looked = 0;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = memchr::memchr(b'\n', &unread[looked..]) {
                return Ok(Some(self.hand_out(looked + at, 1)));
            }
            looked = unread.len();
            if looked > MAX_LINE {
                return Ok(Some(self.hand_out(looked, 0)));
            }
            if self.fill()? == 0 {
                return Ok((looked > 0).then(|| self.hand_out(looked, 0)));
            }
        }
    }

    /// The bytes that were handed out since this was last asked.
    pub(super) fn take_passed(&mut self) -> u64 {
        std::mem::take(&mut self.passed)
    }

    /// See [`Self::take_passed`].
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    fn hand_out(&mut self, length: usize, newline: usize) -> &[u8] {
        let from = self.start;
        self.start += length + newline;
        self.passed += (length + newline) as u64;
        &self.buffer[from..from + length]
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.from.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    let read = read?;
                    self.end += read;
                    return Ok(read);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let some = self.0.len().min(into.len()).min(3);
            into[..some].copy_from_slice(&self.0[..some]);
            self.0 = &self.0[some..];
            Ok(some)
        }
    }

    fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Lines::new(Drops(text));
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push(line.to_vec());
        }
        assert_eq!(lines.take_passed(), text.len() as u64);
        all
    }

    #[test]
    fn lines_are_split_at_newlines() {
        assert_eq!(lines(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"one"), [b"one"]);
        assert_eq!(lines(b"one\n\ntwo, longer\n"), [&b"one"[..], b"", b"two, longer"]);
        assert_eq!(lines(b"\n"), [b""]);
    }

    #[test]
    fn long_lines_are_whole_and_endless_ones_come_in_pieces() {
        let long = [&vec![b'x'; 3 * CHUNK][..], b"\nend"].concat();
        let mut from = Lines::new(&long[..]);
        assert_eq!(from.next_line().unwrap().unwrap().len(), 3 * CHUNK);
        assert_eq!(from.next_line().unwrap().unwrap(), b"end");
        assert_eq!(from.next_line().unwrap(), None);

        let mut endless = Lines::new(io::repeat(b'x'));
        for _ in 0..2 {
            let piece = endless.next_line().unwrap().unwrap().len();
            assert!(piece > MAX_LINE && piece <= 4 * MAX_LINE, "{piece}");
        }
        assert!(endless.buffer.len() <= 4 * MAX_LINE);
    }
}
