use jiff::SignedDuration;

use super::*;
use crate::{ledger::Ledger, settings::TraceSettings};

fn owner(n: usize) -> Owner {
    Owner { key: KeyId::parse(&format!("k-{n:08x}")).unwrap(), account: Some("my work".into()) }
}

fn at(second: usize) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::try_from(second).unwrap())
}

/// A ledger in a directory that lives as long, and the journals of upstreams on it.
fn journal(ledger: &Ledger, upstream: &str) -> Journal {
    Journal::new(upstream.into(), ledger.sink(), ledger.settings().clone())
}

fn ledger(dir: &tempfile::TempDir) -> Ledger {
    Ledger::open(dir.path(), &TraceSettings::default(), at(0)).unwrap().0
}

#[test]
fn files_outlive_a_restart_each_at_its_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let opened = ledger(&dir);
    let (kimi, open) = (journal(&opened, "kimi"), journal(&opened, "kimi.open"));
    let files = Files::open(&kimi);
    for (id, n) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
        files.remember(id, owner(n), &kimi, at(n));
    }
    files.forget("b", &kimi);
    files.forget("nothing", &kimi);
    Files::open(&open).remember("d", owner(5), &open, at(5));
    opened.close().unwrap();

    let opened = ledger(&dir);
    let files = Files::open(&journal(&opened, "kimi"));
    let known = ["a", "b", "c", "d"].map(|id| files.owner(id));
    assert_eq!(known, [Some(owner(4)), None, Some(owner(3)), None]);
    assert_eq!(Files::open(&journal(&opened, "kimi.open")).owner("d"), Some(owner(5)));
}

#[test]
fn the_oldest_file_leaves_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let opened = ledger(&dir);
    let journal = journal(&opened, "kimi");
    let files = Files::open(&journal);
    let id = |n: usize| format!("file-{n}");
    for n in 0..CAPACITY {
        files.remember(&id(n), owner(n), &journal, at(n));
    }
    // A file that is uploaded under its old id again is a new one.
    files.remember(&id(0), owner(0), &journal, at(CAPACITY));
    files.remember("newest", owner(7), &journal, at(CAPACITY + 1));
    for files in [files, Files::open(&journal)] {
        let known = ["file-0", "file-1", "file-2", "newest"].map(|id| files.owner(id).is_some());
        assert_eq!(known, [true, false, true, true]);
        assert_eq!(files.0.lock().len(), CAPACITY);
    }
}

#[test]
fn what_cannot_be_an_id_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let opened = ledger(&dir);
    let journal = journal(&opened, "kimi");
    let files = Files::open(&journal);
    for id in ["", "a/b", "a b", "é", "a\n", &"a".repeat(129)] {
        files.remember(id, owner(1), &journal, at(0));
        assert_eq!(files.owner(id), None, "{id:?}");
    }
    let longest = "a".repeat(128);
    files.remember(&longest, owner(1), &journal, at(0));
    assert_eq!(files.owner(&longest), Some(owner(1)));
}
