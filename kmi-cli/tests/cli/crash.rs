//! SIGKILL in the middle of work: nothing is lost silently, no turn is given out twice.

use std::{collections::BTreeMap, time::Duration};

use kmi_proxy::demo::{Act, Scenario, When};
use rustix::process::Signal;
use serde_json::Value;

use crate::proxy::{Proxy, Upstream, eventually};

const KEYS: usize = 7;
const CLIENTS: usize = 4;
const CRASHES: usize = 5;

#[test]
fn the_rotation_goes_on_in_place() {
    let slow = |scenario: Scenario, key| {
        scenario.with_fault(key, When::Always, Act::SlowHead(Duration::from_millis(5)))
    };
    let upstream = Upstream::start((0..KEYS).fold(Scenario::healthy(KEYS), slow));
    let user = upstream.user();
    user.run("-q auto on").good();

    let mut answered: BTreeMap<u64, String> = BTreeMap::new();
    let mut note = |turns: Vec<(u64, String)>| {
        for (turn, key) in turns {
            assert!(answered.insert(turn, key).is_none(), "turn {turn} was given out twice");
        }
    };
    for round in 1..=CRASHES {
        let mut proxy = Proxy::start(&user);
        let before = upstream.stand_in.requests_per_key().iter().sum::<u64>();
        let clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
        let clients = clients.into_iter().map(|mut client| {
            std::thread::spawn(move || {
                let answers = std::iter::from_fn(|| client.chat().ok());
                answers.map(|it| (it.turn(), it.header("x-kmi-key"))).collect::<Vec<_>>()
            })
        });
        let clients: Vec<_> = clients.collect();
        eventually("requests are served", || {
            upstream.stand_in.requests_per_key().iter().sum::<u64>() > before + 40
        });
        proxy.process.signal(Signal::KILL);
        assert_eq!(proxy.process.wait(), None, "round {round}");
        for client in clients {
            note(client.join().unwrap());
        }
    }
    let proxy = Proxy::start(&user);
    assert!(Proxy::said(&user).contains("declared in the trace as gaps"), "{}", Proxy::said(&user));
    let mut client = proxy.client();
    for _ in 0..20 {
        let answer = client.chat().unwrap();
        note(vec![(answer.turn(), answer.header("x-kmi-key"))]);
    }
    user.run("stop").good();

    let report = user.run("verify --json").good().json();
    assert_eq!(
        [&report["verdict"], &report["open"], &report["violations"], &report["gaps_without_slots"]],
        [&Value::from("verified"), &0.into(), &0.into(), &0.into()]
    );
    assert!(report["gap_turns"].as_u64().unwrap() > 0, "{:#}", report["gaps"]);
    // Every turn is in the trace, once, and stands where the one before it left the ring.
    let slots = slots(&user.run("trace export").good().out);
    assert!(slots.keys().copied().eq(1..=slots.len() as u64), "a turn number is missing");
    assert!(slots.iter().all(|(turn, slot)| *slot == (turn - 1) % KEYS as u64), "{slots:?}");
    for (turn, key) in answered {
        assert_eq!(key, format!("k{}", slots[&turn] + 1), "turn {turn}");
    }
}

/// The slot of every turn that a trace tells of.
fn slots(trace: &str) -> BTreeMap<u64, u64> {
    let mut slots = BTreeMap::new();
    for line in trace.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| line[name].as_u64().unwrap();
        let turns: Vec<(u64, u64)> = match line["type"].as_str().unwrap() {
            "attempt" => vec![(number("turn"), number("slot"))],
            "gap" => {
                let slots = line["slots"].as_array().unwrap().iter();
                (number("from_turn")..).zip(slots.map(|slot| slot.as_u64().unwrap())).collect()
            }
            _ => vec![],
        };
        for (turn, slot) in turns {
            assert!(slots.insert(turn, slot).is_none(), "turn {turn} is in two lines");
        }
    }
    slots
}
