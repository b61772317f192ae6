//! What a full queue or a full disk keeps out is declared.

use super::{super::queue::RESERVE, *};

#[test]
fn an_overflowing_queue_declares_the_turns_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) =
        Ledger::open_with_queue(dir.path(), &TraceSettings::default(), at(0), 3).unwrap();
    // Another connection holds the database: the writer cannot get on.
    let blocker = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sink = ledger.sink();
    for turn in 1..=20 {
        sink.push(Record::Attempt(attempt("kimi", turn, 1)));
    }
    assert!(!sink.is_recording());
    let dropped = sink.dropped();
    assert!((14..=17).contains(&dropped), "3 wait, and at most 3 were taken: {dropped}");
    sink.push(mode(21));
    assert_eq!(sink.dropped(), dropped, "there is room for what no gap can stand for");
    blocker.execute_batch("ROLLBACK").unwrap();
    ledger.flush().unwrap();
    assert!(sink.is_recording());
    assert_eq!(sink.dropped(), dropped);

    let lines = verified(&export(dir.path(), &Export::default()));
    let mut seen = BTreeMap::new();
    for line in &lines {
        match line.record.as_ref().unwrap() {
            Record::Attempt(it) => assert_eq!(seen.insert(it.turn.unwrap(), it.slot), None),
            Record::Gap(gap) => {
                assert_eq!((&*gap.reason, gap.epoch), ("queue_full", 1));
                let slots = gap.slots.clone().unwrap();
                for (turn, slot) in (gap.from_turn..=gap.to_turn).zip(slots) {
                    assert_eq!(seen.insert(turn, Some(slot)), None);
                }
            }
            other => assert_eq!(other.kind(), "mode"),
        }
    }
    let expected: BTreeMap<_, _> =
        (1..=20).map(|turn| (turn, attempt("kimi", turn, 1).slot)).collect();
    assert_eq!(seen, expected);
}

/// Without its epoch's line no turn can be verified, so what else waits does not keep it out.
#[test]
fn a_flood_of_other_lines_leaves_room_for_epochs() {
    let queue = Arc::new(Queue::new(3));
    let sink = Sink(Arc::clone(&queue));
    let flood = |n: usize| (0..n as u64).for_each(|n| sink.push(mode(n)));
    let begin = |n: usize| {
        (1..=n as u64).for_each(|n| sink.push(Record::Epoch(epoch("kimi", n, 1))));
    };
    flood(3 + RESERVE + 5);
    assert_eq!(sink.dropped(), 5);
    begin(RESERVE);
    assert_eq!(sink.dropped(), 5);
    begin(2);
    flood(1);
    sink.push(Record::Attempt(attempt("kimi", 1, 1)));
    assert_eq!(sink.dropped(), 9, "there is a bound for everything");
    let kept = queue.take(Vec::new()).records;
    let epochs = kept.iter().filter(|it| matches!(it, Record::Epoch(_))).count();
    assert_eq!((kept.len(), epochs), (3 + 2 * RESERVE, RESERVE));
}

/// A disk that takes no lines, until it is dropped.
struct FullDisk(rusqlite::Connection);

impl FullDisk {
    fn fill(dir: &Path) -> Self {
        let db = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
        let sql = "CREATE TRIGGER disk BEFORE INSERT ON lines BEGIN
            SELECT RAISE(ABORT, 'the disk is full'); END";
        db.execute_batch(sql).unwrap();
        Self(db)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        self.0.execute_batch("DROP TRIGGER disk").unwrap();
    }
}

#[test]
fn while_the_disk_refuses_lines_are_kept_then_counted_then_declared() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) =
        Ledger::open_with_queue(dir.path(), &TraceSettings::default(), at(0), 3).unwrap();
    let sink = ledger.sink();
    let disk = FullDisk::fill(dir.path());
    sink.push(Record::Attempt(attempt("kimi", 1, 1)));
    let error = ledger.flush().unwrap_err().to_string();
    assert!(error.contains("the disk is full"), "{error}");
    assert!(!sink.is_recording());
    assert!(sink.failure().unwrap().contains("the disk is full"));
    for turn in 2..=10 {
        sink.push(Record::Attempt(attempt("kimi", turn, 1)));
    }
    assert_eq!(sink.dropped(), 6, "three of nine wait");
    drop(disk);
    // The flush that comes while the writer still pauses is told of no new failure.
    ledger.flush().unwrap();
    assert!(sink.is_recording());
    assert_eq!(sink.failure(), None);

    let lines = verified(&export(dir.path(), &Export::default()));
    assert_eq!(kinds(&lines), ["attempt", "attempt", "attempt", "attempt", "gap"]);
    let found = Reader::open(dir.path()).unwrap().find("7").unwrap();
    assert_eq!(found.iter().map(|line| line.seq).collect::<Vec<_>>(), [5], "the gap tells of it");
    let Some(Record::Gap(gap)) = &lines[4].record else { panic!("no gap") };
    assert_eq!((gap.from_turn, gap.to_turn, &*gap.reason), (5, 10, "disk_error"));
    assert_eq!(gap.slots, Some(vec![1, 2, 0, 1, 2, 0]));
}

/// A writer that has been told to end, over a store that is marked as in use.
fn ending(dir: &Path) -> Writer {
    let store = Store::open(dir).unwrap();
    store.mark(false, None).unwrap();
    Writer {
        state_dir: dir.to_owned(),
        signed: 0,
        signer: Arc::default(),
        head: Arc::new(Mutex::new((0, ChainHash::START))),
        store,
        queue: Arc::new(Queue::new(3)),
        live: Publisher::new().0,
        retention: u64::MAX,
    }
}

/// The mark says that ledger and page on the disk know every turn: then an outage after the end
/// costs no number.
#[test]
fn only_an_end_that_left_nothing_is_one_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ending(dir.path());
    writer.end().unwrap();
    assert!(writer.store.before().unwrap().clean);

    let mut writer = ending(dir.path());
    // It came after the writer had taken its last batch.
    Sink(Arc::clone(&writer.queue)).push(Record::Attempt(attempt("kimi", 1, 1)));
    writer.end().unwrap();
    assert!(!writer.store.before().unwrap().clean);

    let mut writer = ending(dir.path());
    std::fs::create_dir(dir.path().join("turns-kimi.page")).unwrap();
    assert!(writer.end().is_err(), "a page that cannot be synced");
    assert!(!writer.store.before().unwrap().clean);
}

#[test]
fn what_a_full_disk_kept_out_at_the_end_is_declared_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let mut page = ledger.page("kimi").unwrap();
    serve(&ledger, &mut page, 1..=2, 1);
    let disk = FullDisk::fill(dir.path());
    page.record(3, 1, 2);
    let sink = ledger.sink();
    sink.push(Record::Attempt(attempt("kimi", 3, 1)));
    assert!(ledger.close().is_err());
    assert_eq!(sink.dropped(), 1, "also what the writer had in hand is counted");
    drop((disk, page));
    let (ledger, recovered) = open(dir.path());
    assert_eq!((recovered.gaps, recovered.upstreams["kimi"].last_turn), (1, 3));
    ledger.close().unwrap();
}
