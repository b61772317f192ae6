mod checkpoints;
mod crash;
mod export;
mod losses;
mod orders;

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use kmi_core::{
    outcome::Outcome,
    trace::{ChainHash, Line, Record},
};

use super::{
    samples::{at, attempt, epoch, mode},
    *,
};

pub(super) fn open(dir: &Path) -> (Ledger, Recovered) {
    loop {
        match Ledger::open(dir, &TraceSettings::default(), at(1000)) {
            // Another test's child holds all open files, and their locks, until it is a program.
            Err(LedgerError::Locked { .. }) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// Gives out turns and records their ends, as a proxy does.
fn serve(ledger: &Ledger, page: &mut TurnPage, turns: std::ops::RangeInclusive<u64>, epoch: u64) {
    for turn in turns {
        page.record(turn, epoch, attempt("kimi", turn, epoch).slot.unwrap());
        ledger.sink().push(Record::Attempt(attempt("kimi", turn, epoch)));
    }
    ledger.flush().unwrap();
}

/// Checks the chain of what is exported and returns its contiguous part.
pub(super) fn verified(jsonl: &str) -> Vec<Line> {
    let lines: Vec<Line> =
        jsonl.lines().map(|line| Line::parse(line.as_bytes()).unwrap()).collect();
    assert!(lines.iter().all(|line| line.place.hash == line.place.computed), "every line is whole");
    let jump = lines.windows(2).rposition(|pair| pair[0].place.seq + 1 != pair[1].place.seq);
    let (before, chain) = lines.split_at(jump.map_or(0, |at| at + 1));
    assert!(before.iter().all(|line| matches!(line.record, Some(Record::Epoch(_)))));
    assert!(
        chain.windows(2).all(|pair| pair[0].place.hash == pair[1].place.prev),
        "the chain is whole"
    );
    if chain.first().is_some_and(|line| line.place.seq == 1) {
        assert_eq!(chain[0].place.prev, ChainHash::START);
    }
    chain.to_vec()
}

pub(super) fn export(dir: &Path, what: &Export) -> String {
    let mut out = Vec::new();
    let written = Reader::open(dir).unwrap().export_jsonl(what, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count() as u64, written);
    text
}

fn kinds(lines: &[Line]) -> Vec<&'static str> {
    lines.iter().filter_map(|line| line.record.as_ref().map(Record::kind)).collect()
}

#[test]
fn what_is_pushed_is_read_back_in_order_and_chained() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, recovered) = open(dir.path());
    assert!(recovered.upstreams.is_empty() && recovered.gaps == 0);
    ledger.sink().push(mode(0));
    ledger.sink().push(Record::Epoch(epoch("kimi", 1, 3)));
    let mut page = ledger.page("kimi").unwrap();
    serve(&ledger, &mut page, 1..=3, 1);

    let lines = verified(&export(dir.path(), &Export::default()));
    assert_eq!(kinds(&lines), ["mode", "epoch", "attempt", "attempt", "attempt"]);
    assert_eq!(lines[4].record, Some(Record::Attempt(attempt("kimi", 3, 1))));
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.head().unwrap(), Some((5, lines[4].place.hash)));
    assert_eq!(ledger.head(), (5, lines[4].place.hash));
    let tail = |n| reader.tail(n).unwrap().iter().map(|line| line.seq).collect::<Vec<_>>();
    assert_eq!((tail(2), tail(9)), (vec![4, 5], vec![1, 2, 3, 4, 5]));
    assert_eq!(reader.find("2").unwrap()[0].seq, 4);
    assert_eq!(reader.find("r3").unwrap()[0].seq, 5);
    assert!(reader.find("r").unwrap().is_empty());
}

#[test]
fn a_rotation_goes_on_in_place_after_a_stop_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    ledger.sink().push(Record::Epoch(epoch("kimi", 1, 3)));
    let mut page = ledger.page("kimi").unwrap();
    serve(&ledger, &mut page, 1..=5, 1);
    drop(page);
    ledger.close().unwrap();

    let (ledger, recovered) = open(dir.path());
    let resumed = &recovered.upstreams["kimi"];
    assert_eq!(resumed.epoch_in_force(), Some(&epoch("kimi", 1, 3)));
    assert_eq!((resumed.last_turn, resumed.cursor, recovered.gaps), (5, Some(1), 0));
    let mut page = ledger.page("kimi").unwrap();
    serve(&ledger, &mut page, 6..=7, 1);
    ledger.close().unwrap();
    let lines = verified(&export(dir.path(), &Export::default()));
    assert_eq!(lines.len(), 8);
}

#[test]
fn settings_outlive_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let settings = ledger.settings();
    settings.set("mode", "auto");
    settings.set("disabled/0a", "user");
    settings.set("disabled/0b", "user");
    settings.remove("disabled/0a");
    assert_eq!(settings.get("mode").as_deref(), Some("auto"));
    ledger.close().unwrap();

    let (ledger, _) = open(dir.path());
    let disabled = [("disabled/0b".to_owned(), "user".to_owned())];
    assert_eq!(ledger.settings().with_prefix("disabled/"), disabled);
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.setting("mode").unwrap().as_deref(), Some("auto"));
    assert_eq!(reader.setting("disabled/0a").unwrap(), None);
}

#[test]
fn one_process_writes_and_one_page_is_out() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let second = Ledger::open(dir.path(), &TraceSettings::default(), at(0));
    assert!(matches!(second.unwrap_err(), LedgerError::Locked { pid: Some(_), .. }));
    let page = ledger.page("kimi").unwrap();
    assert!(matches!(ledger.page("kimi"), Err(LedgerError::PageTaken(_))));
    drop(page);
    ledger.page("kimi").unwrap();
    ledger.page("other").unwrap();
}

#[test]
fn every_file_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("home/state");
    let (ledger, _) = open(&state);
    ledger.sink().push(mode(0));
    let _page = ledger.page("kimi").unwrap();
    ledger.flush().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    let files = ["ledger.db", "ledger.db-shm", "ledger.db-wal", "ledger.lock", "turns-kimi.page"];
    assert_eq!(names, files);
}

#[test]
fn watchers_see_committed_lines_and_what_they_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let mut watcher = ledger.subscribe();
    ledger.sink().push(mode(1));
    let Some(Live::Line(line)) = watcher.blocking_recv() else { panic!("no line") };
    assert_eq!(line.seq, 1);
    assert!(line.text.starts_with(br#"{"type":"mode","seq":1,"#));

    for n in 0..5000 {
        ledger.sink().push(mode(n));
    }
    ledger.flush().unwrap();
    assert_eq!(watcher.blocking_recv(), Some(Live::Missed(5000 - 4096)));
    let Some(Live::Line(line)) = watcher.blocking_recv() else { panic!("no line") };
    assert_eq!(line.seq, 5001 - 4096 + 1);
    ledger.close().unwrap();
    let rest = std::iter::from_fn(|| watcher.blocking_recv()).count();
    assert_eq!(rest, 4095);
}

#[test]
fn after_the_end_records_are_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let sink = ledger.sink();
    sink.push(mode(1));
    ledger.close().unwrap();
    sink.push(mode(2));
    assert_eq!((sink.dropped(), sink.is_recording()), (1, false));
    assert_eq!(verified(&export(dir.path(), &Export::default())).len(), 1);
}

#[test]
fn retention_keeps_the_size_and_the_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let settings = TraceSettings { retention: 100_000, ..TraceSettings::default() };
    let (ledger, _) = Ledger::open(dir.path(), &settings, at(0)).unwrap();
    let mut page = ledger.page("kimi").unwrap();
    ledger.sink().push(Record::Epoch(epoch("kimi", 1, 3)));
    for round in 0..20 {
        serve(&ledger, &mut page, round * 50 + 1..=round * 50 + 50, 1);
    }
    drop(page);
    ledger.close().unwrap();

    let text = export(dir.path(), &Export::default());
    let lines = verified(&text);
    assert!(text.len() < 110_000, "{}", text.len());
    assert!(text.len() > 50_000, "{}", text.len());
    assert!(lines[0].place.seq > 800);
    let first = Line::parse(text.lines().next().unwrap().as_bytes()).unwrap();
    assert_eq!(first.record, Some(Record::Epoch(epoch("kimi", 1, 3))), "the ring stays known");
    assert_eq!(lines.last().unwrap().place.seq, 1001);
    let (_ledger, recovered) = open(dir.path());
    assert_eq!(recovered.upstreams["kimi"].last_turn, 1000);
    assert_eq!(recovered.upstreams["kimi"].epoch, Some(epoch("kimi", 1, 3)));
}

#[test]
fn a_retired_line_is_an_error_not_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let settings = TraceSettings { retention: 1, ..TraceSettings::default() };
    let (ledger, _) = Ledger::open(dir.path(), &settings, at(0)).unwrap();
    ledger.sink().push(mode(1));
    ledger.sink().push(mode(2));
    ledger.flush().unwrap();
    ledger.close().unwrap();
    let (ledger, _) = Ledger::open(dir.path(), &settings, at(0)).unwrap();
    ledger.sink().push(mode(3));
    ledger.close().unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let (first, last) = reader.span().unwrap().unwrap();
    assert!(first > 1 && first <= last, "the newest line always stays");
    let read: Result<Vec<_>, _> = reader.lines(1, last).collect();
    let Err(LedgerError::Retired { expected: 1, found }) = read else { panic!("{read:?}") };
    assert_eq!(found, first);

    // Also where no line of the range is left: an export would end as if it were whole.
    let read: Result<Vec<_>, _> = reader.lines(1, first - 1).collect();
    let Err(LedgerError::Retired { expected: 1, found }) = read else { panic!("{read:?}") };
    assert_eq!(found, first);
    let to_come: Result<Vec<_>, _> = reader.lines(last + 1, last + 9).collect();
    assert_eq!(to_come.unwrap(), [], "what is not written yet is no loss");
}

#[test]
fn a_reader_needs_a_ledger() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(dir.path()), Err(LedgerError::Missing(_))));
    let (ledger, _) = open(dir.path());
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!((reader.span().unwrap(), reader.head().unwrap()), (None, None));
    assert_eq!(export(dir.path(), &Export::default()), "");
    drop(ledger);
}

#[test]
fn reading_and_writing_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    std::thread::scope(|scope| {
        let sink = ledger.sink();
        let writing = scope.spawn(move || {
            (1..=3000).for_each(|turn| sink.push(Record::Attempt(attempt("kimi", turn, 1))));
        });
        while !writing.is_finished() {
            let lines = verified(&export(dir.path(), &Export::default()));
            assert!(lines.first().is_none_or(|line| line.place.seq == 1));
        }
    });
    ledger.close().unwrap();
    assert_eq!(verified(&export(dir.path(), &Export::default())).len(), 3000);
}

#[test]
fn many_threads_record_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let sink = Arc::new(ledger.sink());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let sink = Arc::clone(&sink);
            scope.spawn(move || {
                for n in 0..500 {
                    sink.push(Record::Attempt(attempt("kimi", thread * 500 + n + 1, 1)));
                }
            });
        }
    });
    ledger.close().unwrap();
    let lines = verified(&export(dir.path(), &Export::default()));
    assert_eq!(lines.len(), 2000);
}
