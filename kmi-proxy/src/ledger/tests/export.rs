//! What an export holds: by time, filtered, as a table.

use super::*;

#[test]
fn an_export_by_time_is_preceded_by_the_epochs_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let mut page = ledger.page("kimi").unwrap();
    ledger.sink().push(Record::Epoch(epoch("kimi", 1, 3)));
    serve(&ledger, &mut page, 1..=4, 1);
    ledger.sink().push(Record::Epoch(epoch("kimi", 2, 3)));
    serve(&ledger, &mut page, 5..=9, 2);

    let seqs = |what: &Export| {
        let text = export(dir.path(), what);
        verified(&text);
        text.lines().map(|line| Line::parse(line.as_bytes()).unwrap().place.seq).collect::<Vec<_>>()
    };
    let between = |since, until| Export {
        since: Some(at(since)),
        until: Some(at(until)),
        ..Export::default()
    };
    assert_eq!(seqs(&between(0, 99)), (1..=11).collect::<Vec<_>>());
    // Turn t ended at second t; lines 2 to 5 are turns 1 to 4, lines 7 to 11 turns 5 to 9.
    assert_eq!(seqs(&between(3, 4)), [1, 4, 5, 6], "an epoch's own time may lie before the line");
    assert_eq!(seqs(&between(7, 8)), [6, 9, 10]);
    assert_eq!(seqs(&Export { since: Some(at(9)), ..Export::default() }), [6, 11]);
    assert_eq!(seqs(&Export { until: Some(at(2)), ..Export::default() }), [1, 2, 3]);
    assert_eq!(seqs(&between(50, 60)), [0; 0]);
}

#[test]
fn an_old_epoch_is_in_force_as_long_as_its_turns_are_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let push = |record| {
        ledger.sink().push(record);
        ledger.flush().unwrap();
    };
    push(Record::Epoch(epoch("kimi", 1, 3)));
    push(Record::Epoch(epoch("kimi", 2, 3)));
    push(Record::Attempt(attempt("kimi", 2, 2)));
    push(Record::Attempt(attempt("kimi", 1, 1)));
    push(Record::Attempt(attempt("kimi", 3, 2)));
    let reader = Reader::open(dir.path()).unwrap();
    let epochs = |seq| {
        let lines = reader.epochs_in_force(seq).unwrap();
        lines.iter().map(|line| line.seq).collect::<Vec<_>>()
    };
    assert_eq!(epochs(1), [0; 0]);
    assert_eq!(epochs(4), [1, 2], "turn 1 of epoch 1 ends in line 4");
    assert_eq!(epochs(5), [2]);
}

#[test]
fn a_filtered_export_says_so_first() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    ledger.sink().push(Record::Epoch(epoch("kimi", 1, 3)));
    serve(&ledger, &mut ledger.page("kimi").unwrap(), 1..=12, 1);
    let by = |key: Option<&str>, outcome| {
        let what = Export { key: key.map(Into::into), outcome, ..Export::default() };
        let text = export(dir.path(), &what);
        let mut lines = text.lines();
        let first = lines.next().unwrap().to_owned();
        let turn = |line: &str| match Line::parse(line.as_bytes()).unwrap().record {
            Some(Record::Attempt(it)) => it.turn.unwrap(),
            other => panic!("{other:?}"),
        };
        (first, lines.map(turn).collect::<Vec<_>>())
    };
    let said = |by: &str| format!(r#"{{"type":"filtered","by":{by}}}"#);
    assert_eq!(by(Some("beta"), None), (said(r#"{"key":"beta"}"#), vec![2, 5, 8, 11]));
    assert_eq!(by(Some("00000001"), None).1, [2, 5, 8, 11]);
    let limited = Some(Outcome::RateLimited);
    assert_eq!(by(None, limited), (said(r#"{"outcome":"rate_limited"}"#), vec![5, 10]));
    assert_eq!(by(Some("beta"), limited).1, [5]);
    assert_eq!(by(Some("nobody"), None).1, [0; 0]);
}

#[test]
fn a_table_has_one_row_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path());
    let mut evil = attempt("kimi", 1, 1);
    evil.error = Some("=cmd|' /C calc'!A0".into());
    ledger.sink().push(Record::Attempt(evil));
    ledger.sink().push(mode(3));
    ledger.flush().unwrap();
    let mut out = Vec::new();
    let rows = Reader::open(dir.path()).unwrap().export_csv(&Export::default(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!((rows, text.split_terminator("\r\n").count()), (2, 3));
    assert!(text.starts_with("type,seq,ts,turn,"));
    assert!(text.contains(",\"'=cmd|' /C calc'!A0\","), "{text}");
}
