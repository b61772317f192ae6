//! `kmi simulate`: what the rotation would do.

mod text;

use std::{
    fs::{self, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
};

use indicatif::{ProgressBar, ProgressStyle};
use kmi_core::state::Policy;
use kmi_stats::report::{Report, Verdict};
use serde::Serialize;

use super::Context;
use crate::{
    args::SimulateArgs,
    report::{Failure, USAGE},
    simulate::{Change, Engine, KeyGroup, Row, Scenario, Simulated, SimulationError, Summary},
};

/// Keys where nothing else is said.
const DEFAULT_KEYS: u32 = 5;
/// Attempts of the schedule that are shown, as text and as JSON.
const ROWS: (u64, u64) = (20, 10_000);
/// More attempts than this take longer than a moment.
const MANY_ATTEMPTS: u64 = 500_000;

/// `kmi simulate --json`: the proof as `kmi verify --json` has it, and what it is the proof of.
#[derive(Serialize)]
struct SimulatedJson<'a> {
    #[serde(flatten)]
    proof: &'a Report,
    simulation: &'a Summary,
    schedule: &'a [Row],
    health: &'a [Change],
}

/// One line of a comparison.
#[derive(Serialize)]
struct Compared {
    verdict: Verdict,
    #[serde(flatten)]
    summary: Summary,
}

pub(super) fn run(context: &Context<'_>, args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let several = args.keys.as_ref().is_some_and(|keys| keys.start() < keys.end());
    if several && (args.trace.is_some() || args.rows.is_some() || !args.weights.is_empty()) {
        return Err(
            usage("`--keys A..B` compares: --trace, --rows and --weights are for one").into()
        );
    }
    let scenario = scenario(args)?;
    if args.compare || several {
        return compare(context, args, &scenario);
    }
    let most = args.rows.unwrap_or(if context.output.json() { ROWS.1 } else { ROWS.0 });
    let mut file = args.trace.as_deref().map(create).transpose()?;
    let out = file.as_mut().map(|file| file as &mut dyn Write);
    let engine = Engine::new(&scenario, most, out).map_err(|error| failure(&error))?;
    let Simulated { summary, proof, rows, changes } = simulate(context, engine)?;
    if context.output.json() {
        let (schedule, health) = (&*rows, &*changes);
        let json = SimulatedJson { proof: &proof, simulation: &summary, schedule, health };
        context.output.data_json(&json)?;
    } else {
        let (width, paint) = (context.output.width(), context.output.paint());
        context.output.data(text::one(&summary, &proof, &rows, &changes, width, paint))?;
    }
    if let Some(path) = &args.trace {
        let path = path.display();
        context.output.note(format_args!("the trace is in {path}; `kmi verify {path}` checks it"));
    }
    Ok(code([proof.all.verdict]))
}

/// The same for several numbers of keys, or under both policies.
fn compare(
    context: &Context<'_>,
    args: &SimulateArgs,
    scenario: &Scenario,
) -> anyhow::Result<ExitCode> {
    let policies: &[Policy] = if args.compare {
        &[Policy::RoundRobin, Policy::Session]
    } else {
        &[scenario.rotation.policy]
    };
    let mut runs = Vec::new();
    let counts = args.keys.clone().map_or(vec![None], |keys| keys.map(Some).collect());
    for (count, policy) in counts.iter().flat_map(|n| policies.iter().map(move |it| (*n, *it))) {
        let mut scenario = scenario.clone();
        scenario.rotation.policy = policy;
        if let (Some(count), Some(first)) = (count, scenario.keys.first_mut()) {
            first.count = Some(count);
        }
        let engine = Engine::new(&scenario, 0, None).map_err(|error| failure(&error))?;
        let Simulated { summary, proof, .. } = simulate(context, engine)?;
        runs.push(Compared { verdict: proof.all.verdict, summary });
    }
    if context.output.json() {
        context.output.data_json(&serde_json::json!({ "runs": runs }))?;
    } else {
        let (width, paint) = (context.output.width(), context.output.paint());
        let rows = runs.iter().map(|run| (run.verdict, &run.summary));
        context.output.data(text::several(rows, width, paint))?;
    }
    Ok(code(runs.iter().map(|run| run.verdict)))
}

/// The scenario file with what the command line changes in it.
fn scenario(args: &SimulateArgs) -> anyhow::Result<Scenario> {
    let mut scenario = match &args.scenario {
        Some(path) => read(path)?,
        None => Scenario { keys: vec![KeyGroup::of(DEFAULT_KEYS)], ..Scenario::default() },
    };
    if let Some(keys) = &args.keys {
        scenario.keys[0].count = Some(*keys.start());
    }
    if !args.weights.is_empty() {
        scenario.weigh(&args.weights).map_err(|error| usage(&error))?;
    }
    for group in &mut scenario.keys {
        group.latency = args.latency.unwrap_or(group.latency);
    }
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    scenario.turns = args.turns.or(scenario.turns);
    scenario.time = args.time.or(scenario.time);
    scenario.rotation.policy = args.policy.unwrap_or(scenario.rotation.policy);
    scenario.load.rate = args.rate.or(scenario.load.rate.filter(|_| args.clients.is_none()));
    scenario.load.clients = args.clients.unwrap_or(scenario.load.clients);
    scenario.fails.extend(args.fail.iter().cloned());
    Ok(scenario)
}

fn read(path: &Path) -> anyhow::Result<Scenario> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        let hint = "docs/scenarios of kmi's repository has examples";
        Failure::new(format!("cannot read {shown}: {error}"), hint).code(USAGE)
    })?;
    Scenario::parse(&text).map_err(|error| usage(&format!("{shown}, {error}")).into())
}

fn usage(what: &str) -> Failure {
    let hint = "`kmi simulate --help` and docs/scenarios say what can be described";
    Failure::new(what, hint).code(USAGE)
}

fn failure(error: &SimulationError) -> Failure {
    match error {
        SimulationError::Scenario(what) => usage(what),
        SimulationError::Trace(_) => {
            Failure::new(error.to_string(), "make room, or name another file")
        }
    }
}

fn create(path: &Path) -> anyhow::Result<BufWriter<fs::File>> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.map_err(|error| {
        let shown = path.display();
        Failure::new(
            format!("cannot write {shown}: {error}"),
            "name a file in a directory of yours",
        )
    })?;
    Ok(BufWriter::with_capacity(1 << 16, file))
}

/// Runs it, with a bar on a terminal where it takes a while.
fn simulate(context: &Context<'_>, engine: Engine<'_>) -> anyhow::Result<Simulated> {
    let most = engine.most_attempts();
    let bar = match most.filter(|most| *most >= MANY_ATTEMPTS && context.output.progress()) {
        Some(most) => {
            let style = ProgressStyle::with_template("simulating {wide_bar} {percent} %");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(most).with_style(style)
        }
        None => ProgressBar::hidden(),
    };
    let simulated = engine.run(|attempts| bar.set_position(attempts));
    bar.finish_and_clear();
    Ok(simulated.map_err(|error| failure(&error))?)
}

/// Too few turns to judge are what was asked for; everything else that is not verified is a fault.
pub(super) fn code(verdicts: impl IntoIterator<Item = Verdict>) -> ExitCode {
    let good = |verdict| matches!(verdict, Verdict::Verified | Verdict::InsufficientData);
    ExitCode::from(u8::from(!verdicts.into_iter().all(good)))
}
