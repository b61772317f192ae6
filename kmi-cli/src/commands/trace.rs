//! `kmi trace`: following, exporting, and explaining (`show`).

mod head;
mod show;
mod web;

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
};

use anyhow::Context as _;
use jiff::Timestamp;
use kmi_core::{
    snapshot::KeyRow,
    trace::{Attempt, Line, Record},
};
use kmi_proxy::{
    control,
    ledger::{Export, Reader},
};
use kmi_tui::{model::Screen, trace_row::TraceLayout};

use super::{Context, keys};
use crate::{
    args::{ExportArgs, ExportFormat, Filter, TraceArgs, TraceCommand},
    config::Config,
    desk,
    report::Failure,
};

/// How the notice begins that lines were left out, because they came too fast.
const MISSED: &str = r#"{"type":"missed""#;

/// Lines of the past that a terminal shows before the live ones.
const BACK: u64 = 20;

pub(super) fn run(context: &Context<'_>, args: &TraceArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    match &args.command {
        Some(TraceCommand::Export(args)) => export(context, &config, args),
        Some(TraceCommand::Head(args)) => head::run(context, &config, args),
        Some(TraceCommand::Show(args)) => show::run(context, &config, args),
        None if args.web => web::run(context, &config),
        None if context.output.holds_screen() => {
            let filter = typed(&args.filter);
            context.watch(config, Screen::Trace, filter)
        }
        None => follow(context, &config, &args.filter),
    }
}

/// The filter as it would be typed in the live view.
fn typed(filter: &Filter) -> String {
    let key = filter.key.as_ref().map(|key| format!("key:{key}"));
    let outcome = filter.outcome.map(|outcome| format!("outcome:{}", outcome.as_str()));
    key.into_iter().chain(outcome).collect::<Vec<_>>().join(" ")
}

fn follow(context: &Context<'_>, config: &Config, filter: &Filter) -> anyhow::Result<ExitCode> {
    let raw = context.output.json() || !io::stdout().is_terminal();
    let after = if raw { None } else { newest(config).map(|seq| seq.saturating_sub(BACK)) };
    let lines = control::follow(&config.home.socket(), after).map_err(|error| match error {
        control::CallError::NotRunning => Failure::new(
            "no proxy runs on this home, so there is nothing to follow",
            "start one with `kmi serve`; `kmi trace export` shows the past",
        )
        .into(),
        error => anyhow::Error::from(error),
    })?;
    if let Some(key) = &filter.key {
        check_key(context, config, &Reader::open(config.home.state_dir())?, key)?;
    }
    let layout = TraceLayout::new(context.output.width(), context.output.paint());
    if !raw {
        context.output.data(layout.header())?;
    }
    let mut masks = Masks::new(config);
    for line in lines {
        let line = line.context("the running proxy broke off")?;
        let attempt = attempt(&line);
        // What was missed may have been wanted.
        if !wanted(filter, attempt.as_ref()) && !line.starts_with(MISSED) {
            continue;
        }
        match attempt {
            _ if raw => context.output.data(&line)?,
            Some(attempt) => {
                let masked = masks.of(&attempt.key);
                context.output.data(layout.row(&attempt, masked))?;
            }
            None => {}
        }
    }
    context.output.note("the proxy has stopped");
    Ok(ExitCode::SUCCESS)
}

/// The masked forms of the running proxy's keys.
struct Masks<'a> {
    config: &'a Config,
    /// By key id; `None` for a key that the proxy does not have any more.
    known: HashMap<String, Option<String>>,
}

impl<'a> Masks<'a> {
    fn new(config: &'a Config) -> Self {
        Self { config, known: HashMap::new() }
    }

    /// The masked form of a key; asks the proxy again when the key is a new one.
    fn of(&mut self, key: &str) -> Option<&str> {
        if !self.known.contains_key(key) {
            self.known.insert(key.to_owned(), None);
            let status = desk::call(&self.config.home, &control::Request::Status);
            if let Ok(control::Reply::Status(status)) = status {
                let rows = status.snapshot.keys.into_iter();
                self.known.extend(rows.map(|row| (row.key, Some(row.masked))));
            }
        }
        self.known.get(key)?.as_deref()
    }
}

fn newest(config: &Config) -> Option<u64> {
    let reader = Reader::open(config.home.state_dir()).ok()?;
    reader.span().ok()?.map(|(_, last)| last)
}

fn attempt(line: &str) -> Option<Attempt> {
    match Line::parse(line.as_bytes()).ok()?.record? {
        Record::Attempt(attempt) => Some(attempt),
        _ => None,
    }
}

/// Without a filter every line is wanted, with one only attempts that fit.
fn wanted(filter: &Filter, attempt: Option<&Attempt>) -> bool {
    if filter.key.is_none() && filter.outcome.is_none() {
        return true;
    }
    attempt.is_some_and(|attempt| {
        let key = |key: &String| **key == *attempt.label || **key == *attempt.key;
        filter.key.as_ref().is_none_or(key)
            && filter.outcome.is_none_or(|outcome| outcome == attempt.outcome)
    })
}

/// Refuses a key that neither a running proxy nor the trace nor a key file names.
fn check_key(
    context: &Context<'_>,
    config: &Config,
    reader: &Reader,
    key: &str,
) -> anyhow::Result<()> {
    let is_it = |row: &KeyRow| row.label == key || row.key == key;
    let running = desk::running(config)?;
    if running.is_some_and(|status| status.snapshot.keys.iter().any(is_it)) {
        return Ok(());
    }
    // Then the trace: reading the keys may run programs.
    if !reader.names_key(key)? {
        keys::find(&keys::load(context, config)?, key)?;
    }
    Ok(())
}

fn export(context: &Context<'_>, config: &Config, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    let what = Export {
        since: args.since.map(|moment| moment.resolve(now)),
        until: args.until.map(|moment| moment.resolve(now)),
        key: args.filter.key.clone(),
        outcome: args.filter.outcome,
    };
    let reader = Reader::open(config.home.state_dir())?;
    if let Some(key) = &what.key {
        check_key(context, config, &reader, key)?;
    }
    let write = |out: &mut dyn io::Write| match args.format {
        ExportFormat::Jsonl => reader.export_jsonl(&what, out),
        ExportFormat::Csv => reader.export_csv(&what, out),
    };
    let Some(path) = args.output.as_deref().filter(|path| *path != Path::new("-")) else {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        write(&mut out)?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    };
    // A trace tells when somebody worked on what: it is for its owner's eyes.
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out)?;
    out.flush().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
