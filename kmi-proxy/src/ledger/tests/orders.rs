//! The queue under the orders in which those who record, those who wait and the writer can come:
//! threads of shuttle's, of which one runs until its next lock. The writer goes the way of
//! `writer.rs`, with a disk that only the test has.

use std::{collections::BTreeSet, mem, ops::RangeInclusive, time::Duration};

use parking_lot::Mutex;
use shuttle::{sync::mpsc, thread};

use super::{
    super::queue::{Queue, Work},
    *,
};
use crate::lock::scheduled::scheduled;

/// What a disk has taken. Its lock is never held where another thread can come.
#[derive(Debug, Default)]
struct Disk {
    /// The turns that have a line, in the lines' order.
    lines: Vec<u64>,
    /// The turns that gaps declare.
    declared: BTreeSet<u64>,
    /// So many commits fail from now on.
    refusals: u32,
    settings: BTreeMap<String, Option<String>>,
}

#[derive(Debug)]
struct World {
    queue: Arc<Queue>,
    capacity: usize,
    disk: Mutex<Disk>,
    pushed: Mutex<BTreeSet<u64>>,
    /// Told of each commit.
    follower: Option<mpsc::Sender<()>>,
    /// A writer that is wrong: it calls lines written before they are.
    hasty: bool,
}

impl World {
    fn new(capacity: usize, refusals: u32) -> Self {
        let disk = Mutex::new(Disk { refusals, ..Disk::default() });
        let queue = Arc::new(Queue::new(capacity));
        Self { queue, capacity, disk, pushed: Mutex::default(), follower: None, hasty: false }
    }

    fn sink(&self) -> Sink {
        Sink(Arc::clone(&self.queue))
    }

    fn commit(&self, work: &Work) -> bool {
        // A disk takes its time: anything can happen meanwhile.
        thread::yield_now();
        let mut disk = self.disk.lock();
        if disk.refusals > 0 {
            disk.refusals -= 1;
            return false;
        }
        for record in work.records.iter().chain(&work.lost.gaps()) {
            match record {
                Record::Attempt(attempt) => disk.lines.extend(attempt.turn),
                Record::Gap(gap) => {
                    for turn in gap.from_turn..=gap.to_turn {
                        assert!(disk.declared.insert(turn), "turn {turn} is declared twice");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        disk.settings.extend(work.settings.clone());
        true
    }

    fn write(&self) {
        let queue = &self.queue;
        let mut work = Work::default();
        loop {
            queue.wait(None);
            queue.gather(Duration::ZERO);
            work = queue.take(mem::take(&mut work.records));
            assert!(work.records.len() <= self.capacity, "more wait than there is room for");
            if self.hasty {
                queue.succeeded(work.flush);
            }
            let mut last_try = work.closing;
            let nothing = work.is_empty() && work.flush.is_none();
            while !(nothing || self.commit(&work)) {
                if last_try {
                    queue.closed();
                    return;
                }
                last_try = queue.failed("the disk is full", Duration::ZERO);
            }
            queue.succeeded(work.flush);
            if let Some(follower) = &self.follower {
                // It is gone when it has seen its lines.
                let _ = follower.send(());
            }
            if work.closing {
                queue.closed();
                return;
            }
        }
    }

    fn record(&self, turns: RangeInclusive<u64>) {
        for turn in turns {
            self.sink().push(Record::Attempt(attempt("kimi", turn, 1)));
            self.pushed.lock().insert(turn);
        }
    }

    /// A flush that says that all is well has to be right.
    fn flush(&self) -> Result<(), LedgerError> {
        let before = self.pushed.lock().clone();
        self.queue.flush()?;
        self.have(&before);
        Ok(())
    }

    fn have(&self, turns: &BTreeSet<u64>) {
        let disk = self.disk.lock();
        let missing: Vec<_> = turns.iter().filter(|turn| !disk.has(**turn)).collect();
        assert!(missing.is_empty(), "missing after a flush: {missing:?} of {disk:?}");
    }

    /// Closes, and hands back what was recorded before.
    fn close(&self) -> BTreeSet<u64> {
        let before = self.pushed.lock().clone();
        self.queue.close();
        before
    }

    /// What holds in the end: each turn has one line, or is counted as dropped; each recorder's
    /// turns have their order.
    fn judge(&self, recorders: &[RangeInclusive<u64>]) {
        let (disk, pushed) = (self.disk.lock(), self.pushed.lock());
        let lines: BTreeSet<u64> = disk.lines.iter().copied().collect();
        assert_eq!(lines.len(), disk.lines.len(), "a turn has two lines");
        assert!(lines.is_subset(&pushed) && disk.declared.is_subset(&pushed));
        assert!(lines.is_disjoint(&disk.declared), "a turn has a line and is declared as lost");
        let dropped = self.sink().dropped();
        assert_eq!(pushed.len() - lines.len(), usize::try_from(dropped).unwrap(), "not counted");
        for turns in recorders {
            let mine = disk.lines.iter().filter(|turn| turns.contains(turn));
            assert!(mine.is_sorted(), "{turns:?} in another order: {:?}", disk.lines);
        }
    }
}

impl Disk {
    fn has(&self, turn: u64) -> bool {
        self.lines.contains(&turn) || self.declared.contains(&turn)
    }
}

type Part = Box<dyn FnOnce(&World) + Send>;

fn part(part: impl FnOnce(&World) + Send + 'static) -> Part {
    Box::new(part)
}

/// Lets the parts and the writer happen at once; then closes, and hands the world back. A thread
/// that waits for ever is a deadlock for shuttle.
fn at_once(world: World, parts: Vec<Part>) -> World {
    let world = Arc::new(world);
    let begin = |part: Part| {
        let world = Arc::clone(&world);
        thread::spawn(move || part(&world))
    };
    let writer = begin(part(World::write));
    let threads: Vec<_> = parts.into_iter().map(begin).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    world.queue.close();
    writer.join().unwrap();
    Arc::into_inner(world).unwrap()
}

/// Three recorders and little room, on a disk that refuses now and then; all that was recorded
/// before the end is in a line or declared, for the last flush that is well has outlived the refusals.
fn a_busy_moment() {
    let turns = [1..=4, 11..=14, 21..=23];
    let parts = vec![
        part(|world| world.record(1..=4)),
        part(|world| {
            world.record(11..=12);
            let _ = world.flush();
            world.record(13..=14);
        }),
        part(|world| {
            world.queue.set("mode".into(), Some("manual".into()));
            world.record(21..=23);
            // Each failure is told once to those who wait; three are the most that there are.
            let tries = (0..4).position(|_| world.flush().is_ok());
            assert!(tries.is_some(), "more failures than there were");
        }),
    ];
    let world = at_once(World::new(2, 3), parts);
    world.judge(&turns);
    world.have(&world.pushed.lock());
    assert_eq!(world.disk.lock().settings["mode"].as_deref(), Some("manual"));
}

/// The ledger is closed while others record and wait for it.
fn an_end(refusals: u32) {
    let before = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&before);
    let parts = vec![
        part(|world| world.record(1..=2)),
        part(|world| {
            world.record(11..=12);
            let _ = world.flush();
        }),
        part(move |world| *noted.lock() = world.close()),
    ];
    let world = at_once(World::new(2, refusals), parts);
    world.judge(&[1..=2, 11..=12]);
    if refusals == 0 {
        world.have(&before.lock());
    }
    assert!(!world.sink().is_recording());
    assert!(world.queue.flush().is_err(), "there is nobody left who would write");
}

/// Nobody flushes or closes: what is recorded is written all the same.
fn a_quiet_moment() {
    let (follower, commits) = mpsc::channel();
    let follow = part(move |world| {
        world.record(11..=12);
        while !(11..=12).all(|turn| world.disk.lock().has(turn)) {
            commits.recv().unwrap();
        }
    });
    let world = World { follower: Some(follower), ..World::new(9, 0) };
    at_once(world, vec![part(|world| world.record(1..=2)), follow]).judge(&[1..=2, 11..=12]);
}

#[test]
fn in_any_order_no_line_is_lost_uncounted() {
    for test in [a_busy_moment as fn(), a_quiet_moment, || an_end(0), || an_end(1), || an_end(9)] {
        scheduled(|| shuttle::check_random(test, 500));
        scheduled(|| shuttle::check_pct(test, 200, 4));
    }
}

/// What these tests are for: a writer that calls lines written before they are.
#[test]
#[should_panic(expected = "missing after a flush")]
fn a_hasty_writer_is_found_out() {
    let test = || {
        let parts = vec![part(|world| {
            world.record(1..=1);
            let _ = world.flush();
        })];
        at_once(World { hasty: true, ..World::new(1, 0) }, parts);
    };
    scheduled(|| shuttle::check_random(test, 1000));
}
