//! `kmi usage`: what was used, summed over the trace.

use std::process::ExitCode;

use jiff::Timestamp;
use kmi_core::{display::csv_cell, trace::Attempt};
use kmi_proxy::ledger::{LedgerError, Reader};
use kmi_stats::usage::{By, Usage, UsageReport, UsageRow};
use kmi_tui::usage_text::usage_text;

use super::Context;
use crate::{
    args::{Grouping, UsageArgs},
    config::Config,
};

/// How the lines of attempts begin; others need not be read.
const ATTEMPT: &str = r#"{"type":"attempt","#;

pub(super) fn run(context: &Context<'_>, args: &UsageArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    let report = sum(&config, args)?;
    if context.output.json() {
        context.output.data_json(&report)?;
    } else if args.csv {
        context.output.raw(&csv(&report))?;
    } else {
        let (width, paint) = (context.output.width(), context.output.paint());
        context.output.data(usage_text(&report, width, paint))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn sum(config: &Config, args: &UsageArgs) -> anyhow::Result<UsageReport> {
    let mut usage = Usage::new(match args.by {
        Grouping::Key => By::Key,
        Grouping::Model => By::Model,
        Grouping::Day => By::Day,
    });
    let reader = match Reader::open(config.home.state_dir()) {
        Ok(reader) => reader,
        // Before the first start nothing was used.
        Err(LedgerError::Missing(_)) => return Ok(usage.report()),
        Err(error) => return Err(error.into()),
    };
    let since = args.since.map(|since| since.resolve(Timestamp::now()));
    if let Some((from, to)) = reader.stretch(since, None)? {
        for line in reader.lines(from, to) {
            let line = line?.text;
            // A line that cannot be read is `kmi verify`'s to tell, and costs no other.
            if line.starts_with(ATTEMPT)
                && let Ok(attempt) = serde_json::from_str::<Attempt>(&line)
                // Lines are found by the newest time before them, which a clock may have left ahead.
                && since.is_none_or(|since| attempt.ts >= since)
            {
                usage.add(&attempt);
            }
        }
    }
    Ok(usage.report())
}

fn csv(report: &UsageReport) -> String {
    let name = match report.by {
        By::Key => "label",
        By::Model => "model",
        By::Day => "day",
    };
    let mut text = format!(
        "{name},upstream,key,requests,retries,errors,prompt_tokens,completion_tokens,cached_tokens,\
         lost_cached_tokens,lost_at_most\r\n"
    );
    for row in &report.rows {
        text.push_str(&csv_row(row));
    }
    text
}

fn csv_row(row: &UsageRow) -> String {
    let words = [&row.name, &row.upstream, &row.key];
    let words = words.map(|word| csv_cell(word.as_deref().unwrap_or_default()).into_owned());
    let numbers = [
        row.requests,
        row.retries,
        row.errors,
        row.prompt_tokens,
        row.completion_tokens,
        row.cached_tokens,
    ];
    let numbers = numbers.map(|number| number.to_string()).join(",");
    let lost = row.lost_cached_tokens.map(|lost| lost.to_string()).unwrap_or_default();
    format!("{},{numbers},{lost},{}\r\n", words.join(","), row.lost_at_most)
}
