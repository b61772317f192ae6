//! Whole simulations: the example scenarios, and laws that every one obeys.

use std::{fs, path::PathBuf};

use kmi_core::state::{KeyState, Policy, Reason};
use kmi_stats::{
    report::Verdict,
    verify::{InFlight, Options, Verifier},
};

use super::{Engine, KeyGroup, Scenario, Simulated};

fn run(scenario: &Scenario) -> Simulated {
    Engine::new(scenario, 100_000, None).unwrap().run(|_| ()).unwrap()
}

fn parse(text: &str) -> Scenario {
    Scenario::parse(text).unwrap()
}

fn example(name: &str) -> Scenario {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios").join(name);
    parse(&fs::read_to_string(path).unwrap())
}

#[test]
fn one_flapping_key_costs_the_others_nothing() {
    let Simulated { summary, proof, .. } = run(&example("flapping.toml"));
    assert_eq!((proof.all.verdict, proof.all.conforming), (Verdict::Verified, 20_000));
    assert!(summary.blocks > 50, "{summary:?}");
    let turns = |start: &str| {
        let shares = proof.all.shares.iter().filter(|share| share.label.starts_with(start));
        shares.map(|share| share.turns).collect::<Vec<_>>()
    };
    let steady = turns("steady");
    assert!(steady.iter().max().unwrap() - steady.iter().min().unwrap() <= 1, "{steady:?}");
    assert!(turns("flapping")[0] < steady[0] / 2);
}

#[test]
fn an_afternoon_takes_three_keys() {
    let dry = |keys| {
        let mut scenario = example("afternoon.toml");
        scenario.keys[0].count = Some(keys);
        run(&scenario).summary.exhausted
    };
    let one = dry(1).unwrap();
    // 900 requests of three clients last for some two hours, and the window for five.
    assert!((6_600_000..8_400_000).contains(&one.first_ms), "{one:?}");
    assert!(one.first_ms + one.total_ms > 17_900_000 && !one.for_good, "{one:?}");
    assert!(dry(2).unwrap().first_ms > one.first_ms);
    assert!(dry(3).is_none());
}

#[test]
fn sessions_that_keep_their_key_find_more_in_its_cache() {
    let cached = |policy| {
        let mut scenario = example("sessions.toml");
        scenario.rotation.policy = policy;
        let Simulated { summary, proof, .. } = run(&scenario);
        assert_eq!(proof.all.violations, 0);
        (summary.tokens.cached_share(), summary.turns, summary.attempts)
    };
    let (rotating, turns, attempts) = cached(Policy::RoundRobin);
    assert_eq!(turns, attempts);
    let (keeping, turns, attempts) = cached(Policy::Session);
    assert!(turns < attempts / 20, "a session takes one turn");
    assert!(keeping > 0.9 && rotating < 0.7, "{keeping} {rotating}");
}

#[test]
fn an_outage_blocks_no_key() {
    let Simulated { summary, proof, changes, .. } = run(&example("outage.toml"));
    assert_eq!(proof.all.verdict, Verdict::Verified);
    assert!(summary.exhausted.is_none() && summary.requests.failed > 1_000);
    let blocked: Vec<_> = changes.iter().filter(|it| it.to == KeyState::Blocked).collect();
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    let blocked = (&*blocked[0].key, blocked[0].reason, blocked[0].until_ms);
    assert_eq!(blocked, ("k4", Some(Reason::AuthFailed), None));
}

#[test]
fn quotas_are_spent_and_come_back() {
    let Simulated { summary, proof, changes, .. } = run(&example("spent.toml"));
    assert_eq!(proof.all.verdict, Verdict::Verified);
    let dry = summary.exhausted.unwrap();
    assert!(!dry.for_good && dry.total_ms > 6 * 3_600_000, "{dry:?}");
    assert!(summary.requests.waited > 0);
    let spent = changes.iter().filter(|it| it.reason == Some(Reason::QuotaExhausted));
    let spent: Vec<_> = spent.map(|it| &*it.key).collect();
    for key in ["shared1", "shared2", "own", "reserve"] {
        assert!(spent.contains(&key), "{key}: {spent:?}");
    }
    // Only when the others rest.
    assert!(changes.iter().take_while(|it| &*it.key != "reserve").count() > 2);
}

/// What is verified without a line is what anybody reads out of the lines.
#[test]
fn a_written_trace_proves_the_same() {
    let text = "
        turns = 3000
        [rotation]
        on_exhausted = 'wait'
        [load]
        clients = 9
        [[key]]
        count = 3
        errors = 0.05
        [[key]]
        label = 'heavy'
        weight = 3
        [key.provider]
        rpm = 6
        concurrency = 2
        [[key]]
        label = 'last'
        priority = 1
    ";
    for policy in [Policy::RoundRobin, Policy::Session] {
        let mut scenario = parse(text);
        scenario.rotation.policy = policy;
        let silent = run(&scenario);
        let mut trace = Vec::new();
        let engine = Engine::new(&scenario, 100_000, Some(&mut trace)).unwrap();
        let written = engine.run(|_| ()).unwrap();
        assert_eq!(written.proof.all, silent.proof.all);
        assert_eq!(format!("{:?}", written.rows), format!("{:?}", silent.rows));
        let mut verifier = Verifier::new(Options::default());
        for line in trace.split(|byte| *byte == b'\n') {
            verifier.line(line).unwrap();
        }
        let read = verifier.report(&InFlight::None);
        assert_eq!((&read, read.chain.ok), (&written.proof, true));
        assert_eq!((read.all.violations, read.all.open, read.all.unlinked), (0, 0, 0));
        assert!(read.chain.records >= 3_001 && written.summary.blocks > 0);
    }
}

#[test]
fn the_seed_decides() {
    let rows = |seed| {
        let scenario = Scenario { seed, keys: vec![KeyGroup::of(3)], ..Scenario::default() };
        format!("{:?}", run(&scenario).rows)
    };
    assert_eq!(rows(1), rows(1));
    assert_ne!(rows(1), rows(2));
}

#[test]
fn without_any_key_that_works_it_ends() {
    let text = "
        turns = 5000
        [[key]]
        count = 2
        [[fail]]
        key = '*'
        at = '100..1000000'
        with = 'auth_failed'
    ";
    let Simulated { summary, .. } = run(&parse(text));
    assert!(summary.exhausted.unwrap().for_good);
    assert_eq!(summary.attempts, 101, "each key is refused once");
}

#[test]
fn requests_at_a_rate_come_whether_answers_come_or_not() {
    let text = "
        time = '1h'
        [load]
        rate = '60/m'
        [[key]]
        latency = '30s'
    ";
    let Simulated { summary, .. } = run(&parse(text));
    assert!((3_400..3_800).contains(&summary.requests.asked), "{summary:?}");
    assert_eq!(summary.simulated_ms, 3_600_000);
}

#[test]
fn what_cannot_be_simulated_is_refused_in_words() {
    let wrong = |text: &str| Scenario::parse(text).unwrap_err();
    assert!(wrong("colour = 1").contains("unknown field `colour`"));
    assert!(wrong("[load]\nthink = 'soon'").contains("`soon` is not a time such as 4s"));
    assert!(wrong("[[fail]]\nkey = '1'\nat = '1..2'\nwith = 'x'").contains("unknown variant `x`"));
    assert_eq!(wrong("turns = 1"), "there are 0 keys; 1 to 10000 can be simulated");
    assert_eq!(wrong("[[key]]\nweight = 0"), "a key has weight 0");
    assert!(wrong("[[key]]\n[key.provider]\ntokens = 5").contains("need a `window`"));
    let twice = parse("[[key]]\n[[key]]");
    assert!(Engine::new(&twice, 0, None).is_err(), "two keys called k");
}

/// Every field of the page is a field, with the default that the page says.
#[test]
fn the_page_of_scenarios_is_true() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios/README.md");
    let page = fs::read_to_string(path).unwrap();
    let block = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let written = parse(block);
    let default = Scenario { keys: vec![KeyGroup::of(5)], ..Scenario::default() };
    let with_fail = Scenario { fails: written.fails.clone(), turns: Some(1_000), ..default };
    assert_eq!(format!("{written:?}"), format!("{with_fail:?}"));
    assert_eq!(written.fails.len(), 1);
    // What is commented out can be said, too.
    let all = block.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
    let all: Vec<_> = all.filter(|line| !line.starts_with("rpm, tpm")).collect();
    parse(&all.join("\n"));
}
