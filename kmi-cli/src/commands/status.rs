//! `kmi status`, and the table that a bare `kmi` and `kmi rotate` show.

use std::process::ExitCode;

use jiff::Timestamp;
use kmi_core::snapshot::Snapshot;
use kmi_proxy::ledger::{LedgerError, Reader};
use kmi_stats::{
    report::{Report, Verdict},
    verify::{InFlight, Options, Verifier},
};
use kmi_tui::{quantity::percent, status_table::status_table};
use serde::Serialize;

use super::Context;
use crate::{config::Config, desk};

/// How far back the status looks; `kmi verify` looks at everything.
const TAIL: u64 = 5_000;

/// `kmi status --json`.
#[derive(Serialize)]
struct StatusJson<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    fairness: Option<Report>,
    trace_failure: Option<&'a str>,
}

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    show(context, &config)
}

/// A bare `kmi`: the status, or how to start.
pub(super) fn overview(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    let status = desk::status(&config, context.env)?;
    if !status.snapshot.keys.is_empty() {
        return show(context, &config);
    }
    desk::tell(&status.problems, context.output);
    context.output.data(START)?;
    Ok(ExitCode::SUCCESS)
}

const START: &str = "\
kmi uses several Kimi API keys of yours as one, fairly and provably. It has no key yet.

  kmi demo                     watch it work, without any key
  kmi init                     make ~/.kmi with a commented configuration
  kmi keys add LABEL           store a key; it is asked for, never typed as an argument
  kmi run -- kimi              start Kimi Code through the proxy

`kmi --help` shows the rest.";

/// Shows the status as a table or as JSON.
pub(super) fn show(context: &Context<'_>, config: &Config) -> anyhow::Result<ExitCode> {
    let status = desk::status(config, context.env)?;
    let now = Timestamp::now();
    let fairness = fairness(config, now);
    if context.output.json() {
        let trace_failure = status.trace_failure.as_deref();
        let json = StatusJson { snapshot: &status.snapshot, fairness, trace_failure };
        context.output.data_json(&json)?;
        return Ok(ExitCode::SUCCESS);
    }
    desk::tell(&status.problems, context.output);
    if let Some(failure) = &status.trace_failure {
        context.output.warning(
            format_args!("the trace cannot be written: {failure}"),
            "make room on the disk; what is missing will be declared",
        );
    }
    let table = status_table(&status.snapshot, now, context.output.width(), context.output.paint());
    context.output.data(table)?;
    context.output.data(format_args!("fairness: {}", in_words(fairness.as_ref())))?;
    Ok(ExitCode::SUCCESS)
}

/// The numbers of the last lines of the ledger; `None` without a ledger that can be read.
pub(super) fn fairness(config: &Config, _now: Timestamp) -> Option<Report> {
    let read = || -> Result<Report, LedgerError> {
        let reader = Reader::open(config.home.state_dir())?;
        let tail = reader.tail(TAIL)?;
        let mut verifier = Verifier::new(Options::default());
        let first = tail.first().map_or(1, |line| line.seq);
        for line in reader.epochs_in_force(first)?.iter().chain(&tail) {
            // Only an export can be a filtered one.
            let _ = verifier.line(line.text.as_bytes());
        }
        // What is in flight shows as open turns; they spoil nothing here.
        Ok(verifier.report(&InFlight::None))
    };
    read().ok()
}

/// The fairness of the last turns in one line; never 100 % on thin data.
pub(super) fn in_words(report: Option<&Report>) -> String {
    let Some(report) = report else { return "no trace yet".to_owned() };
    let window = &report.window.numbers;
    let confidence = percent(window.confidence, 2);
    match window.verdict {
        Verdict::InsufficientData => {
            format!("too few turns to judge ({} of 59)", window.turns)
        }
        Verdict::Violated => {
            format!(
                "VIOLATED: {} of the last {} turns; see `kmi verify`",
                window.violations, window.turns
            )
        }
        Verdict::Incomplete | Verdict::Verified => {
            let (m, n) = (window.conforming, window.turns);
            format!(
                "{m} of the last {n} turns in order, confidence {confidence}; `kmi verify` proves it"
            )
        }
    }
}
