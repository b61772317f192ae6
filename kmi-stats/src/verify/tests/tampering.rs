//! Every kind of tampering is found, at the right line.

use kmi_core::trace::{Attempt, Epoch, Gap};

use super::*;

/// How many lines [`lines`] has: one each for the mode and the epoch, then turns.
const LINES: usize = 62;

fn lines() -> Vec<Vec<u8>> {
    let mut records = vec![mode()];
    records.extend(rotation(&[1; 5], LINES - 2));
    sealed(&records)
}

/// The first bad line after a change of the whole file.
fn first_bad(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Option<u64> {
    let mut lines = lines();
    change(&mut lines);
    let report = verify(&lines);
    assert_eq!(report.chain.ok, report.first_bad_seq.is_none());
    assert!(report.chain.ok || report.all.verdict == Verdict::Violated);
    report.first_bad_seq
}

fn edit(line: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(line.clone()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    *line = text.replacen(from, to, 1).into_bytes();
}

#[test]
fn in_every_line_an_edit_is_found() {
    for n in 2..=LINES {
        let edited = first_bad(|lines| edit(&mut lines[n - 1], "\"seq\":", "\"seq\": "));
        assert_eq!(edited, Some(n as u64), "a blank");
        let renumbered = first_bad(|lines| edit(&mut lines[n - 1], "\"seq\":", "\"seq\":1"));
        assert_eq!(renumbered, Some(n as u64), "another number");
    }
    let first = first_bad(|lines| edit(&mut lines[0], "auto", "manual"));
    assert_eq!(first, Some(1));
    assert_eq!(first_bad(|lines| edit(&mut lines[0], "\"seq\":1", "\"seq\":9")), Some(1));
    assert_eq!(first_bad(|lines| edit(&mut lines[6], "\"ok\"", "\"shutdown\"")), Some(7));
    assert_eq!(first_bad(|_| ()), None);
    // After epoch lines an export may go on with any line, but with none that was edited.
    let mut after_epoch = sealed(&rotation(&[1; 5], 100));
    edit(&mut after_epoch[1], "\"seq\":2", "\"seq\":12");
    assert_eq!(verify(&after_epoch).first_bad_seq, Some(2));
}

#[test]
fn deleted_inserted_and_moved_lines_are_found() {
    for n in 2..LINES {
        assert_eq!(first_bad(|lines| drop(lines.remove(n - 1))), Some(n as u64), "deleted");
        assert_eq!(first_bad(|lines| lines.swap(n - 1, n)), Some(n as u64), "swapped");
        let twice = first_bad(|lines| lines.insert(n, lines[n - 1].clone()));
        assert_eq!(twice, Some(n as u64 + 1), "twice");
        let garbage = first_bad(|lines| lines[n - 1] = b"\xff{]".to_vec());
        assert_eq!(garbage, Some(n as u64), "garbage");
    }
    let cut_short = first_bad(|lines| lines[LINES - 1].truncate(80));
    assert_eq!(cut_short, Some(LINES as u64));
}

/// One line edited, and its own hash made right again.
#[test]
fn a_line_that_was_sealed_anew_does_not_fit() {
    let found = first_bad(|lines| {
        let text = String::from_utf8(lines[49].clone()).unwrap().replacen("\"ok\"", "\"auth\"", 1);
        let body = text.rsplit_once(",\"hash\":\"").unwrap().0;
        let prev = text.rsplit_once("\"prev\":\"").unwrap().1;
        let hash = ChainHash::parse(&prev[..64]).unwrap().follow(body.as_bytes());
        lines[49] = format!("{body},\"hash\":\"{hash}\"}}").into_bytes();
    });
    assert_eq!(found, Some(51));
}

/// An unkeyed chain cannot show a cut tail; a head that was noted elsewhere does.
#[test]
fn a_cut_tail_is_found_with_a_noted_head() {
    let mut lines = lines();
    let noted = ChainHash::parse(&verify(&lines).chain.head).unwrap();
    let with_head = |lines: &[Vec<u8>], head| {
        let options = Options { head: Some(head), ..Options::default() };
        verify_with(lines, options, &InFlight::None)
    };
    let report = with_head(&lines, noted);
    assert_eq!(report.all.verdict, Verdict::Verified);
    let head = report.head.unwrap();
    assert_eq!((head.found, head.seq, head.lines_after), (true, Some(LINES as u64), Some(0)));
    lines.pop();
    assert_eq!(verify(&lines).all.verdict, Verdict::Verified);
    let last = LINES as u64 - 1;
    let report = with_head(&lines, noted);
    assert_eq!((report.all.verdict, report.chain.ok), (Verdict::Violated, true));
    assert!(!report.head.unwrap().found);
    assert_eq!(report.first_bad_seq, None);

    let earlier = ChainHash::parse(&verify(&lines[..50]).chain.head).unwrap();
    let head = with_head(&lines, earlier).head.unwrap();
    assert_eq!((head.seq, head.lines_after), (Some(50), Some(last - 50)));
    let head = with_head(&lines, ChainHash::START).head.unwrap();
    assert_eq!((head.seq, head.lines_after), (Some(0), Some(last)));
    let report = with_head(&[], ChainHash::START);
    assert_eq!(report.all.verdict, Verdict::InsufficientData);
    let report = with_head(&[], noted);
    assert_eq!(report.all.verdict, Verdict::Violated, "nothing is left of what was noted");
    assert!(!report.head.unwrap().found);
}

/// Epoch lines may stand apart before an export's stretch: once each, and nothing else may.
#[test]
fn only_epoch_lines_stand_apart() {
    let lines = sealed(&rotation(&[1; 5], 100));
    let found = |lines: &[&[Vec<u8>]]| verify(&lines.concat()).first_bad_seq;
    assert_eq!(found(&[&lines[..1], &lines[50..]]), None);
    assert_eq!(found(&[&lines[..1], &lines]), Some(2), "the epoch's line twice");
    assert_eq!(found(&[&lines[..1], &lines[50..51], &lines[52..]]), Some(52));
    // The first line of the stretch lacks its masks.
    let lines = without_masks(&sealed(&rotation(&[1; 4], 100)), 50);
    assert_eq!(found(&[&lines[..1], &lines[50..]]), None);
    assert_eq!(found(&[&lines[..1], &lines[50..51], &lines[52..]]), Some(52));
}

#[test]
fn the_first_bad_line_is_put_in_words() {
    let error = |change: fn(&mut Vec<Vec<u8>>)| {
        let mut lines = lines();
        change(&mut lines);
        verify(&lines).chain.error.unwrap()
    };
    assert_eq!(error(|it| drop(it.remove(30))), "line 32 is in its place");
    let other = |it: &mut Vec<Vec<u8>>| it[30] = sealed(&rotation(&[1; 5], 40))[30].clone();
    assert_eq!(error(other), "it does not follow the line before it");
    let edited = |it: &mut Vec<Vec<u8>>| edit(&mut it[30], "\"ok\"", "\"quota\"");
    assert_eq!(error(edited), "its bytes do not have the hash that stands at its end");
}

/// What is no line is counted too, wherever it stands.
#[test]
fn what_is_no_line_is_counted() {
    let garbage = vec![b"\xff{]".to_vec()];
    let report = verify(&[garbage.clone(), lines()].concat());
    assert_eq!((report.chain.records, report.first_bad_seq), (LINES as u64 + 1, Some(1)));
    assert_eq!((report.chain.first_seq, report.chain.last_seq), (Some(1), Some(LINES as u64)));
    let report = verify(&[lines(), garbage].concat());
    assert_eq!((report.chain.records, report.chain.ok), (LINES as u64 + 1, false));
}

/// 32 MiB ([`MAX_LINE`], which writers and readers of traces rely on); what is longer is not looked at.
#[test]
fn a_line_may_have_32_mib() {
    let error = |bytes| verify(&[vec![b'x'; bytes]]).chain.error.unwrap();
    assert_ne!(error(32 << 20), "the line is too long");
    assert_eq!(error((32 << 20) + 1), "the line is too long");
    assert_eq!(error((32 << 20) + 2), "the line is too long");
}

/// The whole chain is made anew by somebody who knows how, so only the rules can find it.
fn forged(change: impl FnOnce(&mut Vec<Record>)) -> Report {
    let mut records = rotation(&[1; 5], 100);
    change(&mut records);
    let report = verify_records(&records);
    assert!(report.chain.ok);
    report
}

fn violations(change: impl FnOnce(&mut Vec<Record>)) -> u64 {
    let report = forged(change);
    assert_eq!(report.all.verdict == Verdict::Violated, report.all.violations > 0);
    assert_eq!(report.findings.is_empty(), report.all.violations == 0);
    report.all.violations
}

#[test]
fn forged_turns_are_found() {
    assert_eq!(violations(|_| ()), 0);
    let at = |n: usize, change: fn(&mut Attempt)| violations(|it| change(attempt_of(&mut it[n])));
    assert_eq!(at(50, |it| it.key = "k-00000009".into()), 1, "another key");
    assert_eq!(at(50, |it| it.slot = Some(0)), 2, "another slot, and the next turn hangs loose");
    assert_eq!(at(50, |it| it.slot = Some(5)), 2, "a slot outside");
    assert_eq!(at(50, |it| it.slot = Some(usize::MAX)), 2, "far outside");
    assert_eq!(at(50, |it| it.slot = None), 1, "no slot");
    assert_eq!(at(50, |it| it.prev_slot = Some(usize::MAX)), 1);
    assert_eq!(at(50, |it| it.prev_slot = None), 1);
    assert_eq!(at(50, |it| it.eligible = Arc::new(KeySet::full(6))), 1, "more keys than there are");
    assert_eq!(at(50, |it| it.eligible = Arc::default()), 1, "nobody eligible");
    assert_eq!(at(50, |it| it.tried = KeySet::full(5)), 1, "all were tried");
    assert_eq!(at(50, |it| it.tried = [64].into_iter().collect()), 1);
    assert_eq!(at(50, |it| it.turn = Some(49)), 1, "a number used twice");
    assert_eq!(at(50, |it| it.turn = Some(0)), 1, "turn 0");
    assert_eq!(at(1, |it| it.prev_slot = Some(4)), 1, "turn 1 does not start at the start");
}

/// A skipped key with a mask that excuses it is consistent by itself, but a key that was left
/// out of a jump shows at the next turn.
#[test]
fn a_forged_cursor_is_found() {
    let jump = |it: &mut Attempt| {
        (it.prev_slot, it.slot) = (Some(2), Some(3));
        (it.key, it.label) = ("k-00000003".into(), "key-03".into());
    };
    // Turn 50 serves key 4 after 3; now it claims to have served key 3 after 2.
    let report = forged(|it| jump(attempt_of(&mut it[50])));
    assert_eq!(report.all.violations, 2);
    assert_eq!(report.findings[0].turn, Some(50));
    assert!(report.findings[0].what.contains("the turn before ended at slot 3"), "{report:?}");
}

#[test]
fn forged_epochs_are_found() {
    let ring = Ring::new(&[Seat::default(); 5]).unwrap();
    let new = |cursor| epoch(2, &ring, cursor);
    // Turn 50 served key 4; the ring is the same, so epoch 2 must start at slot 4.
    let with = |epoch: Epoch| {
        violations(|it| {
            it[51..].iter_mut().for_each(|it| attempt_of(it).epoch = 2);
            it.insert(51, Record::Epoch(epoch));
        })
    };
    assert_eq!(with(new(Some(4))), 0);
    assert_eq!(with(new(Some(3))), 1, "the first turn cannot start there");
    assert_eq!(with(new(None)), 1);
    assert_eq!(with(new(Some(5))), 1, "a cursor outside; its turns are unverifiable");
    assert_eq!(with(Epoch { epoch: 1, ..new(Some(4)) }), 1, "a number used twice");
    assert_eq!(with(Epoch { ring: vec![0, 1, 2, 3, 3], ..new(Some(4)) }), 1);
    assert_eq!(with(Epoch { ring: vec![1, 0, 2, 3, 4], ..new(Some(4)) }), 1);
    assert_eq!(with(Epoch { ring: Vec::new(), keys: Vec::new(), ..new(None) }), 1);
    let mut twice = new(Some(4));
    twice.keys[1].key = Arc::clone(&twice.keys[0].key);
    assert_eq!(with(twice), 1, "a key named twice");
    let mut heavy = new(Some(4));
    heavy.keys[1].weight = u32::MAX;
    assert_eq!(with(heavy), 1, "a huge weight");

    // The cursor and the first turn both jump: only the rule for new cursors finds that.
    let report = forged(|it| {
        it.truncate(51);
        it.push(Record::Epoch(new(Some(1))));
        for n in 51..=100 {
            let slot = |n: usize| (n + 1) % 5;
            let mut turn = attempt_of(&mut it[50]).clone();
            (turn.turn, turn.epoch) = (Some(n as u64), 2);
            (turn.prev_slot, turn.slot) = (Some(slot(n - 1)), Some(slot(n)));
            turn.key = format!("k-{:08x}", slot(n)).into();
            it.push(Record::Attempt(turn));
        }
        let skip = |it: &mut Record| {
            let slot = (attempt_of(it).slot.unwrap() + 4) % 5;
            attempt_of(it).prev_slot = Some((slot + 4) % 5);
            attempt_of(it).slot = Some(slot);
            attempt_of(it).key = format!("k-{slot:08x}").into();
        };
        it[52..].iter_mut().for_each(skip);
    });
    assert_eq!(report.all.violations, 1, "{:?}", report.findings);
    assert!(report.findings[0].what.contains("it must start at slot 4"), "{report:?}");

    // Turns of an older epoch after turns of a newer one.
    let back = violations(|it| {
        it[51..].iter_mut().for_each(|it| attempt_of(it).epoch = 2);
        it.insert(51, Record::Epoch(new(Some(4))));
        attempt_of(&mut it[60]).epoch = 1;
    });
    assert!(back >= 1);
}

#[test]
fn forged_gaps_are_found_and_cost_nothing() {
    let with = |gap: Gap| violations(|it| it.push(Record::Gap(gap)));
    assert_eq!(with(gap(101, 102, Some(vec![0, 1]))), 0);
    assert_eq!(with(gap(100, 102, None)), 1, "turn 100 has ended");
    assert_eq!(with(gap(1, 1 << 60, None)), 1);
    assert_eq!(with(gap(0, 3, None)), 1);
    assert_eq!(with(gap(102, 101, None)), 1);
    assert_eq!(with(gap(101, 103, Some(vec![0, 1]))), 1, "two slots for three turns");
    assert_eq!(with(gap(101, u64::MAX, Some(vec![0, 1]))), 1);
    assert_eq!(with(gap(101, 102, Some(vec![0, 99]))), 1);
    assert_eq!(with(gap(101, 101, Some(Vec::new()))), 1);
    // A turn that a gap has given up cannot end later.
    assert_eq!(violations(|it| it.insert(2, Record::Gap(gap(50, 50, Some(vec![4]))))), 1);

    let huge = forged(|it| it.push(Record::Gap(gap(200, 1 << 60, None))));
    assert_eq!((huge.all.verdict, huge.all.open), (Verdict::Incomplete, 99));
    assert_eq!(huge.all.gap_turns, (1 << 60) - 199);
    let huge = forged(|it| attempt_of(&mut it[100]).turn = Some(1 << 63));
    assert_eq!((huge.all.verdict, huge.all.open), (Verdict::Incomplete, (1 << 63) - 100));
    let last = forged(|it| attempt_of(&mut it[100]).turn = Some(u64::MAX));
    assert_eq!((last.all.turns, last.all.open), (100, u64::MAX - 100));
}

#[test]
fn lines_that_hold_nonsense_are_found() {
    let next = LINES as u64 + 1;
    let sealed_text = |text: &str| {
        let lines = lines();
        let head = verify(&lines).chain.head;
        let body = format!("{{\"seq\":{next},{text},\"prev\":\"{head}\"");
        let hash = ChainHash::parse(&head).unwrap().follow(body.as_bytes());
        let line = format!("{body},\"hash\":\"{hash}\"}}").into_bytes();
        verify(&[lines, vec![line]].concat())
    };
    let unknown = sealed_text(r#""type":"weather""#);
    assert_eq!((unknown.all.verdict, unknown.chain.records), (Verdict::Verified, next));
    let newer = sealed_text(r#""type":"mode","mode":"clever""#);
    assert_eq!((newer.all.verdict, newer.chain.ok), (Verdict::Verified, true));
    for nonsense in [
        r#""type":"epoch","epoch":-1"#,
        r#""type":"gap","from_turn":1e99"#,
        r#""type":"attempt","turn":-5,"upstream":"kimi""#,
        r#""type":"attempt","turn":61"#,
    ] {
        let report = sealed_text(nonsense);
        assert!(report.chain.ok, "{nonsense}");
        assert_eq!(report.findings[0].upstream, None, "{nonsense}");
        assert_eq!(
            (report.all.verdict, report.all.violations),
            (Verdict::Violated, 1),
            "{nonsense}"
        );
    }
    for broken in [
        &b"\xff\xfe"[..],
        b"{}",
        b"null",
        b"{\"type\":\"filtered\"}",
        &[b'['; 10_000],
        b"\r",
        br#"{"seq":1,"hash":"0000000000000000000000000000000000000000000000000000000000000000"}"#,
    ] {
        let report = verify(&[lines(), vec![broken.to_vec()]].concat());
        assert_eq!(report.first_bad_seq, Some(next), "{:?}", String::from_utf8_lossy(broken));
    }
}

/// Violations beyond those that a report lists are still counted.
#[test]
fn the_first_violations_are_put_in_words() {
    let report = forged(|it| {
        it[1..].iter_mut().for_each(|it| attempt_of(it).key = "k-00000009".into());
    });
    assert_eq!((report.all.violations, report.findings.len()), (100, MAX_FINDINGS));
    let first = &report.findings[0];
    assert_eq!((first.seq, first.turn, first.upstream.as_deref()), (2, Some(1), Some("kimi")));
}

#[test]
fn foreign_words_cannot_act_on_a_terminal() {
    let report = forged(|it| {
        attempt_of(&mut it[50]).key = "\u{1b}[2J".into();
        let mut gap = gap(101, 101, None);
        gap.reason = "\u{202e}x".into();
        it.push(Record::Gap(gap));
    });
    assert!(report.findings[0].what.contains("\\u{1b}[2J"));
    assert_eq!(report.all.gaps[0].reason, "\\u{202e}x");
}
