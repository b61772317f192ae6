//! The tables of `ledger.db`, and whether a database has them.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::error::LedgerError;

/// `kmi1`: tells our databases from others.
const APPLICATION_ID: i64 = 0x6b6d_6931;
const VERSION: i64 = 1;

/// Larger than SQLite's own 4096: a page holds ten lines instead of five, and a commit of a full
/// batch costs a third less.
const PAGE_SIZE: i64 = 8192;

/// The triggers keep what is written: no line is ever changed, and only the oldest may go, never
/// the newest (it holds the head of the chain). That a line goes to the end has none: it would cost
/// as much as the line itself, the number is a primary key, and a hole shows in the chain.
const TABLES: &str = "
CREATE TABLE lines (
    seq  INTEGER PRIMARY KEY,
    ts   INTEGER NOT NULL,      -- milliseconds; never less than the line before
    turn INTEGER,               -- of an attempt that was a turn
    line TEXT NOT NULL          -- as exported, without the newline
) STRICT;
CREATE TRIGGER lines_stay BEFORE UPDATE ON lines BEGIN
    SELECT RAISE(ABORT, 'the trace is append-only');
END;
CREATE TRIGGER lines_retire BEFORE DELETE ON lines
WHEN OLD.seq <> (SELECT min(seq) FROM lines) OR OLD.seq = (SELECT max(seq) FROM lines) BEGIN
    SELECT RAISE(ABORT, 'only the oldest lines of the trace may go');
END;

-- A copy of every epoch line, which outlives the line itself as long as it is in force.
CREATE TABLE epochs (
    seq      INTEGER PRIMARY KEY,
    upstream TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    closed   INTEGER,           -- no line after this one speaks of the epoch
    line     TEXT NOT NULL
) STRICT;

-- Which turns are accounted for, and where each rotation stood.
CREATE TABLE turns (
    upstream  TEXT PRIMARY KEY,
    done_to   INTEGER NOT NULL, -- every turn up to this one is in a line
    above     TEXT NOT NULL,    -- and these ranges above it
    last_turn INTEGER NOT NULL,
    epoch     INTEGER NOT NULL, -- the newest one with a line
    top_epoch INTEGER NOT NULL, -- the newest one that any line speaks of
    cursor    INTEGER           -- in the ring of `epoch`
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    bytes INTEGER NOT NULL,     -- of all lines, newlines included
    clean INTEGER NOT NULL,     -- 1: the last writer stopped in order
    boot  TEXT                  -- the boot of the system that the last writer ran in
) STRICT;
INSERT INTO meta VALUES (1, 0, 1, NULL);
";

/// Creates the tables in an empty database, and makes it one with a write-ahead log; refuses a foreign
/// or newer one.
pub(super) fn prepare(db: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let tables: i64 = query(db, path, "SELECT count(*) FROM sqlite_schema")?;
    if tables == 0 && query::<i64>(db, path, "PRAGMA application_id")? == 0 {
        db.pragma_update(None, "page_size", PAGE_SIZE)?;
        // Before the tables: they go through the log then, and need no sync of their own.
        write_ahead(db)?;
        let tx = db.transaction()?;
        tx.execute_batch(TABLES)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
    }
    check(db, path)?;
    Ok(write_ahead(db)?)
}

/// Commits go to a log beside the database, and are synced where [`super::store`] asks for it.
fn write_ahead(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")
}

/// Refuses a database that is not ours, or newer than this version.
pub(super) fn check(db: &Connection, path: &Path) -> Result<(), LedgerError> {
    if query::<i64>(db, path, "PRAGMA application_id")? != APPLICATION_ID {
        return Err(foreign(path, "another program's database"));
    }
    let found: i64 = query(db, path, "PRAGMA user_version")?;
    if found > VERSION {
        return Err(LedgerError::Newer {
            path: path.to_owned(),
            found: found.unsigned_abs(),
            known: VERSION.unsigned_abs(),
        });
    }
    Ok(())
}

fn query<T: rusqlite::types::FromSql>(
    db: &Connection,
    path: &Path,
    sql: &str,
) -> Result<T, LedgerError> {
    db.query_row(sql, [], |row| row.get(0)).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => foreign(path, "not a database"),
        Some(ErrorCode::DatabaseCorrupt) => foreign(path, "a damaged database"),
        _ => error.into(),
    })
}

fn foreign(path: &Path, what: &str) -> LedgerError {
    LedgerError::Foreign { path: path.to_owned(), what: what.to_owned() }
}
