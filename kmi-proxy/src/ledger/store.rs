//! The database: lines are chained and appended here, with everything that must change in the
//! same transaction.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use kmi_core::trace::{ChainHash, Epoch, Record, seal};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Params, Transaction, params};
use serde::Deserialize;

use super::{error::LedgerError, files, progress::Progress, schema};

/// The database's name in the state directory.
pub(super) const FILE: &str = "ledger.db";

/// Settings to write: a value, or `None` to forget the key.
pub(super) type SettingChanges = BTreeMap<String, Option<String>>;

/// The one connection that writes.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) db: Connection,
    pub(super) books: Books,
    /// Whether commits are synced, as the connection now stands.
    full_sync: bool,
    /// The lines of the last batch, one after the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Whether retention is on its way to its lower mark.
    pub(super) retiring: bool,
}

/// What the next line builds on; replaced as a whole when a transaction is in.
#[derive(Debug, Clone)]
pub(super) struct Books {
    /// The newest line; 0 for none.
    pub(super) seq: u64,
    /// Its hash.
    pub(super) head: ChainHash,
    /// The newest time of any line, in milliseconds.
    ts: i64,
    /// The bytes of all lines, newlines included.
    pub(super) bytes: u64,
    /// The turns of each upstream.
    pub(super) upstreams: BTreeMap<Arc<str>, Progress>,
}

/// Whose turn a line tells of.
#[derive(Deserialize)]
struct Whose<'a> {
    epoch: u64,
    #[serde(borrow)]
    upstream: Cow<'a, str>,
}

/// How the writer before this one ended.
#[derive(Debug)]
pub(super) struct Before {
    /// It stopped in order (or there was none).
    pub(super) clean: bool,
    /// The boot of the system it ran in.
    pub(super) boot: Option<String>,
}

impl Store {
    /// Opens or creates the database of a state directory whose lock is held.
    pub(super) fn open(state_dir: &Path) -> Result<Self, LedgerError> {
        let path = state_dir.join(FILE);
        let fresh = !path.exists();
        // SQLite gives its side files the mode of the database.
        drop(files::open_private(&path)?);
        if fresh {
            files::sync_dir(state_dir)?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(&path, flags)?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        schema::prepare(&mut db, &path)?;
        db.pragma_update(None, "fullfsync", true)?;
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.pragma_update(None, "journal_size_limit", 64 << 20)?;
        let books = Books::load(&db, &path)?;
        Ok(Self {
            db,
            books,
            full_sync: false,
            text: Vec::new(),
            ends: Vec::new(),
            retiring: false,
        })
    }

    /// Chains the records and appends them, and changes the settings, all or nothing; `sync`
    /// makes it outlive a power loss, with everything before it.
    pub(super) fn append<'r>(
        &mut self,
        records: impl Iterator<Item = &'r Record>,
        settings: &SettingChanges,
        sync: bool,
    ) -> Result<(), LedgerError> {
        self.forget_batch();
        if self.full_sync != sync {
            self.db.pragma_update(None, "synchronous", if sync { "FULL" } else { "NORMAL" })?;
            self.full_sync = sync;
        }
        let mut books = self.books.clone();
        let tx = self.db.transaction()?;
        let touched = insert_lines(&tx, &mut books, records, &mut self.text, &mut self.ends)?;
        save_settings(&tx, settings)?;
        save_turns(&tx, &books, &touched)?;
        // Always: a commit that changed nothing would not sync either.
        tx.prepare_cached("UPDATE meta SET bytes = ?1")?.execute([signed(books.bytes)])?;
        if let Err(error) = tx.commit() {
            self.forget_batch();
            return Err(error.into());
        }
        self.books = books;
        Ok(())
    }

    /// The lines of the last batch that went in.
    pub(super) fn appended(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let first = self.books.seq + 1 - self.ends.len() as u64;
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        (first..).zip(starts.zip(&self.ends).map(|(from, to)| &self.text[from..*to]))
    }

    /// Moves what is in the write-ahead log into the database, as far as readers let it.
    pub(super) fn checkpoint(&self) -> Result<(), LedgerError> {
        Ok(self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }

    /// How the writer before this one ended.
    pub(super) fn before(&self) -> Result<Before, LedgerError> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Before { clean: row.get::<_, i64>(0)? == 1, boot: row.get(1)? })
        };
        Ok(self.db.query_row("SELECT clean, boot FROM meta", [], read)?)
    }

    /// Notes that a writer is at work (`clean` false) or has stopped in order; takes effect on
    /// disk with the next synced batch.
    pub(super) fn mark(&self, clean: bool, boot: Option<&str>) -> Result<(), LedgerError> {
        let sql = "UPDATE meta SET clean = ?1, boot = coalesce(?2, boot)";
        self.db.execute(sql, params![i64::from(clean), boot])?;
        Ok(())
    }

    /// Closes every epoch but the newest of each upstream: all turns are accounted for.
    pub(super) fn close_old_epochs(&self) -> Result<(), LedgerError> {
        let sql = "UPDATE epochs SET closed = ?1 WHERE closed IS NULL AND seq <
            (SELECT max(seq) FROM epochs AS newer WHERE newer.upstream = epochs.upstream)";
        self.db.execute(sql, [signed(self.books.seq)])?;
        Ok(())
    }

    /// The newest epoch line of an upstream.
    pub(super) fn newest_epoch(&self, upstream: &str) -> Result<Option<Epoch>, LedgerError> {
        let sql = "SELECT seq, line FROM epochs WHERE upstream = ?1 ORDER BY seq DESC LIMIT 1";
        self.read_epoch(sql, [upstream])
    }

    /// An epoch of an upstream, while its line is kept.
    pub(super) fn epoch(&self, upstream: &str, epoch: u64) -> Result<Option<Epoch>, LedgerError> {
        let sql = "SELECT seq, line FROM epochs WHERE upstream = ?1 AND epoch = ?2";
        self.read_epoch(sql, params![upstream, signed(epoch)])
    }

    fn read_epoch(&self, sql: &str, of: impl Params) -> Result<Option<Epoch>, LedgerError> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let row: Option<(i64, String)> = self.db.query_row(sql, of, read).optional()?;
        let Some((seq, line)) = row else { return Ok(None) };
        let damaged = |what| LedgerError::Damaged { seq: seq.unsigned_abs(), what };
        serde_json::from_str(&line).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Of each epoch of an upstream, the newest turn that has a line, where that is above `turn`.
    pub(super) fn newest_turns(
        &self,
        upstream: &str,
        turn: u64,
    ) -> Result<BTreeMap<u64, u64>, LedgerError> {
        let mut query = self.db.prepare("SELECT turn, line FROM lines WHERE turn > ?1")?;
        let mut rows = query.query([signed(turn)])?;
        let mut newest = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let turn = row.get::<_, i64>(0)?.unsigned_abs();
            // What cannot be read is for `kmi verify` to tell.
            let line = row.get_ref(1)?.as_bytes().unwrap_or_default();
            let Ok(of) = serde_json::from_slice::<Whose<'_>>(line) else { continue };
            if of.upstream == upstream {
                let known: &mut u64 = newest.entry(of.epoch).or_default();
                *known = turn.max(*known);
            }
        }
        Ok(newest)
    }

    /// All settings.
    pub(super) fn settings(&self) -> Result<BTreeMap<String, String>, LedgerError> {
        let mut query = self.db.prepare("SELECT key, value FROM settings")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn forget_batch(&mut self) {
        const KEEP: usize = 1 << 20;
        self.text.clear();
        self.text.shrink_to(KEEP);
        self.ends.clear();
        self.ends.shrink_to(KEEP / 512);
    }
}

impl Books {
    fn load(db: &Connection, path: &Path) -> Result<Self, LedgerError> {
        let bytes: i64 = db.query_row("SELECT bytes FROM meta", [], |row| row.get(0))?;
        let newest = "SELECT seq, ts, line FROM lines ORDER BY seq DESC LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let (seq, ts, head) = match db.query_row(newest, [], read).optional()? {
            None => (0, i64::MIN, ChainHash::START),
            Some((seq, ts, line)) => {
                let (seq, line): (i64, String) = (seq, line);
                let head = stated_hash(&line).ok_or_else(|| LedgerError::Damaged {
                    seq: seq.unsigned_abs(),
                    what: "it does not end in its hash".to_owned(),
                })?;
                (seq.unsigned_abs(), ts, head)
            }
        };
        let bytes = bytes.unsigned_abs();
        Ok(Self { seq, head, ts, bytes, upstreams: load_turns(db, path)? })
    }

    /// The newest time of any line.
    pub(super) fn time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.ts).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn account(&mut self, record: &Record) -> Option<Arc<str>> {
        let upstream = match record {
            Record::Attempt(it) if it.turn.is_some() => &it.upstream,
            Record::Epoch(it) => &it.upstream,
            Record::Gap(it) => &it.upstream,
            _ => return None,
        };
        let progress = self.upstreams.entry(Arc::clone(upstream)).or_default();
        match record {
            Record::Attempt(it) => {
                it.turn
                    .into_iter()
                    .for_each(|turn| progress.account(turn, turn, it.epoch, it.slot));
            }
            Record::Epoch(it) => progress.begin(it),
            Record::Gap(it) => {
                let slot = it.slots.as_ref().and_then(|slots| slots.last().copied());
                progress.account(it.from_turn, it.to_turn, it.epoch, slot);
            }
            _ => {}
        }
        Some(Arc::clone(upstream))
    }
}

/// The hash that stands at the end of a line.
pub(super) fn stated_hash(line: &str) -> Option<ChainHash> {
    let digits = line.strip_suffix("\"}")?;
    ChainHash::parse(digits.get(digits.len().checked_sub(64)?..)?)
}

/// Appends the records; returns the upstreams whose turns or epochs changed.
fn insert_lines<'r>(
    tx: &Transaction<'_>,
    books: &mut Books,
    records: impl Iterator<Item = &'r Record>,
    text: &mut Vec<u8>,
    ends: &mut Vec<usize>,
) -> Result<BTreeSet<Arc<str>>, LedgerError> {
    let mut touched = BTreeSet::new();
    let mut line_in = tx.prepare_cached("INSERT INTO lines VALUES (?1, ?2, ?3, ?4)")?;
    for record in records {
        let start = text.len();
        let seq = books.seq + 1;
        let damaged = |what| LedgerError::Damaged { seq, what };
        books.head = seal(record, seq, &books.head, text).map_err(|e| damaged(e.to_string()))?;
        ends.push(text.len());
        let line = std::str::from_utf8(&text[start..]).map_err(|e| damaged(e.to_string()))?;
        let turn = match record {
            Record::Attempt(attempt) => attempt.turn.map(signed),
            _ => None,
        };
        books.seq = seq;
        books.ts = books.ts.max(record.ts().as_millisecond());
        books.bytes += line.len() as u64 + 1;
        line_in.execute(params![signed(seq), books.ts, turn, line])?;
        if let Record::Epoch(epoch) = record {
            let row = params![signed(seq), &*epoch.upstream, signed(epoch.epoch), line];
            tx.execute("INSERT INTO epochs VALUES (?1, ?2, ?3, NULL, ?4)", row)?;
        }
        if let Some(upstream) = books.account(record) {
            if let Some(open) = books.upstreams.get_mut(&upstream).and_then(Progress::take_closed) {
                let sql = "UPDATE epochs SET closed = ?1
                    WHERE upstream = ?2 AND epoch < ?3 AND closed IS NULL";
                tx.execute(sql, params![signed(seq), &*upstream, signed(open)])?;
            }
            touched.insert(upstream);
        }
    }
    Ok(touched)
}

fn save_settings(tx: &Transaction<'_>, settings: &SettingChanges) -> Result<(), LedgerError> {
    for (key, value) in settings {
        match value {
            Some(value) => tx.execute("REPLACE INTO settings VALUES (?1, ?2)", [key, value])?,
            None => tx.execute("DELETE FROM settings WHERE key = ?1", [key])?,
        };
    }
    Ok(())
}

fn save_turns(
    tx: &Transaction<'_>,
    books: &Books,
    touched: &BTreeSet<Arc<str>>,
) -> Result<(), LedgerError> {
    for upstream in touched {
        let Some(it) = books.upstreams.get(upstream) else { continue };
        let cursor = it.cursor.and_then(|slot| i64::try_from(slot).ok());
        let row = params![
            &**upstream,
            signed(it.done_to),
            it.above_text(),
            signed(it.last_turn),
            signed(it.epoch),
            signed(it.top_epoch),
            cursor
        ];
        tx.prepare_cached("REPLACE INTO turns VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(row)?;
    }
    Ok(())
}

fn load_turns(db: &Connection, path: &Path) -> Result<BTreeMap<Arc<str>, Progress>, LedgerError> {
    let mut query = db.prepare("SELECT * FROM turns")?;
    let mut rows = query.query([])?;
    let mut upstreams = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let number = |at: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.unsigned_abs());
        let cursor = row.get::<_, Option<i64>>(6)?.and_then(|slot| usize::try_from(slot).ok());
        let above: String = row.get(2)?;
        let (turns, epochs) = ((number(1)?, number(3)?), (number(4)?, number(5)?));
        let progress = Progress::restore(turns, epochs, cursor, &above);
        let progress = progress.ok_or_else(|| LedgerError::Foreign {
            path: PathBuf::from(path),
            what: "its table of turns is damaged".to_owned(),
        })?;
        upstreams.insert(row.get::<_, Arc<str>>(0)?, progress);
    }
    Ok(upstreams)
}

/// SQLite's integers are signed; numbers of lines and turns stay far below the limit.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
