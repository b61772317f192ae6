//! Reading the ledger, also while it is written and from another process.
//!
//! A reader never holds a read transaction for longer than one chunk of lines, so it does not
//! keep the writer from emptying its write-ahead log.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use kmi_core::trace::{ChainHash, Gap};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, config::DbConfig, params};

use super::{
    error::LedgerError,
    schema,
    store::{self, signed},
};

/// Most lines, and most bytes but for the last line, of one chunk.
const CHUNK_LINES: u64 = 512;
const CHUNK_BYTES: usize = 1 << 20;

/// A stored line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLine {
    /// Its number.
    pub seq: u64,
    /// Its bytes, without the newline.
    pub text: String,
}

impl StoredLine {
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { seq: row.get::<_, i64>(0)?.unsigned_abs(), text: row.get(1)? })
    }
}

/// A reader of a state directory's ledger.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
}

impl Reader {
    /// Opens the ledger of a state directory for reading.
    pub fn open(state_dir: &Path) -> Result<Self, LedgerError> {
        let path: PathBuf = state_dir.join(store::FILE);
        if !path.exists() {
            return Err(LedgerError::Missing(path));
        }
        // Not SQLite's read-only mode: that one cannot open a database whose writer has gone.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags)?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        schema::check(&db, &path)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        db.pragma_update(None, "query_only", true)?;
        Ok(Self { db })
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    /// The numbers of the oldest and the newest line; `None` for an empty ledger.
    pub fn span(&self) -> Result<Option<(u64, u64)>, LedgerError> {
        let sql = "SELECT min(seq), (SELECT max(seq) FROM lines) FROM lines";
        let ends: (Option<i64>, Option<i64>) =
            self.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(ends.0.zip(ends.1).map(|(from, to)| (from.unsigned_abs(), to.unsigned_abs())))
    }

    /// The newest line's number and the hash that stands in it; `None` for an empty ledger.
    pub fn head(&self) -> Result<Option<(u64, ChainHash)>, LedgerError> {
        let Some(line) = self.tail(1)?.pop() else { return Ok(None) };
        let hash = store::stated_hash(&line.text).ok_or_else(|| LedgerError::Damaged {
            seq: line.seq,
            what: "it does not end in its hash".to_owned(),
        })?;
        Ok(Some((line.seq, hash)))
    }

    /// The last `n` lines, oldest first.
    pub fn tail(&self, n: u64) -> Result<Vec<StoredLine>, LedgerError> {
        let Some((first, last)) = self.span()? else { return Ok(Vec::new()) };
        self.lines(first.max((last + 1).saturating_sub(n)), last).collect()
    }

    /// Most lines of a [`Self::page`].
    pub const PAGE_LINES: u64 = 1_000;
    /// Most bytes of a [`Self::page`], but for its last line.
    pub const PAGE_BYTES: usize = 2 << 20;

    /// The last lines before number `before`, or of all: oldest first, and none when there are no
    /// older ones.
    pub fn page(&self, before: Option<u64>, limit: u64) -> Result<Vec<StoredLine>, LedgerError> {
        let sql = "SELECT seq, line FROM lines WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2";
        let mut query = self.db.prepare(sql)?;
        let limit = limit.min(Self::PAGE_LINES);
        let before = before.map_or(i64::MAX, signed);
        let mut rows = query.query(params![before, signed(limit)])?;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while bytes < Self::PAGE_BYTES
            && let Some(row) = rows.next()?
        {
            let line = StoredLine::of(row)?;
            bytes += line.text.len();
            lines.push(line);
        }
        lines.reverse();
        Ok(lines)
    }

    /// One line; `None` where there is none of this number, or none any more.
    pub fn line(&self, seq: u64) -> Result<Option<StoredLine>, LedgerError> {
        let sql = "SELECT seq, line FROM lines WHERE seq = ?1";
        Ok(self.db.query_row(sql, [signed(seq)], StoredLine::of).optional()?)
    }

    /// The lines `from..=to`, as they are stored; those that do not exist yet are not waited for,
    /// and those that retention took are an error.
    pub fn lines(&self, from: u64, to: u64) -> Lines<'_> {
        Lines { reader: self, next: from, to, chunk: VecDeque::new() }
    }

    /// The lines that tell of a turn (an attempt or a gap, of every upstream), or of a request.
    /// Reads the whole ledger; at most the first thousand are found.
    pub fn find(&self, turn_or_request: &str) -> Result<Vec<StoredLine>, LedgerError> {
        let turn = turn_or_request.parse::<u64>().ok();
        let id = format!("\"request_id\":{},", serde_json::Value::from(turn_or_request));
        let sql = r#"SELECT seq, line FROM lines WHERE turn = ?1 OR instr(line, ?2)
            OR ?1 IS NOT NULL AND substr(line, 1, 13) = '{"type":"gap"' ORDER BY seq"#;
        let mut query = self.db.prepare(sql)?;
        let rows = query.query_map(params![turn.map(signed), id], StoredLine::of)?;
        let tells = |line: &StoredLine| match serde_json::from_str::<Gap>(&line.text) {
            Ok(gap) => turn.is_some_and(|turn| (gap.from_turn..=gap.to_turn).contains(&turn)),
            Err(_) => true,
        };
        let found = rows.filter(|row| row.as_ref().map_or(true, tells)).take(1000);
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The epoch lines before line `seq` that it, or a later one, may still speak of: the newest
    /// of each upstream, and older ones with turns that were still in flight then.
    pub fn epochs_in_force(&self, seq: u64) -> Result<Vec<StoredLine>, LedgerError> {
        let sql = "SELECT seq, line FROM epochs
            WHERE seq < ?1 AND (closed IS NULL OR closed >= ?1) ORDER BY seq";
        let mut query = self.db.prepare(sql)?;
        let rows = query.query_map([signed(seq)], StoredLine::of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A setting, as the last writer left it.
    pub fn setting(&self, key: &str) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT value FROM settings WHERE key = ?1";
        Ok(self.db.query_row(sql, [key], |row| row.get(0)).optional()?)
    }

    /// The stretch of lines of a time: from the first line at or after `since` up to the line
    /// before the first one after `until`. `None` when there are no such lines.
    pub fn stretch(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Option<(u64, u64)>, LedgerError> {
        let Some((first, last)) = self.span()? else { return Ok(None) };
        let from = match since {
            Some(since) => {
                let since = since.as_millisecond();
                self.first_where(first, last, |ts| ts >= since)?
            }
            None => first,
        };
        let to = match until {
            Some(until) => {
                let until = until.as_millisecond();
                self.first_where(from, last, |ts| ts > until)?.saturating_sub(1)
            }
            None => last,
        };
        Ok((from <= to).then_some((from, to)))
    }

    /// The first of the lines `from..=to` whose time is `late`, or `to + 1`. Stored times never
    /// decrease, so a binary search finds it.
    fn first_where(
        &self,
        mut from: u64,
        to: u64,
        late: impl Fn(i64) -> bool,
    ) -> Result<u64, LedgerError> {
        let mut query = self.db.prepare("SELECT ts FROM lines WHERE seq = ?1")?;
        let mut end = to + 1;
        while from < end {
            let middle = from.midpoint(end);
            let ts: Option<i64> = query.query_row([signed(middle)], |row| row.get(0)).optional()?;
            // A line that retention took meanwhile is an early one.
            if ts.is_some_and(&late) {
                end = middle;
            } else {
                from = middle + 1;
            }
        }
        Ok(end)
    }

    fn chunk(&self, from: u64, to: u64) -> Result<VecDeque<StoredLine>, LedgerError> {
        let sql = "SELECT seq, line FROM lines WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq LIMIT ?3";
        let mut query = self.db.prepare(sql)?;
        let mut rows = query.query(params![signed(from), signed(to), signed(CHUNK_LINES)])?;
        let (mut lines, mut bytes) = (VecDeque::new(), 0);
        while bytes < CHUNK_BYTES
            && let Some(row) = rows.next()?
        {
            let line = StoredLine::of(row)?;
            let expected = from + lines.len() as u64;
            if line.seq != expected {
                return Err(LedgerError::Retired { expected, found: line.seq });
            }
            bytes += line.text.len();
            lines.push_back(line);
        }
        // None of them is left, or none is written yet.
        if lines.is_empty()
            && let Some((found, _)) = self.span()?
            && from < found
        {
            return Err(LedgerError::Retired { expected: from, found });
        }
        Ok(lines)
    }
}

/// Lines in their order, read chunk by chunk; ends after the first error.
#[derive(Debug)]
pub struct Lines<'r> {
    reader: &'r Reader,
    next: u64,
    to: u64,
    chunk: VecDeque<StoredLine>,
}

impl Iterator for Lines<'_> {
    type Item = Result<StoredLine, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.chunk.is_empty() && self.next <= self.to {
            match self.reader.chunk(self.next, self.to) {
                Ok(chunk) => self.chunk = chunk,
                Err(error) => {
                    self.to = 0;
                    return Some(Err(error));
                }
            }
        }
        let line = self.chunk.pop_front()?;
        self.next = line.seq + 1;
        Some(Ok(line))
    }
}
