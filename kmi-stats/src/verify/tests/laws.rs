//! Laws: whatever happens around a true rotation, its trace conforms; and any single forged slot
//! is found.

use kmi_core::{
    eligible::Eligible,
    inventory::{Inventory, Key, Limits, Served},
    key::{ApiKey, HomeSecret, KeyId, Label},
    rotation::Rotation,
    trace::{Epoch, EpochKey},
};
use proptest::prelude::*;

use super::*;

/// What happens next.
#[derive(Debug, Clone)]
enum Event {
    /// A request whose first `failures` attempts end with another key being tried; each attempt's
    /// line comes `delay` events later, or never.
    Request { failures: usize, delay: usize, lost: bool },
    /// A key becomes usable, or not.
    Flap { key: usize, usable: bool },
    /// Other keys, weights and priorities: 8 bits which of 8 keys there are, and their looks.
    Change { keys: u8, looks: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0usize..4, 0usize..12, 0u8..20)
            .prop_map(|(failures, delay, lost)| Event::Request { failures, delay, lost: lost == 0 }),
        4 => (0usize..8, any::<bool>()).prop_map(|(key, usable)| Event::Flap { key, usable }),
        1 => (any::<u8>(), any::<u64>()).prop_map(|(keys, looks)| Event::Change { keys, looks }),
    ]
}

/// A rotation as the proxy runs it, made of kmi-core's parts alone.
struct Proxy {
    inventory: Inventory,
    epoch: u64,
    rotation: Rotation,
    eligible: Eligible,
    last: Option<Served>,
    records: Vec<Record>,
    /// Ended attempts, by the event after which their line is written.
    ended: Vec<(usize, Record)>,
    lost: Vec<Turn>,
}

fn inventory(keys: u8, looks: u64) -> Inventory {
    let present = (0..8usize).filter(|n| keys & (1 << n) != 0 || *n == 0);
    let key = |n: usize| {
        let look = looks >> (8 * n);
        let secret = ApiKey::parse(&format!("sk-test-{n}")).unwrap();
        Arc::new(Key {
            id: KeyId::derive(&HomeSecret::new([0; 32]), &secret),
            label: Label::parse(&format!("key-{n}")).unwrap(),
            secret,
            upstream: "kimi".into(),
            priority: i32::from(look & 0xc == 0xc),
            weight: 1 + (look & 3) as u32,
            account: None,
            tags: Vec::new(),
            disabled: false,
            limits: Limits::default(),
            origin: "test".into(),
        })
    };
    Inventory::new(present.map(key).collect())
}

impl Proxy {
    fn start(keys: u8, looks: u64) -> Self {
        let inventory = inventory(keys, looks);
        let ring = Arc::new(inventory.ring().unwrap());
        let mut proxy = Self {
            eligible: Eligible::all(Arc::clone(&ring)),
            rotation: Rotation::new(ring),
            inventory,
            epoch: 1,
            last: None,
            records: Vec::new(),
            ended: Vec::new(),
            lost: Vec::new(),
        };
        proxy.write_epoch();
        proxy
    }

    fn write_epoch(&mut self) {
        let key = |key: &Arc<Key>| EpochKey {
            key: key.id.to_string().into(),
            label: key.label.shared(),
            weight: key.weight,
            tier: key.priority,
        };
        self.records.push(Record::Epoch(Epoch {
            ts: crate::trace_builder::at(0),
            epoch: self.epoch,
            upstream: "kimi".into(),
            keys: self.inventory.keys().iter().map(key).collect(),
            ring: self.rotation.ring().layout().to_vec(),
            cursor: self.rotation.cursor(),
        }));
    }

    fn take(&mut self, now: usize, event: &Event) {
        match *event {
            Event::Request { failures, delay, lost } => self.request(now, failures, delay, lost),
            Event::Flap { key, usable } => self.eligible.set(key, usable),
            Event::Change { keys, looks } => self.change(keys, looks),
        }
        let due: Vec<_> = self.ended.extract_if(.., |(due, _)| *due <= now).collect();
        self.records.extend(due.into_iter().map(|(_, record)| record));
    }

    fn request(&mut self, now: usize, failures: usize, delay: usize, lost: bool) {
        let mut tried = KeySet::default();
        for _ in 0..=failures {
            let Some(turn) = self.rotation.next(&self.eligible, &tried) else { return };
            let key = &self.inventory.keys()[turn.key];
            self.last = Some(Served { id: key.id, label: key.label.shared(), tier: key.priority });
            let mut attempt = attempt(&turn, &tried);
            (attempt.key, attempt.label) = (key.id.to_string().into(), key.label.shared());
            tried.insert(turn.key);
            if lost {
                self.lost.push(turn);
            } else {
                self.ended.push((now + delay, Record::Attempt(attempt)));
            }
        }
    }

    fn change(&mut self, keys: u8, looks: u64) {
        self.inventory = inventory(keys, looks);
        let ring = Arc::new(self.inventory.ring().unwrap());
        let cursor = self.inventory.inherit(&ring, self.last.as_ref());
        self.epoch += 1;
        self.eligible = Eligible::all(Arc::clone(&ring));
        self.rotation = Rotation::resume(ring, self.epoch, cursor, self.rotation.last_turn());
        self.write_epoch();
    }

    /// The process dies and is started again: what was lost becomes gaps.
    fn finish(mut self, slots_known: bool) -> Vec<Record> {
        self.records.extend(self.ended.into_iter().map(|(_, record)| record));
        for turn in self.lost {
            let slots = slots_known.then(|| vec![turn.slot]);
            let gap = Gap { epoch: turn.epoch, ..gap(turn.number, turn.number, slots) };
            self.records.push(Record::Gap(gap));
        }
        self.records
    }
}

fn run(keys: u8, looks: u64, events: &[Event], slots_known: bool) -> Vec<Record> {
    let mut proxy = Proxy::start(keys, looks);
    events.iter().enumerate().for_each(|(now, event)| proxy.take(now, event));
    proxy.finish(slots_known)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_true_rotation_always_conforms(
        keys in any::<u8>(),
        looks in any::<u64>(),
        events in prop::collection::vec(event(), 0..250),
        slots_known in any::<bool>(),
    ) {
        let records = run(keys, looks, &events, slots_known);
        let attempts = records.iter().filter(|it| matches!(it, Record::Attempt(_))).count() as u64;
        let report = verify_records(&records);
        let all = &report.all;
        prop_assert_eq!(&report.findings, &[]);
        prop_assert_eq!((all.turns, all.conforming, all.open), (attempts, attempts, 0));
        prop_assert!(all.max_pair_gap <= 1.0 + 1e-12, "{}", all.max_pair_gap);
        prop_assert!(report.window.numbers.max_pair_gap <= all.max_pair_gap);
        prop_assert!(!slots_known || all.unlinked == 0);
        let expected: f64 = all.shares.iter().map(|share| share.expected).sum();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let turns = attempts as f64;
        prop_assert!((expected - turns).abs() < 1e-6, "every turn is expected of somebody");
        prop_assert_eq!(all.shares.iter().map(|share| share.turns).sum::<u64>(), attempts);
    }

    #[test]
    fn any_single_forged_slot_is_found(
        keys in any::<u8>(),
        looks in any::<u64>(),
        events in prop::collection::vec(event(), 1..120),
        pick in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        with_its_key in any::<bool>(),
    ) {
        let mut records = run(keys, looks, &events, true);
        let attempts: Vec<usize> = (0..records.len())
            .filter(|at| matches!(records[*at], Record::Attempt(_)))
            .collect();
        prop_assume!(!attempts.is_empty());
        let at = attempts[pick.index(attempts.len())];
        let Record::Attempt(forged) = &records[at] else { unreachable!() };
        let of_forged = |record: &&Record| {
            matches!(record, Record::Epoch(epoch) if epoch.epoch == forged.epoch)
        };
        let Some(Record::Epoch(epoch)) = records.iter().find(of_forged).cloned() else {
            unreachable!()
        };
        prop_assume!(epoch.ring.len() > 1);
        let before = sealed(&records);
        let forged = attempt_of(&mut records[at]);
        let slot = (forged.slot.unwrap() + 1 + other.index(epoch.ring.len() - 1)) % epoch.ring.len();
        forged.slot = Some(slot);
        if with_its_key {
            forged.key = Arc::clone(&epoch.keys[epoch.ring[slot] as usize].key);
        }
        let turn = forged.turn;
        let after = sealed(&records);
        let report = verify(&after);
        prop_assert!(report.chain.ok);
        prop_assert_eq!(report.all.verdict, Verdict::Violated);
        prop_assert!(report.findings.iter().any(|finding| finding.turn == turn));
        // Whoever cannot make the chain anew is found at the very line.
        let mut one_line = before;
        one_line[at] = after[at].clone();
        let first_bad = verify(&one_line).first_bad_seq;
        // A forger who seals his line shows at the next one; there is none after the last.
        let next = (at + 2 <= one_line.len()).then_some(at as u64 + 2);
        prop_assert_eq!(first_bad, next);
    }

    /// Whatever stands in a file, it is judged.
    #[test]
    fn no_bytes_can_break_the_verifier(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut good = sealed(&rotation(&[1, 2], 4));
        let line = cut.index(good.len());
        let place = at.index(good[line].len());
        let changed = good[line][place] != byte;
        good[line][place] = byte;
        prop_assert_eq!(verify(&good).chain.ok, !changed);
        let mut verifier = Verifier::new(Options::default());
        for line in &lines {
            let _ = verifier.line(line);
        }
        let report = verifier.report(&InFlight::None);
        prop_assert!(report.chain.records == 0 || !report.chain.ok);
    }
}
