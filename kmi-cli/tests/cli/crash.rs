//! SIGKILL in the middle of work: nothing is lost silently, no turn is given out twice.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use kmi_proxy::demo::{Act, Scenario, Shape, When};
use rustix::process::Signal;
use serde_json::Value;

use crate::proxy::{Client, Proxy, Upstream, eventually};

const KEYS: usize = 7;
/// Half of them ask for streams.
const CLIENTS: usize = 4;
/// The gate asks for more.
const CRASHES: usize = 8;
/// However the last one ended.
const START: Duration = Duration::from_secs(2);

/// The number of the turn and the label of the key that served it.
type Served = (u64, String);

/// Asks until the proxy is gone.
fn ask(mut client: Client, streams: bool) -> Vec<Served> {
    let mut served = Vec::new();
    loop {
        let answer = if streams { client.stream() } else { client.chat() };
        let Ok(answer) = answer else { return served };
        served.extend(answer.served());
        if streams {
            if !answer.body.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n") {
                return served;
            }
            client = match client.try_again() {
                Ok(client) => client,
                Err(_) => return served,
            };
        }
    }
}

#[test]
fn the_rotation_goes_on_in_place() {
    let slow = |scenario: Scenario, key| {
        scenario.with_fault(key, When::Always, Act::SlowHead(Duration::from_millis(5)))
    };
    let healthy = Scenario::healthy(KEYS).with_shape(Shape::sized(10, 5, Duration::from_millis(8)));
    let upstream = Upstream::start((0..KEYS).fold(healthy, slow));
    let user = upstream.user();
    user.run("-q auto on").good();

    let mut answered: BTreeMap<u64, String> = BTreeMap::new();
    let mut note = |turns: Vec<Served>| {
        for (turn, key) in turns {
            assert!(answered.insert(turn, key).is_none(), "turn {turn} was given out twice");
        }
    };
    let crashes = std::env::var("KMI_CRASHES").ok().and_then(|n| n.parse().ok());
    for round in 1..=crashes.unwrap_or(CRASHES) {
        let start = Instant::now();
        let mut proxy = Proxy::start(&user);
        assert!(start.elapsed() < START, "round {round}: started in {:?}", start.elapsed());
        let before = upstream.stand_in.requests_per_key().iter().sum::<u64>();
        let clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
        let clients = clients
            .into_iter()
            .enumerate()
            .map(|(number, client)| std::thread::spawn(move || ask(client, number % 2 == 0)));
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
        note(answer.served().into_iter().collect());
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
