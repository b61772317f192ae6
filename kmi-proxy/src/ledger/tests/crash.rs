//! A process under load is killed, again and again; nothing may be lost silently.
//!
//! The test runs itself as the process to be killed: with [`STATE_DIR`] set it serves turns until
//! its end, and announces on its output what it starts from and what it has given out.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use kmi_core::{
    eligible::{Eligible, KeySet},
    ring::{Ring, Seat},
    rotation::Rotation,
    trace::Record,
};
use parking_lot::Mutex;

use super::{super::samples, Export, export, open, verified};

const STATE_DIR: &str = "KMI_TEST_CRASH_STATE_DIR";
const KILLS: u64 = 10;

#[test]
fn a_killed_process_loses_nothing_silently() {
    if let Some(dir) = std::env::var_os(STATE_DIR) {
        serve_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut given_out = 0;
    for life in 0..KILLS {
        let (resumed, announced) = live_and_die(dir.path(), Duration::from_millis(life * 7));
        assert!(
            resumed >= given_out,
            "life {life} goes on at {resumed}, {given_out} was given out"
        );
        assert!(announced > resumed, "life {life} gave out turns");
        given_out = announced;
    }

    let (ledger, recovered) = open(dir.path());
    let end = &recovered.upstreams["kimi"];
    assert!(end.last_turn >= given_out);
    assert_eq!(end.cursor, samples::attempt("kimi", end.last_turn, 1).slot, "in place");
    assert_eq!(end.epoch_in_force(), Some(&samples::epoch("kimi", 1, 3)), "one epoch throughout");
    ledger.close().unwrap();

    let mut slots = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for line in verified(&export(dir.path(), &Export::default())) {
        let record = line.record.unwrap();
        *lines.entry(record.kind()).or_insert(0u32) += 1;
        match record {
            Record::Attempt(it) => {
                assert_eq!(slots.insert(it.turn.unwrap(), it.slot.unwrap()), None);
            }
            Record::Gap(gap) => {
                for (turn, slot) in (gap.from_turn..=gap.to_turn).zip(gap.slots.unwrap()) {
                    assert_eq!(slots.insert(turn, slot), None, "turn {turn} is in two lines");
                }
            }
            _ => {}
        }
    }
    assert_eq!(lines["epoch"], 1);
    assert!(lines["gap"] >= 1, "the load left turns in flight");
    let expected: BTreeMap<_, _> = (1..=end.last_turn)
        .map(|turn| (turn, samples::attempt("kimi", turn, 1).slot.unwrap()))
        .collect();
    assert_eq!(slots.len(), expected.len());
    assert!(slots == expected, "every turn is in one line, and the rotation never lost its place");
}

/// Runs a process for a while and kills it; returns the turn it started after and the newest one
/// that it told to have given out.
fn live_and_die(dir: &Path, load: Duration) -> (u64, u64) {
    let name = "ledger::tests::crash::a_killed_process_loses_nothing_silently";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(STATE_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut next = |word: &str| {
        let number = |line: String| line.split_once(word)?.1.trim().parse::<u64>().ok();
        said.by_ref().find_map(number)
    };
    let resumed = next("resumed after ").expect("the process started");
    let mut newest = next("gave out ").expect("the process serves");
    std::thread::sleep(load);
    child.kill().unwrap();
    child.wait().unwrap();
    while let Some(turn) = next("gave out ") {
        newest = newest.max(turn);
    }
    (resumed, newest)
}

fn serve_until_killed(dir: &Path) -> ! {
    let (ledger, recovered) = open(dir);
    let resumed = recovered.upstreams.get("kimi").cloned().unwrap_or_default();
    say("resumed after ", resumed.last_turn);
    if resumed.epoch.is_none() {
        ledger.sink().push(Record::Epoch(samples::epoch("kimi", 1, 3)));
        ledger.flush().unwrap();
    }
    let ring = Arc::new(Ring::new(&[Seat::default(); 3]).unwrap());
    let eligible = Eligible::all(Arc::clone(&ring));
    let rotation = Rotation::resume(ring, 1, resumed.cursor, resumed.last_turn);
    let served = Mutex::new((rotation, ledger.page("kimi").unwrap()));
    let serve = |width: usize| {
        let mut in_flight = Vec::new();
        // Bounded, so that the test is, even on a slow machine; then only the kill is awaited.
        for _ in 0..2000 {
            let turn = {
                let (rotation, page) = &mut *served.lock();
                let turn = rotation.next(&eligible, &KeySet::default()).unwrap();
                page.record(turn.number, turn.epoch, turn.slot);
                turn
            };
            if turn.number.is_multiple_of(64) {
                say("gave out ", turn.number);
            }
            in_flight.push((turn.number, turn.slot));
            // The newest half ends, the oldest stay in flight for long.
            while in_flight.len() > width {
                let (turn, slot) = in_flight.remove(width / 2);
                let mut attempt = samples::attempt("kimi", turn, 1);
                attempt.slot = Some(slot);
                ledger.sink().push(Record::Attempt(attempt));
            }
        }
        loop {
            std::thread::park();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| serve(3));
        scope.spawn(|| serve(9));
        serve(27)
    })
}

fn say(what: &str, turn: u64) {
    let mut out = std::io::stdout().lock();
    // A line begins anew after whatever the test harness wrote.
    out.write_all(format!("\n{what}{turn}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}
