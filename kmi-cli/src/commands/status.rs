//! `kmi status`, and the table that a bare `kmi` and `kmi rotate` show.

use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use kmi_core::{display::visible, snapshot::Snapshot};
use kmi_proxy::{
    control::{Outage, Reply, Request, Status, Tested},
    home::Home,
    ledger::{LedgerError, Reader},
};
use kmi_stats::{
    confidence::{MIN_TURNS, shown},
    report::{Report, Verdict},
    verify::{InFlight, Options, Verifier},
};
use kmi_tui::{quantity::counted, status_table::status_table};
use serde::Serialize;

use super::{Context, verify};
use crate::{args::StatusArgs, config::Config, desk};

/// How many lines the status looks back for the turns of its window, and how many at most where
/// most of them are no turns; `kmi verify` looks at everything.
const TAILS: [u64; 2] = [1_000, 5_000];

/// `kmi status --json`.
#[derive(Serialize)]
struct StatusJson<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    fairness: Report,
    trace_failure: Option<&'a str>,
    siblings: &'a [Vec<String>],
    outages: &'a [Outage],
}

pub(super) fn run(context: &Context<'_>, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    if !args.refresh {
        return show(context, &config);
    }
    let requests = [Request::Test { key: None }, Request::Status];
    let (mut refreshed, mut failed) = (None, Vec::new());
    for reply in desk::ask_in_turn(context, &config, &requests)? {
        match reply {
            Reply::Tested(keys) => failed = keys.into_iter().filter(|key| !key.ok).collect(),
            Reply::Status(status) => refreshed = Some(status),
            reply => return Err(desk::unexpected(&reply)),
        }
    }
    // What was found stands in the table, but for why something could not be.
    for Tested { label, error, .. } in &failed {
        let why = error.as_deref().unwrap_or("it does not work");
        context.output.note(format_args!("{}: {}", visible(label), visible(why)));
    }
    print(context, &config, &*refreshed.context("the proxy told no status")?)
}

/// A bare `kmi`: the status, or how to start.
pub(super) fn overview(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    // Looking around makes no home.
    if config.env_keys.is_empty() && !config.home.root().exists() {
        context.output.data(start(context, &config.home))?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = desk::status(context, &config)?;
    if status.snapshot.keys.is_empty() && !context.output.json() {
        desk::tell(&status.problems, context.output);
        context.output.data(start(context, &config.home))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(context, &config, &status)
}

/// How to start, with the home in force.
fn start(context: &Context<'_>, home: &Home) -> String {
    let kmi = context.called(home);
    let named = context.global.home.is_some() || context.env.os("KMI_HOME").is_some();
    let dir = if named { home.root().display().to_string() } else { "~/.kmi".to_owned() };
    let (init, add, run) =
        (format!("{kmi} init"), format!("{kmi} keys add LABEL"), format!("{kmi} run -- kimi"));
    let width = add.chars().count().max(26) + 2;
    format!(
        "\
kmi uses several Kimi API keys of yours as one, fairly and provably.
It has no key yet.

  {:width$} watch it work, without any key
  {init:width$} make {dir} with a commented configuration
  {add:width$} ask for a key and store it
  {run:width$} start Kimi Code through the proxy

`kmi --help` shows the rest.",
        "kmi demo"
    )
}

/// Shows the status as a table or as JSON.
pub(super) fn show(context: &Context<'_>, config: &Config) -> anyhow::Result<ExitCode> {
    print(context, config, &desk::status(context, config)?)
}

fn print(context: &Context<'_>, config: &Config, status: &Status) -> anyhow::Result<ExitCode> {
    let fairness = fairness(context, config);
    desk::tell(&status.problems, context.output);
    if let Some(failure) = &status.trace_failure {
        context.output.warning(
            format_args!("the trace cannot be written: {failure}"),
            "make room on the disk; what is missing will be declared",
        );
    }
    if context.output.json() {
        let trace_failure = status.trace_failure.as_deref();
        let (siblings, outages) = (&status.siblings, &status.outages);
        let json =
            StatusJson { snapshot: &status.snapshot, fairness, trace_failure, siblings, outages };
        context.output.data_json(&json)?;
        return Ok(ExitCode::SUCCESS);
    }
    for Outage { upstream, since } in &status.outages {
        context.output.warning(
            format_args!("{} fails over and over since {since:.0}", visible(upstream)),
            "no key is blocked for it; requests still go out, and the first good answer ends it",
        );
    }
    for keys in &status.siblings {
        let keys: Vec<_> = keys.iter().map(|label| visible(label)).collect();
        context.output.hint(format_args!(
            "{} are keys of one account: they share its limits, so rotation among them gains nothing",
            keys.join(", ")
        ));
    }
    let (width, paint) = (context.output.width(), context.output.paint());
    context.output.data(status_table(&status.snapshot, Timestamp::now(), width, paint))?;
    context.output.data(format_args!("\nfairness  {}", in_words(&fairness)))?;
    Ok(ExitCode::SUCCESS)
}

/// The numbers of the last lines of the ledger; those of no turns without a ledger.
pub(super) fn fairness(context: &Context<'_>, config: &Config) -> Report {
    match proof(&config.home) {
        Ok(report) => report,
        Err(error) => {
            if !matches!(error, LedgerError::Missing(_)) {
                let what = format!("the trace cannot be read: {error}");
                context.output.warning(visible(&what), "`kmi verify` shows what is wrong with it");
            }
            Verifier::new(Options::default()).report(&InFlight::None)
        }
    }
}

/// The proof over the newest lines of a home's ledger.
pub(crate) fn proof(home: &Home) -> Result<Report, LedgerError> {
    // First what is under way, then the lines: so what ends in between is no open turn.
    let in_flight = verify::in_flight(home);
    let reader = Reader::open(home.state_dir())?;
    let short = recent(&reader, TAILS[0], &in_flight)?;
    let (lines, turns) = (short.chain.records, short.window.numbers.turns);
    // With fewer lines than asked for there are no more of them.
    if lines < TAILS[0] || turns >= short.window.size {
        return Ok(short);
    }
    recent(&reader, TAILS[1], &in_flight)
}

fn recent(reader: &Reader, lines: u64, in_flight: &InFlight) -> Result<Report, LedgerError> {
    let tail = reader.tail(lines)?;
    let mut verifier = Verifier::new(Options::default());
    let first = tail.first().map_or(1, |line| line.seq);
    for line in reader.epochs_in_force(first)?.iter().chain(&tail) {
        // Only an export can be a filtered one.
        let _ = verifier.line(line.text.as_bytes());
    }
    Ok(verifier.report(in_flight))
}

/// The fairness of the last turns in one line: a confidence only where there is a proof, and never
/// 100 %.
pub(super) fn in_words(report: &Report) -> String {
    let window = &report.window.numbers;
    let (m, n) = (window.conforming, window.turns);
    match window.verdict {
        Verdict::InsufficientData => {
            let turns = counted(n, "turn");
            format!("{turns} so far; it takes {MIN_TURNS} to judge")
        }
        Verdict::Violated => {
            format!("VIOLATED: {m} of the last {n} turns in order; see `kmi verify`")
        }
        Verdict::Incomplete => {
            format!("{m} of the last {n} turns in order, not all can be checked; see `kmi verify`")
        }
        Verdict::Verified => {
            let confidence = shown(window.confidence);
            format!("{m} of the last {n} turns in order, confidence {confidence}")
        }
    }
}

#[cfg(test)]
mod tests {
    use kmi_stats::confidence::confidence;

    use super::*;

    fn told(verdict: Verdict, conforming: u64, turns: u64) -> String {
        let mut report = Verifier::new(Options::default()).report(&InFlight::None);
        let window = &mut report.window.numbers;
        (window.verdict, window.conforming, window.turns) = (verdict, conforming, turns);
        window.confidence = confidence(conforming, turns);
        in_words(&report)
    }

    /// What `kmi status` and `kmi auto` say.
    #[test]
    fn only_a_proof_has_a_confidence_and_none_is_certain() {
        for turns in 0..59 {
            let told = told(Verdict::InsufficientData, turns, turns);
            let s = if turns == 1 { "" } else { "s" };
            assert_eq!(told, format!("{turns} turn{s} so far; it takes 59 to judge"));
        }
        for turns in [59, 200, 1_000, 1_000_000] {
            let told = told(Verdict::Verified, turns, turns);
            assert!(told.contains(", confidence 9") && !told.contains("100.00"), "{told}");
        }
        assert_eq!(
            told(Verdict::Incomplete, 199, 200),
            "199 of the last 200 turns in order, not all can be checked; see `kmi verify`"
        );
        assert_eq!(
            told(Verdict::Violated, 199, 200),
            "VIOLATED: 199 of the last 200 turns in order; see `kmi verify`"
        );
    }
}
