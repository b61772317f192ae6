//! One table of damage that can be done to a trace, and how each kind is found.

use kmi_core::trace::{Attempt, Checkpoint};

use super::*;
use crate::checkpoint::Signer;

/// Lines of the trace: the mode, the epoch, then turns, with a checkpoint as line 40.
const LINES: usize = 101;
/// Turn `n` stands in line `n + 2` before the checkpoint.
const fn line_of(turn: u64) -> u64 {
    turn + 2
}

/// How damage shows.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// The chain breaks at this line.
    Chain(u64),
    /// The chain was made anew, but this line breaks a rule.
    Rule(u64),
    /// The head that was kept elsewhere is not in it.
    Head,
    /// So many turns are in no line: incomplete.
    Open(u64),
}

/// What the sceptic holds in his hands beside the file.
enum Held {
    Nothing,
    /// The head of the undamaged trace.
    Head,
    /// The counter page: how many turns were given out.
    Page,
    /// The public key of whoever signs the checkpoints.
    Key,
}

/// Damage to the bytes of a file, or to its records before it is chained anew.
enum Damage {
    Bytes(fn(&mut Vec<Vec<u8>>)),
    Records(fn(&mut Vec<Record>)),
}

use Damage::{Bytes, Records};

fn signer(seed: u8) -> Signer {
    Signer::new(&[seed; 32]).unwrap()
}

fn records() -> Vec<Record> {
    let mut records = vec![mode()];
    records.extend(rotation(&[1; 5], LINES - 3));
    records
}

/// Chains records and puts a checkpoint, signed by `seed`, into line 40.
fn chained(records: &[Record], seed: u8) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut head = ChainHash::START;
    let mut push = |record: &Record| {
        let mut line = Vec::new();
        head = kmi_core::trace::seal(record, lines.len() as u64 + 1, &head, &mut line).unwrap();
        lines.push(line);
        head
    };
    for (at, record) in records.iter().enumerate() {
        let head = push(record);
        if at == 38 {
            let note = signer(seed).sign(39, &head).into();
            let (ts, head) = (crate::trace_builder::at(0), head.as_str().into());
            push(&Record::Checkpoint(Checkpoint { ts, count: 39, head, note }));
        }
    }
    lines
}

fn found(damage: &Damage, held: &Held) -> Option<Found> {
    let good = chained(&records(), 1);
    let mut lines = good.clone();
    match damage {
        Bytes(change) => change(&mut lines),
        Records(change) => {
            let mut records = records();
            change(&mut records);
            lines = chained(&records, 1);
        }
    }
    let mut options = Options::default();
    let mut in_flight = InFlight::None;
    match held {
        Held::Nothing => {}
        Held::Head => options.head = ChainHash::parse(&verify(&good).chain.head),
        Held::Key => options.signer = Some(signer(1).public_key().clone()),
        Held::Page => {
            let flight = Flight { turns: 0, newest: LINES as u64 - 3 };
            in_flight = InFlight::Turns([("kimi".into(), flight)].into());
        }
    }
    let report = verify_with(&lines, options, &in_flight);
    let found = if let Some(seq) = report.first_bad_seq {
        Some(Found::Chain(seq))
    } else if report.head.as_ref().is_some_and(|head| !head.found) {
        Some(Found::Head)
    } else if let Some(finding) = report.findings.first() {
        Some(Found::Rule(finding.seq))
    } else {
        (report.all.unexplained > 0).then_some(Found::Open(report.all.unexplained))
    };
    let good = report.all.verdict == Verdict::Verified;
    assert_eq!(good, found.is_none(), "{found:?}: {:?}", report.all.verdict);
    found
}

fn edit(line: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(line.clone()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    *line = text.replacen(from, to, 1).into_bytes();
}

/// Makes a line's own hash right again.
fn seal_anew(line: &mut Vec<u8>) {
    let text = String::from_utf8(line.clone()).unwrap();
    let body = text.rsplit_once(",\"hash\":\"").unwrap().0;
    let prev = text.rsplit_once("\"prev\":\"").unwrap().1;
    let hash = ChainHash::parse(&prev[..64]).unwrap().follow(body.as_bytes());
    *line = format!("{body},\"hash\":\"{hash}\"}}").into_bytes();
}

/// The attempt of a turn.
fn turn(records: &mut [Record], turn: usize) -> &mut Attempt {
    attempt_of(&mut records[turn + 1])
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_kind_of_damage_is_found() {
    use Held::{Head, Key, Nothing, Page};
    let table: [(&str, Damage, Held, Found); 30] = [
        // The file itself.
        (
            "a field edited",
            Bytes(|it| edit(&mut it[30], "\"ok\"", "\"quota\"")),
            Nothing,
            Found::Chain(31),
        ),
        (
            "a blank added",
            Bytes(|it| edit(&mut it[30], "\"ts\":", "\"ts\": ")),
            Nothing,
            Found::Chain(31),
        ),
        (
            "a line's number changed",
            Bytes(|it| edit(&mut it[30], "\"seq\":31", "\"seq\":32")),
            Nothing,
            Found::Chain(31),
        ),
        ("a line's hash changed", Bytes(|it| flip(&mut it[30], 10)), Nothing, Found::Chain(31)),
        ("a line's prev changed", Bytes(|it| flip(&mut it[30], 90)), Nothing, Found::Chain(31)),
        (
            "edited and its own hash made right",
            Bytes(|it| {
                edit(&mut it[30], "\"ok\"", "\"auth\"");
                seal_anew(&mut it[30]);
            }),
            Nothing,
            Found::Chain(32),
        ),
        ("a line deleted", Bytes(|it| drop(it.remove(30))), Nothing, Found::Chain(31)),
        ("ten lines deleted", Bytes(|it| drop(it.drain(30..40))), Nothing, Found::Chain(31)),
        (
            "a line written twice",
            Bytes(|it| it.insert(31, it[30].clone())),
            Nothing,
            Found::Chain(32),
        ),
        (
            "a line of another trace inserted",
            Bytes(|it| it.insert(30, sealed(&rotation(&[1; 5], 40))[31].clone())),
            Nothing,
            Found::Chain(31),
        ),
        (
            "garbage inserted",
            Bytes(|it| it.insert(30, b"\xff{]".to_vec())),
            Nothing,
            Found::Chain(31),
        ),
        ("a line overwritten with zeros", Bytes(|it| it[30].fill(0)), Nothing, Found::Chain(31)),
        ("two lines swapped", Bytes(|it| it.swap(30, 31)), Nothing, Found::Chain(31)),
        (
            "a line moved to the end",
            Bytes(|it| {
                let line = it.remove(30);
                it.push(line);
            }),
            Nothing,
            Found::Chain(31),
        ),
        ("all lines reversed", Bytes(|it| it.reverse()), Nothing, Found::Chain(102)),
        (
            "two lines glued together",
            Bytes(|it| {
                let next = it.remove(31);
                it[30].extend(next);
            }),
            Nothing,
            Found::Chain(31),
        ),
        ("the last line torn", Bytes(|it| it[LINES - 1].truncate(80)), Nothing, Found::Chain(101)),
        ("the tail cut off", Bytes(|it| it.truncate(90)), Head, Found::Head),
        ("the tail cut off, known to the page", Bytes(|it| it.truncate(90)), Page, Found::Open(11)),
        (
            "the checkpoint signed by another",
            Bytes(|it| *it = chained(&records(), 2)),
            Key,
            Found::Chain(40),
        ),
        // Everything is chained anew by somebody who knows how.
        ("all rewritten", Records(|it| turn(it, 30).prompt_tokens = Some(1)), Head, Found::Head),
        (
            "a turn's number used twice",
            Records(|it| turn(it, 30).turn = Some(29)),
            Nothing,
            Found::Rule(line_of(30)),
        ),
        (
            "a forged cursor",
            Records(|it| turn(it, 30).prev_slot = Some(0)),
            Nothing,
            Found::Rule(line_of(30)),
        ),
        (
            "a forged slot",
            Records(|it| turn(it, 30).slot = Some(2)),
            Nothing,
            Found::Rule(line_of(30)),
        ),
        (
            "another key",
            Records(|it| turn(it, 30).key = "k-00000001".into()),
            Nothing,
            Found::Rule(line_of(30)),
        ),
        (
            "a mask that hides the key",
            Records(|it| turn(it, 30).eligible = Arc::new(KeySet::full(2))),
            Nothing,
            Found::Rule(line_of(30)),
        ),
        (
            "a mask wider than the ring",
            Records(|it| turn(it, 30).eligible = Arc::new(KeySet::full(9))),
            Nothing,
            Found::Rule(line_of(30)),
        ),
        ("a turn taken out", Records(|it| drop(it.remove(31))), Nothing, Found::Open(1)),
        (
            "a turn moved to another upstream",
            Records(|it| turn(it, 30).upstream = "else".into()),
            Nothing,
            Found::Open(30),
        ),
        (
            "a gap over turns that ended",
            Records(|it| it.push(Record::Gap(gap(97, 99, None)))),
            Nothing,
            Found::Rule(102),
        ),
    ];
    for (name, damage, held, expected) in table {
        assert_eq!(found(&damage, &held), Some(expected), "{name}");
    }
    for held in [Nothing, Head, Page, Key] {
        assert_eq!(found(&Bytes(|_| ()), &held), None, "no damage");
    }
}

/// Changes the digit that stands so many bytes before the end.
fn flip(line: &mut [u8], before_end: usize) {
    let at = line.len() - before_end;
    line[at] = if line[at] == b'0' { b'1' } else { b'0' };
}

/// A checkpoint that states what was not so is found without any key.
#[test]
fn a_checkpoint_must_state_the_line_before_it() {
    let with = |count: u64, head: ChainHash, note: String| {
        let mut lines = sealed(&rotation(&[1; 5], 99));
        let last = ChainHash::parse(&verify(&lines).chain.head).unwrap();
        let ts = crate::trace_builder::at(0);
        let record = Checkpoint { ts, count, head: head.as_str().into(), note: note.into() };
        let mut line = Vec::new();
        kmi_core::trace::seal(&Record::Checkpoint(record), 101, &last, &mut line).unwrap();
        lines.push(line);
        verify(&lines)
    };
    let head = ChainHash::parse(&verify(&sealed(&rotation(&[1; 5], 99))).chain.head).unwrap();
    let sign = |count, head| signer(1).sign(count, head);
    let report = with(100, head, sign(100, &head));
    assert_eq!((report.all.verdict, report.chain.checkpoints), (Verdict::Verified, 1));
    let other = head.follow(b"x");
    for report in [
        with(99, head, sign(99, &head)),
        with(100, other, sign(100, &other)),
        with(100, head, sign(99, &head)),
        with(100, head, "not a note".to_owned()),
    ] {
        assert_eq!((report.all.verdict, report.first_bad_seq), (Verdict::Violated, Some(101)));
    }
}
