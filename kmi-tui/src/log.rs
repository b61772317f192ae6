//! The newest lines of the trace, bounded, with the attempts of one request beside each other.

use std::{
    collections::{VecDeque, vec_deque},
    sync::Arc,
};

use crate::row::Row;

/// Most lines that are held; older ones are in the ledger.
pub const CAPACITY: usize = 10_000;
/// How many lines back the earlier attempts of a request are looked for.
const LOOK_BACK: usize = 512;

/// How a line stands to the one above and the one below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// The only attempt of its request.
    Alone,
    /// The first of several attempts; the next one is below.
    First,
    /// One between others.
    Between,
    /// The last of several attempts.
    Last,
}

/// A line in the list.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The line.
    pub row: Arc<Row>,
    /// How it stands to its neighbours.
    pub join: Join,
}

/// The list.
#[derive(Debug, Clone, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
}

impl Log {
    /// Takes a line that is newer than all others. The earlier attempts of its request move down
    /// to it, so that a failover is seen as one thing.
    pub fn push(&mut self, row: Arc<Row>) {
        let Some(request) = row.attempt().filter(|it| it.attempt > 1).map(|it| &it.request_id)
        else {
            self.add(Entry { row, join: Join::Alone });
            return;
        };
        let from = self.entries.len().saturating_sub(LOOK_BACK);
        let same = |entry: &Entry| entry.row.attempt().is_some_and(|it| it.request_id == *request);
        let found: Vec<usize> =
            (from..self.entries.len()).filter(|at| same(&self.entries[*at])).collect();
        // From behind, so that the places in front stay right.
        let mut earlier: Vec<Entry> =
            found.iter().rev().filter_map(|at| self.entries.remove(*at)).collect();
        earlier.reverse();
        let count = earlier.len();
        for (n, mut entry) in earlier.into_iter().enumerate() {
            entry.join = if n == 0 { Join::First } else { Join::Between };
            self.add(entry);
        }
        let join = if count == 0 { Join::Alone } else { Join::Last };
        self.add(Entry { row, join });
    }

    fn add(&mut self, entry: Entry) {
        if self.entries.len() >= CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Takes an older stretch, oldest first, in front of all others. The newest lines leave where
    /// there is no room; returns whether some did.
    pub fn prepend(&mut self, rows: Vec<Arc<Row>>) -> bool {
        let mut older = Self::default();
        let first = self.entries.front().map_or(u64::MAX, |entry| entry.row.seq);
        rows.into_iter().filter(|row| row.seq < first).for_each(|row| older.push(row));
        older.entries.append(&mut self.entries);
        self.entries = older.entries;
        let cut = self.entries.len() > CAPACITY;
        self.entries.truncate(CAPACITY);
        cut
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The lines, oldest first.
    pub fn entries(&self) -> vec_deque::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// The line at a place, counted from the oldest.
    pub fn get(&self, at: usize) -> Option<&Entry> {
        self.entries.get(at)
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the oldest line.
    pub fn first_seq(&self) -> Option<u64> {
        self.entries.iter().map(|entry| entry.row.seq).take(LOOK_BACK).min()
    }
}

#[cfg(test)]
mod tests {
    use kmi_core::outcome::Outcome;

    use super::*;
    use crate::samples::{attempt, row};

    fn of(seq: u64, request: &str, number: u32) -> Arc<Row> {
        let mut it = attempt(seq, "work", Outcome::Ok);
        (it.request_id, it.attempt) = (request.into(), number);
        row(seq, it)
    }

    fn shown(log: &Log) -> Vec<(u64, Join)> {
        log.entries().map(|entry| (entry.row.seq, entry.join)).collect()
    }

    #[test]
    fn attempts_of_one_request_are_joined() {
        use Join::{Alone, Between, First, Last};
        let mut log = Log::default();
        for row in [of(1, "a", 1), of(2, "b", 1), of(3, "a", 2), of(4, "c", 1), of(5, "a", 3)] {
            log.push(row);
        }
        assert_eq!(shown(&log), [(2, Alone), (4, Alone), (1, First), (3, Between), (5, Last)]);
        log.push(of(6, "gone", 2));
        assert_eq!(shown(&log).last(), Some(&(6, Alone)), "its first attempt is not at hand");
    }

    #[test]
    fn only_the_newest_are_held() {
        let mut log = Log::default();
        (1..=CAPACITY as u64 + 5).for_each(|seq| log.push(of(seq, &seq.to_string(), 1)));
        assert_eq!((log.len(), log.first_seq()), (CAPACITY, Some(6)));
    }

    #[test]
    fn older_ones_come_in_front() {
        let mut log = Log::default();
        log.push(of(5, "e", 1));
        assert!(!log.prepend(vec![of(3, "c", 1), of(4, "d", 1), of(5, "e", 1)]));
        let seqs: Vec<u64> = log.entries().map(|entry| entry.row.seq).collect();
        assert_eq!(seqs, [3, 4, 5], "each once");
        (6..=CAPACITY as u64).for_each(|seq| log.push(of(seq, &seq.to_string(), 1)));
        assert!(log.prepend((0..3).map(|seq| of(seq, &seq.to_string(), 1)).collect()));
        assert_eq!(log.len(), CAPACITY);
        assert_eq!(log.first_seq(), Some(0));
    }
}
