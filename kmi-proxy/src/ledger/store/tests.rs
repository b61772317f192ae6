use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::ledger::samples::{attempt, mode};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn append(store: &mut Store, records: &[Record]) {
    store.append(records.iter(), &SettingChanges::new(), false).unwrap();
}

fn refused(store: &Store, sql: &str) -> String {
    store.db.execute_batch(sql).unwrap_err().to_string()
}

#[test]
fn what_was_written_stays() {
    let (_dir, mut store) = store();
    append(&mut store, &[mode(1), mode(2), mode(3)]);
    assert!(refused(&store, "UPDATE lines SET ts = 0 WHERE seq = 2").contains("append-only"));
    assert!(refused(&store, "DELETE FROM lines WHERE seq = 2").contains("only the oldest"));
    assert!(refused(&store, "DELETE FROM lines").contains("only the oldest"), "the newest stays");
    assert!(refused(&store, "INSERT INTO lines VALUES (2, 0, NULL, '{}')").contains("UNIQUE"));
    store.db.execute_batch("DELETE FROM lines WHERE seq <= 2").unwrap();
}

#[test]
fn a_batch_goes_in_whole_or_not_at_all() {
    let (dir, mut store) = store();
    append(&mut store, &[mode(1)]);
    let before = store.books.clone();
    // Someone else's lock makes the commit fail.
    let other = Connection::open(dir.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.db.busy_timeout(std::time::Duration::ZERO).unwrap();
    let records = [mode(2), Record::Attempt(attempt("kimi", 1, 1))];
    let result = store.append(records.iter(), &SettingChanges::new(), false);
    assert!(matches!(result, Err(LedgerError::Sqlite(_))), "{result:?}");
    assert_eq!((store.books.seq, store.books.head), (before.seq, before.head));
    assert!(store.books.upstreams.is_empty());
    other.execute_batch("ROLLBACK").unwrap();
    append(&mut store, &records);
    let lines: Vec<_> = store.appended().map(|(seq, _)| seq).collect();
    assert_eq!(lines, [2, 3]);
}

#[test]
fn the_books_are_the_same_after_a_restart() {
    let (dir, mut store) = store();
    let records = [1, 2, 5].map(|turn| Record::Attempt(attempt("kimi", turn, 1)));
    append(&mut store, &records);
    let before = store.books.clone();
    drop(store);
    let after = Store::open(dir.path()).unwrap().books;
    assert_eq!((after.seq, after.head, after.ts), (before.seq, before.head, before.ts));
    assert_eq!(after.bytes, before.bytes);
    assert_eq!(after.upstreams["kimi"].missing(6), [(3, 4), (6, 6)]);
    assert_eq!(after.upstreams["kimi"].last_turn, 5);
}

#[test]
fn stored_times_never_decrease() {
    let (_dir, mut store) = store();
    append(&mut store, &[mode(5), mode(3), mode(9)]);
    let mut query = store.db.prepare("SELECT ts FROM lines ORDER BY seq").unwrap();
    let times: Vec<i64> = query.query_map([], |row| row.get(0)).unwrap().flatten().collect();
    assert_eq!((times[1] - times[0], times[2] - times[0]), (0, 4000));
}

#[test]
fn a_newer_or_foreign_database_is_refused() {
    let (dir, store) = store();
    let path = dir.path().join(FILE);
    store.db.pragma_update(None, "user_version", 2).unwrap();
    drop(store);
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("has format 2, and this kmi knows formats up to 1: update kmi"));

    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE music (title TEXT)").unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is no kmi ledger (another program's database)"), "{error}");

    std::fs::write(&path, "not a database, but a long enough text ".repeat(50)).unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is no kmi ledger (not a database)"), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
