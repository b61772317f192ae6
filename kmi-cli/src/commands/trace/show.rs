//! `kmi trace show`: why a key was chosen.

use std::process::ExitCode;

use anyhow::Context as _;
use kmi_core::trace::{Epoch, Gap, Line, Record};
use kmi_proxy::ledger::Reader;
use kmi_stats::explain::{Explanation, Lost};
use kmi_tui::explain_text::{explain_text, lost_text};
use serde::Serialize;

use crate::{args::ShowArgs, commands::Context, config::Config, report::Failure};

/// What `--json` prints.
#[derive(Serialize)]
struct Shown {
    attempts: Vec<Told>,
    lost: Vec<Lost>,
}

#[derive(Serialize)]
struct Told {
    sentence: String,
    #[serde(flatten)]
    explanation: Explanation,
}

pub(super) fn run(
    context: &Context<'_>,
    config: &Config,
    args: &ShowArgs,
) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(config.home.state_dir())?;
    let (mut attempts, mut lost) = (Vec::new(), Vec::new());
    for line in reader.find(&args.what)? {
        let record = Line::parse(line.text.as_bytes());
        let record = record.with_context(|| format!("line {} cannot be read", line.seq))?.record;
        match record {
            Some(Record::Attempt(attempt)) => {
                attempts.push(reader.explain(line.seq, attempt)?);
            }
            Some(Record::Gap(gap)) => lost.extend(lose(&reader, line.seq, &gap, &args.what)?),
            _ => {}
        }
    }
    if attempts.is_empty() && lost.is_empty() {
        let what = format!("the trace has no turn and no request `{}`", args.what);
        let hint = "it may still be under way, or be older than `trace.retention` keeps; \
                    `kmi trace` shows turns and `x-kmi-request-id` names requests";
        return Err(Failure::new(what, hint).into());
    }
    if context.output.json() {
        let told =
            |explanation: Explanation| Told { sentence: explanation.sentence(), explanation };
        let attempts = attempts.into_iter().map(told).collect();
        context.output.data_json(&Shown { attempts, lost })?;
        return Ok(ExitCode::SUCCESS);
    }
    let (width, paint) = (context.output.width(), context.output.paint());
    let attempts = attempts.iter().map(|it| explain_text(it, width, paint));
    let texts: Vec<String> = attempts.chain(lost.iter().map(|it| lost_text(it, width))).collect();
    context.output.data(texts.join("\n\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn lose(reader: &Reader, seq: u64, gap: &Gap, what: &str) -> anyhow::Result<Option<Lost>> {
    let Ok(turn) = what.parse() else { return Ok(None) };
    let mut epoch: Option<Epoch> = None;
    for line in reader.epochs_in_force(seq)? {
        if let Ok(Line { record: Some(Record::Epoch(it)), .. }) = Line::parse(line.text.as_bytes())
            && it.upstream == gap.upstream
            && it.epoch == gap.epoch
        {
            epoch = Some(it);
        }
    }
    Ok(Lost::of(gap, turn, epoch.as_ref()))
}
