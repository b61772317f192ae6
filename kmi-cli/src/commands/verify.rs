//! `kmi verify`: the proof.

mod kept;
mod lines;

use std::{collections::HashMap, fs::File, io, path::Path, process::ExitCode, sync::Arc};

use indicatif::{ProgressBar, ProgressStyle};
use kmi_core::trace::ChainHash;
use kmi_proxy::{
    control::{CallError, Reply, Request},
    home::Home,
    ledger::{self, LedgerError, Reader},
};
use kmi_stats::{
    checkpoint::Checkpoint,
    report::Report,
    verify::{Flight, InFlight, Options, Refused, Verifier},
};
use kmi_tui::verify_text::verify_text;

use self::lines::Lines;
use super::Context;
use crate::{
    args::VerifyArgs,
    config::Config,
    desk,
    report::{Failure, USAGE},
};

/// A ledger of so many lines takes longer than a moment, …
const MANY_LINES: u64 = 20_000;
/// … and so does a file of this size.
const MANY_BYTES: u64 = 16 << 20;

pub(super) fn run(context: &Context<'_>, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let (options, kept) = options(context, args)?;
    let mut verifier = Verifier::new(options);
    let in_flight = match &args.file {
        Some(file) => {
            read_file(file, &mut verifier, context)?;
            InFlight::None
        }
        None => read_ledger(&context.load(&[])?, &mut verifier, context)?,
    };
    let report = verifier.report(&in_flight);
    if args.file.is_some() && report.chain.records > 0 && report.chain.first_seq.is_none() {
        context.output.warning(
            "no line of it is a trace's: is it what `kmi trace export` wrote?",
            "CSV is for reading, and what is packed has to be unpacked",
        );
    }
    show(context, &report)?;
    let head_missing = report.head.as_ref().is_some_and(|head| !head.found);
    if let (true, Some(kept), Some(first)) = (head_missing, kept, report.chain.first_seq)
        && kept.count < first
    {
        context.output.warning(
            format_args!(
                "the checkpoint is of line {}, and the lines here begin with {first}: it is too old \
                 to be compared",
                kept.count
            ),
            "compare it with an older export, and keep a newer one of `kmi trace head`",
        );
    }
    let code = report.exit_code(args.allow_insufficient);
    Ok(ExitCode::from(if head_missing { 1 } else { code }))
}

/// The report as JSON or as text.
pub(super) fn show(context: &Context<'_>, report: &Report) -> anyhow::Result<()> {
    if context.output.json() {
        context.output.data_json(report)?;
    } else {
        let text = verify_text(report, context.output.width(), context.output.paint());
        context.output.data(text)?;
    }
    Ok(())
}

/// What to hold the lines against, and the checkpoint that it is from.
fn options(
    context: &Context<'_>,
    args: &VerifyArgs,
) -> anyhow::Result<(Options, Option<Checkpoint>)> {
    let head = args.head.as_deref().map(|head| {
        ChainHash::parse(&head.to_ascii_lowercase()).ok_or_else(|| {
            let hint = "a head is 64 hexadecimal digits, as `kmi verify` prints it";
            Failure::new("`--head` is not a hash", hint).code(USAGE)
        })
    });
    let signer = args.public_key.as_deref().map(kept::public_key).transpose()?;
    let mut options = Options { head: head.transpose()?, signer, ..Options::default() };
    let kept = args.checkpoint.as_deref();
    let kept = kept.map(|path| kept::checkpoint(path, options.signer.as_ref())).transpose()?;
    if let Some(kept) = &kept {
        options.head = Some(kept.head);
        if options.signer.is_none() {
            context.output.warning(
                "the checkpoint's signature was not checked",
                "name the key that was kept with it: `--public-key FILE`",
            );
        }
    }
    if let Some(window) = args.window {
        options.window = usize::try_from(window).unwrap_or(usize::MAX);
    }
    Ok((options, kept))
}

fn read_file(path: &Path, verifier: &mut Verifier, context: &Context<'_>) -> anyhow::Result<()> {
    let shown = path.display();
    // Nothing was verified, so it is no verdict either.
    let cannot = |what: &str, error: &io::Error| {
        let hint = "name a file that `kmi trace export -o FILE` wrote, or none for the ledger";
        Failure::new(format!("cannot {what} {shown}: {error}"), hint).code(USAGE)
    };
    let (from, length): (Box<dyn io::Read>, u64) = if path == Path::new("-") {
        (Box::new(io::stdin().lock()), 0)
    } else {
        let file = File::open(path).map_err(|error| cannot("open", &error))?;
        let length = file.metadata().map_or(0, |meta| meta.len());
        (Box::new(file), length)
    };
    let progress = progress(length, MANY_BYTES, context);
    let mut lines = Lines::new(from);
    while let Some(line) = lines.next_line().map_err(|error| cannot("read", &error))? {
        verifier.line(line).map_err(refuse)?;
        // The bar costs more than a line.
        if lines.passed() >= MANY_BYTES / 16 {
            progress.inc(lines.take_passed());
        }
    }
    progress.finish_and_clear();
    Ok(())
}

fn read_ledger(
    config: &Config,
    verifier: &mut Verifier,
    context: &Context<'_>,
) -> anyhow::Result<InFlight> {
    // First what is under way, then the lines: so what ends in between is no open turn.
    let in_flight = in_flight(&config.home);
    let reader = match Reader::open(config.home.state_dir()) {
        Ok(reader) => reader,
        Err(LedgerError::Missing(_)) => return Ok(in_flight),
        Err(error) => return Err(error.into()),
    };
    let Some((first, last)) = reader.span()? else { return Ok(in_flight) };
    let progress = progress(last - first + 1, MANY_LINES, context);
    for line in reader.epochs_in_force(first)? {
        verifier.line(line.text.as_bytes()).map_err(refuse)?;
    }
    for line in reader.lines(first, last) {
        verifier.line(line?.text.as_bytes()).map_err(refuse)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(in_flight)
}

/// The turns that the running proxy has under way, what ended before being on the disk then; without
/// one, how many its pages say were given out.
pub(super) fn in_flight(home: &Home) -> InFlight {
    match desk::call(home, &Request::InFlight) {
        Ok(Reply::InFlight(turns)) => {
            let flight = |(upstream, turns): (Arc<str>, kmi_proxy::rotor::InFlight)| {
                (upstream, Flight { turns: turns.turns, newest: turns.newest })
            };
            InFlight::Turns(turns.into_iter().map(flight).collect::<HashMap<_, _>>())
        }
        Err(CallError::NotRunning) => InFlight::GivenOut(ledger::turns_given_out(home.state_dir())),
        // A proxy that does not answer may have turns under way.
        _ => InFlight::None,
    }
}

fn refuse(refused: Refused) -> Failure {
    let hint = "export without `--key` and `--outcome`: only a whole stretch can be verified";
    Failure::new(refused.to_string(), hint).code(USAGE)
}

/// A bar on a terminal where it takes a while (from `long` on), nothing elsewhere.
fn progress(length: u64, long: u64, context: &Context<'_>) -> ProgressBar {
    if length < long || !context.output.progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("verifying {wide_bar} {percent} %");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
