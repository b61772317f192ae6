use std::{collections::BTreeSet, fs};

use kmi_core::trace::EpochKey;
use proptest::prelude::*;

use super::*;
use crate::ledger::{
    samples::{at, attempt, epoch},
    store::SettingChanges,
};

const BOOT: Option<&str> = Some("this boot");

/// A state directory whose process dies when `die` is called.
struct Home {
    dir: tempfile::TempDir,
    store: Store,
    page: TurnPage,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    recover(&mut store, dir.path(), BOOT, at(0)).unwrap();
    let page = TurnPage::create(&page::path_for(dir.path(), "kimi"), "kimi", 0).unwrap();
    Home { dir, store, page }
}

impl Home {
    fn append(&mut self, records: &[Record]) {
        self.store.append(records.iter(), &SettingChanges::new(), false).unwrap();
    }

    fn end(&mut self, turn: u64, epoch: u64) {
        self.append(&[Record::Attempt(attempt("kimi", turn, epoch))]);
    }

    fn give_out(&mut self, turn: u64, epoch: u64) {
        self.page.record(turn, epoch, slot(turn));
    }

    fn die(self) -> tempfile::TempDir {
        self.dir
    }
}

fn slot(turn: u64) -> usize {
    attempt("kimi", turn, 1).slot.unwrap()
}

fn restart(dir: &Path) -> (Recovered, Vec<Gap>) {
    restart_in(dir, BOOT)
}

fn restart_in(dir: &Path, boot: Option<&str>) -> (Recovered, Vec<Gap>) {
    let mut store = Store::open(dir).unwrap();
    let first = store.books.seq;
    let recovered = recover(&mut store, dir, boot, at(500)).unwrap();
    let mut query = store.db.prepare("SELECT line FROM lines WHERE seq > ?1 ORDER BY seq").unwrap();
    let lines = query.query_map([i64::try_from(first).unwrap()], |row| row.get::<_, String>(0));
    let gaps: Vec<Gap> =
        lines.unwrap().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(recovered.gaps, gaps.len());
    (recovered, gaps)
}

/// Epoch, first turn, last turn, slots, reason.
type Run<'g> = (u64, u64, u64, Option<Vec<usize>>, &'g str);

fn runs(gaps: &[Gap]) -> Vec<Run<'_>> {
    gaps.iter()
        .map(|gap| (gap.epoch, gap.from_turn, gap.to_turn, gap.slots.clone(), &*gap.reason))
        .collect()
}

#[test]
fn turns_in_flight_become_gaps_with_slots() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3))]);
    (1..=6).for_each(|turn| home.give_out(turn, 1));
    home.end(2, 1);
    home.end(5, 1);
    let dir = home.die();
    let (recovered, gaps) = restart(dir.path());
    assert_eq!(
        runs(&gaps),
        [
            (1, 1, 1, Some(vec![0]), "process_died"),
            (1, 3, 4, Some(vec![2, 0]), "process_died"),
            (1, 6, 6, Some(vec![2]), "process_died"),
        ]
    );
    let resumed = &recovered.upstreams["kimi"];
    assert_eq!((resumed.last_turn, resumed.cursor), (6, Some(2)));
    assert_eq!(resumed.epoch_in_force(), Some(&epoch("kimi", 1, 3)));
    assert!(restart(dir.path()).1.is_empty(), "a gap is declared once");
}

/// The key that served last has gone, and the ring that came then has had no turn: who stands at
/// its cursor has not served.
#[test]
fn who_served_last_is_known_over_a_ring_without_turns() {
    let mut home = home();
    let ring = |number, keys: &[u32], cursor| {
        let named = keys.iter().map(|key| EpochKey {
            key: format!("k-{key:08x}").into(),
            label: format!("key-{key}").into(),
            weight: 1,
            tier: 0,
        });
        let keys = named.collect();
        Record::Epoch(Epoch { keys, cursor, ..epoch("kimi", number, 3) })
    };
    home.append(&[ring(1, &[10, 20, 30], None)]);
    for turn in 1..=2 {
        home.give_out(turn, 1);
        home.end(turn, 1);
    }
    let resumed = |dir: &Path| restart(dir).0.upstreams["kimi"].clone();
    let id = |resumed: &Resumed| resumed.served().map(|served| served.id.to_string());
    let dir = home.die();
    let alone = resumed(dir.path());
    assert_eq!((alone.served_before.clone(), id(&alone)), (None, Some("k-00000014".into())));

    let mut store = Store::open(dir.path()).unwrap();
    let records = [ring(2, &[10, 30, 40], Some(0))];
    store.append(records.iter(), &SettingChanges::new(), false).unwrap();
    drop(store);
    for _ in 0..2 {
        let resumed = resumed(dir.path());
        assert_eq!((resumed.cursor, id(&resumed)), (Some(0), Some("k-00000014".into())));
    }

    fs::remove_file(page::path_for(dir.path(), "kimi")).unwrap();
    assert_eq!(resumed(dir.path()).served_before, None, "nobody knows any more");
}

#[test]
fn upstreams_do_not_mix() {
    let mut home = home();
    let mut other = TurnPage::create(&page::path_for(home.dir.path(), "b/c"), "b/c", 0).unwrap();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3)), Record::Epoch(epoch("b/c", 1, 3))]);
    home.give_out(1, 1);
    other.record(1, 1, 0);
    other.record(2, 1, 1);
    home.append(&[Record::Attempt(attempt("b/c", 1, 1))]);
    let (recovered, gaps) = restart(home.die().path());
    let names: Vec<_> = gaps.iter().map(|gap| (&*gap.upstream, gap.from_turn)).collect();
    assert_eq!(names, [("b/c", 2), ("kimi", 1)]);
    assert_eq!(recovered.upstreams["b/c"].cursor, Some(1));
    assert_eq!(recovered.upstreams["b/c"].epoch, Some(epoch("b/c", 1, 3)));
    assert_eq!(recovered.upstreams["kimi"].cursor, Some(0));
}

#[test]
fn a_run_never_spans_two_epochs() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3)), Record::Epoch(epoch("kimi", 2, 3))]);
    (1..=2).for_each(|turn| home.give_out(turn, 1));
    (3..=4).for_each(|turn| home.give_out(turn, 2));
    let (recovered, gaps) = restart(home.die().path());
    assert_eq!(
        runs(&gaps),
        [(1, 1, 2, Some(vec![0, 1]), "process_died"), (2, 3, 4, Some(vec![2, 0]), "process_died"),]
    );
    assert_eq!(recovered.upstreams["kimi"].cursor, Some(0));
}

/// The epoch's line was still in the queue when the process died.
#[test]
fn an_epoch_without_a_line_is_not_gone_on_with() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3))]);
    home.give_out(1, 1);
    home.end(1, 1);
    home.give_out(2, 2);
    let (recovered, gaps) = restart(home.die().path());
    assert_eq!(runs(&gaps), [(2, 2, 2, Some(vec![1]), "process_died")]);
    let resumed = &recovered.upstreams["kimi"];
    assert_eq!((resumed.epoch_in_force(), resumed.epoch_number), (None, 2));
    assert_eq!((resumed.cursor, resumed.last_turn), (Some(0), 2));
}

#[test]
fn a_new_epoch_without_turns_has_its_own_cursor() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3))]);
    home.give_out(1, 1);
    home.end(1, 1);
    let mut second = epoch("kimi", 2, 4);
    second.cursor = Some(3);
    home.append(&[Record::Epoch(second.clone())]);
    let (recovered, _) = restart(home.die().path());
    let resumed = &recovered.upstreams["kimi"];
    assert_eq!((resumed.epoch_in_force(), resumed.cursor), (Some(&second), Some(3)));
}

#[test]
fn turns_that_fell_out_of_the_page_have_no_slots() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3))]);
    let newest = ENTRIES + 5;
    (1..=newest).for_each(|turn| home.give_out(turn, 1));
    let gap = Gap {
        ts: at(0),
        upstream: "kimi".into(),
        epoch: 1,
        from_turn: 3,
        to_turn: newest - 2,
        slots: None,
        reason: "queue_full".into(),
    };
    home.append(&[Record::Gap(gap)]);
    let (_, gaps) = restart(home.die().path());
    assert_eq!(
        runs(&gaps),
        [
            (1, 1, 2, None, "process_died"),
            (1, newest - 1, newest, Some(vec![slot(newest - 1), slot(newest)]), "process_died"),
        ]
    );
}

/// A long stream of the ring before is under way when the page is lost: the turns after it tell of
/// which ring it was, not the newest one.
#[test]
fn a_gap_without_slots_is_of_the_epoch_of_the_turn_after_it() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3)), Record::Epoch(epoch("kimi", 2, 3))]);
    (1..=5).for_each(|turn| home.give_out(turn, 1));
    (6..=8).for_each(|turn| home.give_out(turn, 2));
    // The later ring's turn ended first, and another upstream has turns of these numbers.
    home.end(7, 2);
    home.append(&[Record::Epoch(epoch("other", 9, 3))]);
    (1..=8).for_each(|turn| home.append(&[Record::Attempt(attempt("other", turn, 9))]));
    for turn in [2, 4, 5] {
        home.end(turn, 1);
    }
    home.append(&[Record::Epoch(epoch("kimi", 3, 3))]);
    let dir = home.die();
    fs::remove_file(page::path_for(dir.path(), "kimi")).unwrap();
    let (_, gaps) = restart(dir.path());
    let of_kimi: Vec<Gap> = gaps.into_iter().filter(|gap| &*gap.upstream == "kimi").collect();
    assert_eq!(
        runs(&of_kimi),
        [
            (1, 1, 1, None, "process_died"),
            (1, 3, 3, None, "process_died"),
            (2, 6, 6, None, "process_died"),
            (3, 8, 7 + SKIP, None, "page_lost"),
        ]
    );
}

/// The same where a part of the page is whole: what it still knows tells of what is before it.
#[test]
fn what_the_page_still_knows_dates_the_gap_before() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3))]);
    (1..=3).for_each(|turn| home.give_out(turn, 1));
    home.append(&[Record::Epoch(epoch("kimi", 2, 3))]);
    home.give_out(4, 2);
    home.end(4, 2);
    home.page.forget(1);
    let (_, gaps) = restart(home.die().path());
    assert_eq!(
        runs(&gaps),
        [(1, 1, 1, None, "process_died"), (1, 2, 3, Some(vec![1, 2]), "process_died")]
    );
}

#[test]
fn long_gaps_are_several_lines() {
    let mut home = home();
    (1..=10_000).for_each(|turn| home.give_out(turn, 1));
    let (_, gaps) = restart(home.die().path());
    assert_eq!(gaps.len(), 3);
    assert!(gaps.iter().all(|gap| gap.slots.as_ref().unwrap().len() <= MAX_SLOTS_PER_GAP));
    assert_eq!(gaps.iter().map(|gap| gap.to_turn - gap.from_turn + 1).sum::<u64>(), 10_000);
}

#[test]
fn without_the_page_no_number_is_used_again() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3))]);
    (1..=2).for_each(|turn| home.give_out(turn, 1));
    home.end(2, 1);
    let dir = home.die();
    fs::remove_file(page::path_for(dir.path(), "kimi")).unwrap();
    let (recovered, gaps) = restart(dir.path());
    assert_eq!(
        runs(&gaps),
        [(1, 1, 1, None, "process_died"), (1, 3, 2 + SKIP, None, "page_lost"),]
    );
    let resumed = &recovered.upstreams["kimi"];
    assert_eq!((resumed.last_turn, resumed.cursor), (2 + SKIP, Some(1)));
    assert_eq!(recovered.notes.len(), 1);
    assert!(restart(dir.path()).1.is_empty(), "the page is there again");
}

#[test]
fn a_damaged_page_is_built_anew() {
    let mut home = home();
    (1..=2).for_each(|turn| home.give_out(turn, 1));
    home.end(2, 1);
    let dir = home.die();
    let path = page::path_for(dir.path(), "kimi");
    fs::write(&path, "rubbish").unwrap();
    let (recovered, _) = restart(dir.path());
    assert_eq!(recovered.upstreams["kimi"].last_turn, 2 + SKIP);
    assert_eq!(TurnPage::open(&path).unwrap().last_turn(), 2 + SKIP);
    assert!(recovered.notes.iter().any(|note| note.contains("built anew: its length is wrong")));
}

#[test]
fn after_a_stop_in_order_the_page_is_not_needed() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3))]);
    (1..=2).for_each(|turn| home.give_out(turn, 1));
    home.end(1, 1);
    home.end(2, 1);
    home.store.mark(true, None).unwrap();
    let dir = home.die();
    fs::remove_file(page::path_for(dir.path(), "kimi")).unwrap();
    let (recovered, gaps) = restart(dir.path());
    assert!(gaps.is_empty() && recovered.notes.is_empty());
    let resumed = &recovered.upstreams["kimi"];
    assert_eq!((resumed.last_turn, resumed.cursor), (2, Some(1)));
}

#[test]
fn after_an_outage_numbers_are_left_out() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3))]);
    (1..=3).for_each(|turn| home.give_out(turn, 1));
    home.end(1, 1);
    home.store.mark(false, Some("another boot")).unwrap();
    let dir = home.die();
    let (_, gaps) = restart(dir.path());
    assert_eq!(
        runs(&gaps),
        [(1, 2, 3, Some(vec![1, 2]), "power_lost"), (1, 4, 3 + SKIP, None, "power_lost"),]
    );
}

/// Where the boot has no name, an outage cannot be told from a death: the page may have been set
/// back, and only a stop in order vouches for it.
#[test]
fn where_the_boot_has_no_name_numbers_are_left_out_unless_it_was_a_stop_in_order() {
    let mut home = home();
    home.append(&[Record::Epoch(epoch("kimi", 1, 3))]);
    home.give_out(1, 1);
    home.end(1, 1);
    let dir = home.die();
    let (_, gaps) = restart_in(dir.path(), None);
    assert_eq!(runs(&gaps), [(1, 2, 1 + SKIP, None, "power_lost")]);

    Store::open(dir.path()).unwrap().mark(true, None).unwrap();
    assert!(restart_in(dir.path(), None).1.is_empty());
}

#[test]
fn a_page_behind_the_ledger_is_brought_up() {
    let mut home = home();
    home.give_out(1, 1);
    for turn in 1..=4 {
        home.end(turn, 1);
    }
    home.store.mark(true, None).unwrap();
    let dir = home.die();
    let (recovered, gaps) = restart(dir.path());
    assert!(gaps.is_empty());
    assert_eq!(recovered.upstreams["kimi"].last_turn, 4);
    let page = TurnPage::open(&page::path_for(dir.path(), "kimi")).unwrap();
    assert_eq!(page.last_turn(), 4);
}

#[test]
fn a_lost_ledger_costs_no_turn_number() {
    let mut home = home();
    (1..=4).for_each(|turn| home.give_out(turn, 7));
    let dir = home.die();
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = fs::remove_file(dir.path().join(file));
    }
    let (recovered, gaps) = restart(dir.path());
    assert_eq!(runs(&gaps), [(7, 1, 4, Some(vec![0, 1, 2, 0]), "process_died")]);
    let resumed = &recovered.upstreams["kimi"];
    assert_eq!((resumed.last_turn, resumed.epoch_number), (4, 7));
    assert_eq!(resumed.epoch, None);
}

#[test]
fn a_copied_page_is_not_taken_for_another_upstreams() {
    let mut home = home();
    home.give_out(1, 1);
    let dir = home.die();
    let copy = page::path_for(dir.path(), "other");
    fs::copy(page::path_for(dir.path(), "kimi"), &copy).unwrap();
    let (recovered, _) = restart(dir.path());
    assert_eq!(recovered.upstreams["kimi"].last_turn, 1);
    assert_eq!(recovered.upstreams["other"].last_turn, SKIP, "nobody knows how many it had");
    assert_eq!(TurnPage::open(&copy).unwrap().upstream(), Some("other"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// Whatever ended, in whatever order, over several deaths: every turn is in exactly one line,
    /// with its own slot and epoch, and the rotation goes on in place.
    #[test]
    fn every_turn_is_in_exactly_one_line(
        lives in prop::collection::vec(prop::collection::vec((0u8..4, 0usize..8), 0..25), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut epoch_now, mut last) = (0, 0);
        let mut epoch_of = BTreeMap::new();
        for life in lives {
            let mut store = Store::open(dir.path()).unwrap();
            let recovered = recover(&mut store, dir.path(), BOOT, at(9)).unwrap();
            let resumed = recovered.upstreams.get("kimi").cloned().unwrap_or_default();
            prop_assert_eq!(resumed.last_turn, last);
            let path = page::path_for(dir.path(), "kimi");
            let mut page = if path.exists() {
                TurnPage::open(&path).unwrap()
            } else {
                TurnPage::create(&path, "kimi", 0).unwrap()
            };
            let mut append = |record: Record| {
                store.append(std::iter::once(&record), &SettingChanges::new(), false).unwrap();
            };
            let mut flying = Vec::new();
            for (what, which) in life {
                match what {
                    0 => {
                        epoch_now += 1;
                        let mut began = epoch("kimi", epoch_now, 3);
                        began.cursor = (last > 0).then(|| slot(last));
                        append(Record::Epoch(began));
                    }
                    1 | 2 => {
                        last += 1;
                        page.record(last, epoch_now, slot(last));
                        epoch_of.insert(last, epoch_now);
                        flying.push(last);
                    }
                    _ if which < flying.len() => {
                        let turn: u64 = flying.swap_remove(which);
                        append(Record::Attempt(attempt("kimi", turn, epoch_of[&turn])));
                    }
                    _ => {}
                }
            }
        }
        let mut store = Store::open(dir.path()).unwrap();
        let recovered = recover(&mut store, dir.path(), BOOT, at(9)).unwrap();
        let resumed = recovered.upstreams.get("kimi").cloned().unwrap_or_default();
        prop_assert_eq!(resumed.last_turn, last);
        if epoch_now > 0 && last > 0 {
            prop_assert_eq!(resumed.cursor, Some(slot(last)));
            prop_assert_eq!(resumed.epoch_number, epoch_now);
        }
        let mut query = store.db.prepare("SELECT line FROM lines ORDER BY seq").unwrap();
        let lines = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let mut seen = BTreeSet::new();
        for line in lines {
            let line = kmi_core::trace::Line::parse(line.unwrap().as_bytes()).unwrap();
            match line.record.unwrap() {
                Record::Attempt(it) => prop_assert!(seen.insert(it.turn.unwrap())),
                Record::Gap(gap) => {
                    let slots = gap.slots.unwrap();
                    prop_assert_eq!(slots.len() as u64, gap.to_turn - gap.from_turn + 1);
                    for (turn, its_slot) in (gap.from_turn..=gap.to_turn).zip(slots) {
                        prop_assert!(seen.insert(turn));
                        prop_assert_eq!((its_slot, gap.epoch), (slot(turn), epoch_of[&turn]));
                    }
                }
                _ => {}
            }
        }
        prop_assert_eq!(seen, (1..=last).collect::<BTreeSet<_>>());
    }
}
