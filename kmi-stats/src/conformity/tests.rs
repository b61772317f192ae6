//! The rule for one turn and for a new epoch's cursor. What breaks it is tested trace by trace in
//! `verify/tests`.

use jiff::Timestamp;

use super::*;

fn key(label: &str, tier: i32) -> EpochKey {
    EpochKey { key: format!("k-{label}").into(), label: label.into(), weight: 1, tier }
}

fn ring(keys: Vec<EpochKey>, cursor: Option<usize>) -> Result<EpochRing, Violation> {
    let slots = 0..u32::try_from(keys.len()).unwrap();
    let (ts, upstream) = (Timestamp::UNIX_EPOCH, "kimi".into());
    EpochRing::read(Epoch { ts, epoch: 2, upstream, keys, ring: slots.collect(), cursor })
}

fn served(entry: EpochKey) -> Served {
    Served::Of(Arc::new(ring(vec![entry], None).unwrap()), 0)
}

#[test]
fn a_new_epoch_goes_on_where_the_old_one_stood() {
    let epoch = ring(vec![key("a", 0), key("c", 0), key("b", 1)], None).unwrap();
    let inherited = |label, tier| epoch.inherited(&served(key(label, tier)));
    assert_eq!(inherited("c", 0), Some(1), "stands on c, though c's tier may have changed");
    assert_eq!(inherited("c", 7), Some(1));
    assert_eq!(inherited("b", 0), Some(2), "b is still there");
    assert_eq!(inherited("aa", 0), Some(0), "gone; c is next");
    assert_eq!(inherited("d", 0), Some(1), "gone; b of the next tier is next");
    assert_eq!(inherited("z", 9), Some(2), "gone; a is next, going round");
    let only_id = Served::Named("k-gone".into());
    assert_eq!(epoch.inherited(&only_id), None);
}

#[test]
fn a_choice_is_replayed() {
    let epoch = ring(vec![key("a", 0), key("b", 0), key("c", 0)], None).unwrap();
    let (all, none) = (KeySet::full(3), KeySet::default());
    let first = Choice { prev_slot: None, slot: Some(0), key: "k-a", eligible: &all, tried: &none };
    assert_eq!(epoch.check(&first), Ok(()));
    let retry = Choice { tried: &KeySet::from_iter([0]), slot: Some(1), key: "k-b", ..first };
    assert_eq!(epoch.check(&retry), Ok(()));
    let round = Choice { prev_slot: Some(2), ..first };
    assert_eq!(epoch.check(&round), Ok(()));
    let skipped = Choice { slot: Some(2), key: "k-c", ..first };
    assert_eq!(epoch.check(&skipped), Err(Violation::WrongSlot { is: 2, should: 0 }));
}

#[test]
fn a_turn_follows_the_turn_before() {
    let epoch = ring(vec![key("a", 0), key("b", 0)], Some(1)).unwrap();
    let turn = |prev_slot| Start { epoch: &epoch, prev_slot };
    let end = |epoch, slot| End { epoch: Some(epoch), slot, served: None };
    assert_eq!(follow(&end(2, Some(0)), &turn(Some(0))), Ok(Linked::Yes));
    assert!(follow(&end(2, Some(0)), &turn(Some(1))).is_err());
    assert_eq!(follow(&end(2, None), &turn(Some(1))), Ok(Linked::No));
    assert_eq!(follow(&end(1, Some(0)), &turn(Some(1))), Ok(Linked::Yes), "the epoch's cursor");
    assert!(follow(&end(1, Some(0)), &turn(Some(0))).is_err());
    assert_eq!(
        follow(&end(3, Some(0)), &turn(Some(0))),
        Err(Violation::EarlierEpoch { is: 2, before: 3 })
    );
    let unknown = End { epoch: None, slot: Some(0), served: None };
    assert_eq!(follow(&unknown, &turn(Some(1))), Ok(Linked::No));
    assert!(start(&turn(None)).is_err(), "turn 1 in an epoch that starts elsewhere");
}
