//! `kmi demo`: the real proxy, rotation, ledger and verifier against a stand-in for Kimi.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use kmi_core::{
    key::{ApiKey, Label},
    state::Mode,
};
use kmi_proxy::{
    demo::{Scenario, StandIn, Visit, Visitors},
    engine::Engine,
    home::Home,
    keys::{self, NewKey},
    ledger::Reader,
    rotor::{self, Setup},
    settings::{ProxySettings, RotationSettings, Settings, UpstreamSettings},
};
use kmi_stats::{
    report::Report,
    verify::{InFlight, Options, Verifier},
};
use kmi_tui::{model::Screen, quantity::counted, status_table::status_table};
use tokio::task::JoinSet;

use super::{Context, ending::Ending, serve, simulate, verify};
use crate::{
    args::DemoArgs,
    hardening,
    live::{self, Place},
    report::{Failure, USAGE},
};

/// The names of the seven keys, in inventory order.
const LABELS: [&str; 7] = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf"];
/// Requests start this far apart, so that one can watch, …
const PACE: Duration = Duration::from_millis(10);
/// … but all of them within this time.
const LONGEST: Duration = Duration::from_secs(20);
/// Visitors who go on come at this pace.
const LIGHT: Duration = Duration::from_millis(150);

pub(super) fn run(context: &Context<'_>, args: &DemoArgs) -> anyhow::Result<ExitCode> {
    // The stand-in and the visitors run beside the proxy, and the screen has this thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    serve::block_on(runtime.context("cannot start the runtime")?, demo(context, args))
}

async fn demo(context: &Context<'_>, args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if args.tui && !context.output.holds_screen() {
        let hint = "run it in a terminal, or `kmi demo` for the result alone";
        return Err(Failure::new("--tui needs a terminal", hint).code(USAGE).into());
    }
    hardening::make_room(ProxySettings::default().max_connections, context.output);
    let mut ending = Ending::new()?;
    // Removed with everything in it when the demonstration ends, however it ends.
    let dir = tempfile::Builder::new().prefix("kmi-demo-").tempdir()?;
    let home = Home::new(dir.path().join("home"));
    let scenario = if args.tui || args.serve { Scenario::live() } else { Scenario::demo() };
    let stand_in = StandIn::start(scenario).await.context("cannot start the stand-in")?;
    let engine = start(&home, &stand_in).await?;
    let code = if args.tui {
        watch(context, &engine)
    } else {
        show(context, &engine, args, &mut ending).await
    };
    engine.stop().await?;
    code
}

/// The live view; visitors come for as long as it is open.
fn watch(context: &Context<'_>, engine: &Engine) -> anyhow::Result<ExitCode> {
    let _company = company(engine)?;
    let place = Place { home: engine.rotor().home().clone(), resting: None };
    let screen = || live::show(place, Screen::Trace, String::new(), context.output);
    let code = tokio::task::block_in_place(screen)?;
    context.output.note("the demonstration is over, and its home is gone");
    Ok(code)
}

/// Requests, the proof, and for `--serve` what to do with a proxy that goes on.
async fn show(
    context: &Context<'_>,
    engine: &Engine,
    args: &DemoArgs,
    ending: &mut Ending,
) -> anyhow::Result<ExitCode> {
    context.output.note(
        "seven keys before a stand-in for Kimi; charlie will be rate limited, echo out of quota for a while",
    );
    if args.serve {
        tell_where(context, engine)?;
    }
    let lost = tokio::select! {
        lost = visit(context, engine, args.requests) => lost?,
        // What serves until it is ended has ended well.
        signal = ending.next() => {
            return Ok(if args.serve { ExitCode::SUCCESS } else { ExitCode::from(128 + signal) });
        }
    };
    let snapshot = engine.rotor().snapshot(Timestamp::now());
    let report = tokio::task::block_in_place(|| proof(engine))?;
    if !context.output.json() {
        let (width, paint) = (context.output.width(), context.output.paint());
        context.output.data(status_table(&snapshot, Timestamp::now(), width, paint))?;
        context.output.data("")?;
    }
    verify::show(context, &report)?;
    if lost > 0 {
        context.output.warning(
            format_args!("{} got no good answer", counted(lost.into(), "request")),
            "that happens when every key has to rest at once, and when an answer breaks off",
        );
    }
    if args.serve {
        context.output.note("a few visitors go on; Ctrl-C ends it and removes the home");
        let _company = company(engine)?;
        ending.next().await;
    }
    Ok(simulate::code([report.all.verdict]))
}

async fn start(home: &Home, stand_in: &StandIn) -> anyhow::Result<Engine> {
    home.create()?;
    for (label, key) in LABELS.iter().zip(&stand_in.scenario().keys) {
        let (label, secret) = (Label::parse(label)?, ApiKey::parse(&key.secret)?);
        keys::add(home.auths_dir(), &label, &secret, &NewKey::default())?;
    }
    let setup =
        Setup { settings: settings(stand_in), env_keys: Vec::new(), variables: Arc::new(|_| None) };
    let again = setup.clone();
    let engine = Engine::start(home.clone(), setup, Arc::new(move |_| Ok(again.clone()))).await;
    engine.context("cannot start the proxy")
}

fn settings(stand_in: &StandIn) -> Settings {
    // The stand-in's limits last for seconds, not for hours.
    let health = kmi_health::Policy {
        quota_cooldown: Duration::from_secs(2),
        rate_limit_cooldown: Duration::from_millis(500),
        ..kmi_health::Policy::default()
    };
    Settings {
        proxy: ProxySettings { listen: ([127, 0, 0, 1], 0).into(), ..ProxySettings::default() },
        upstreams: vec![UpstreamSettings {
            base_url: stand_in.base_url(),
            ..UpstreamSettings::default()
        }],
        rotation: RotationSettings { mode: Mode::Auto, ..RotationSettings::default() },
        health,
        ..Settings::default()
    }
}

/// Sends the requests and shows how it goes; returns how many got no good answer.
async fn visit(context: &Context<'_>, engine: &Engine, requests: u32) -> anyhow::Result<u32> {
    let progress = progress(context, requests);
    let mut told = visitors(engine, PACE.min(LONGEST / requests))?.send(requests);
    let mut lost = 0;
    while let Some(visit) = told.recv().await {
        lost += u32::from(visit.status.is_none_or(|status| status >= 400));
        progress.set_message(in_words(&visit));
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(lost)
}

fn visitors(engine: &Engine, pace: Duration) -> anyhow::Result<Visitors> {
    Ok(Visitors {
        address: engine.address(),
        token: engine.rotor().home().token()?,
        base_path: ProxySettings::default().base_path,
        clients: 8,
        pace,
    })
}

/// Visitors who come until this is dropped. What became of their requests is the trace's to tell,
/// but it has to be taken off them: they do not go on before somebody has heard them.
fn company(engine: &Engine) -> anyhow::Result<JoinSet<()>> {
    let mut told = visitors(engine, LIGHT)?.send(u32::MAX);
    let mut company = JoinSet::new();
    company.spawn(async move { while told.recv().await.is_some() {} });
    Ok(company)
}

fn in_words(visit: &Visit) -> String {
    match (&visit.key, visit.turn) {
        (Some(key), Some(turn)) => format!("turn {turn} → {key}"),
        _ => "no key usable".to_owned(),
    }
}

fn progress(context: &Context<'_>, requests: u32) -> ProgressBar {
    if !context.output.progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {msg}");
    ProgressBar::new(requests.into())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Verifies the ledger as a stranger would: line by line, from the disk.
fn proof(engine: &Engine) -> anyhow::Result<Report> {
    engine.rotor().settle()?;
    let reader = Reader::open(engine.rotor().home().state_dir())?;
    let mut verifier = Verifier::new(Options::default());
    if let Some((first, last)) = reader.span()? {
        for line in reader.lines(first, last) {
            verifier.line(line?.text.as_bytes())?;
        }
    }
    Ok(verifier.report(&InFlight::None))
}

/// Where it serves and how to watch it: known before the first request comes.
fn tell_where(context: &Context<'_>, engine: &Engine) -> anyhow::Result<()> {
    let base_url = rotor::base_url(engine.address(), &ProxySettings::default().base_path);
    let home = engine.rotor().home().root().display();
    context.output.data(format_args!("kmi serves at {base_url}"))?;
    for (command, what) in
        [("trace", "the requests, live"), ("top", "the keys, live"), ("env", "what a client needs")]
    {
        context.output.note(format_args!("  kmi --home {home} {command:<6} {what}"));
    }
    Ok(())
}
