//! Asks the running proxy or, when none runs, acts on the home's state itself.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use kmi_proxy::{
    control::{self, CallError, Problem, Reply, Request, Status},
    engine::{Engine, Occasion, Reread},
    home::Home,
    keys::{Answers, SETTLE, Sources, Variables},
    ledger::LedgerError,
    rotor::{Rotor, RotorError, Setup},
};
use zeroize::Zeroizing;

use crate::{
    commands::Context,
    config::{Config, ConfigError, Environment, Flag},
    output::Output,
    report::Failure,
};

/// How long a command waits for another one (or a proxy that is starting or stopping) to let go
/// of the state.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// After this time it says what it waits for.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
/// How often it looks meanwhile.
pub(crate) const RETRY: Duration = Duration::from_millis(20);

/// Has a request answered: by the running proxy, else by this process.
pub(crate) fn ask(
    context: &Context<'_>,
    config: &Config,
    request: &Request,
) -> anyhow::Result<Reply> {
    let requests = std::slice::from_ref(request);
    let replies = ask_and_tell(config, context.env, requests, &|note| context.output.note(note))?;
    only(replies)
}

/// As [`ask`], one request after the other, and by one and the same: what a process without a proxy
/// learns from one is gone with it.
pub(crate) fn ask_in_turn(
    context: &Context<'_>,
    config: &Config,
    requests: &[Request],
) -> anyhow::Result<Vec<Reply>> {
    ask_and_tell(config, context.env, requests, &|note| context.output.note(note))
}

/// As [`ask`], without a word: for those who hold the screen.
pub(crate) fn ask_silently(
    config: &Config,
    env: &Environment,
    request: &Request,
) -> anyhow::Result<Reply> {
    only(ask_and_tell(config, env, std::slice::from_ref(request), &|_| {})?)
}

/// The reply to a single request.
fn only(mut replies: Vec<Reply>) -> anyhow::Result<Reply> {
    replies.pop().context("no answer came")
}

fn ask_and_tell(
    config: &Config,
    env: &Environment,
    requests: &[Request],
    tell: &dyn Fn(&str),
) -> anyhow::Result<Vec<Reply>> {
    let start = Instant::now();
    let mut told = false;
    loop {
        let called: Result<Vec<Reply>, _> =
            requests.iter().map(|request| call(&config.home, request)).collect();
        match called {
            Ok(replies) => return replies.into_iter().map(checked).collect(),
            Err(CallError::NotRunning) => {}
            Err(error) => bail!(error),
        }
        let setup = setup(config, env);
        match Rotor::open(config.home.clone(), setup, Timestamp::now()) {
            Ok(rotor) => {
                rotor.notes().iter().for_each(|note| tell(note));
                let answer = |request: &Request| rotor.answer(request.clone(), Timestamp::now());
                let replies: Vec<Reply> = requests.iter().map(answer).collect();
                rotor.close()?;
                return replies.into_iter().map(checked).collect();
            }
            Err(RotorError::Ledger(LedgerError::Locked { pid, .. })) => {
                if start.elapsed() > PATIENCE {
                    return Err(held(config, pid).into());
                }
                if !told && start.elapsed() > SILENCE {
                    told = true;
                    tell(&format!("waiting: {}", held(config, pid)));
                }
                thread::sleep(RETRY);
            }
            Err(error) => return Err(not_opened(error, config)),
        }
    }
}

/// Why a home cannot be opened; what the configuration is to blame for is told with its place.
pub(crate) fn not_opened(error: RotorError, config: &Config) -> anyhow::Error {
    match error {
        RotorError::Upstream { upstream, source } => {
            ConfigError::from(config.refused_upstream(&upstream, &source)).into()
        }
        error => error.into(),
    }
}

/// Somebody has held the state for too long without answering calls.
pub(crate) fn held(config: &Config, pid: Option<u32>) -> Failure {
    let who = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    let home = config.home.root().display();
    let what = format!("another kmi{who} is starting, stopping or at work on {home}");
    let hint = match pid {
        Some(pid) => format!("try again in a moment; if it hangs, end it with `kill {pid}`"),
        None => "try again in a moment".to_owned(),
    };
    Failure::new(what, hint)
}

/// Whether a proxy answers on this home.
pub(crate) fn is_running(home: &Home) -> bool {
    !matches!(call(home, &Request::Status), Err(CallError::NotRunning))
}

/// Where the running proxy listens; `None` when none runs.
pub(crate) fn listening(config: &Config) -> anyhow::Result<Option<SocketAddr>> {
    running(config)?.map(|status| address(&status)).transpose()
}

/// Where a running proxy listens.
pub(crate) fn address(status: &Status) -> anyhow::Result<SocketAddr> {
    let listen = status.snapshot.proxy.listen.as_deref();
    Ok(listen.context("the running proxy does not say where it listens")?.parse()?)
}

/// The status of the proxy that runs on the home, if one does.
pub(crate) fn running(config: &Config) -> anyhow::Result<Option<Box<Status>>> {
    match call(&config.home, &Request::Status) {
        Ok(Reply::Status(status)) => Ok(Some(status)),
        Ok(reply) => Err(unexpected(&reply)),
        Err(CallError::NotRunning) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Calls the running proxy. One that ends in the middle of the call is not the last word: another
/// one may run by then, or none, and the request can be repeated (unless twice is not once).
pub(crate) fn call(home: &Home, request: &Request) -> Result<Reply, CallError> {
    let once = matches!(request, Request::HandOver | Request::Rotate { key: None } | Request::Stop);
    let start = Instant::now();
    loop {
        match control::call(&home.socket(), request) {
            Err(CallError::Gone) if !once && start.elapsed() < PATIENCE => {
                thread::sleep(RETRY);
            }
            answer => return answer,
        }
    }
}

/// Has a request answered by the running proxy; an error when none runs.
pub(crate) fn ask_running(home: &Home, request: &Request) -> anyhow::Result<Reply> {
    match call(home, request) {
        Ok(reply) => checked(reply),
        Err(CallError::NotRunning) => {
            let failure = Failure::new("no proxy runs on this home", "start one with `kmi serve`");
            Err(failure.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The status, of the running proxy or of the home.
pub(crate) fn status(context: &Context<'_>, config: &Config) -> anyhow::Result<Status> {
    match ask(context, config, &Request::Status)? {
        Reply::Status(status) => Ok(*status),
        reply => Err(unexpected(&reply)),
    }
}

/// What to say when an answer is of the wrong kind.
pub(crate) fn unexpected(reply: &Reply) -> anyhow::Error {
    let text = format!("the running proxy gives an answer that does not fit: {reply:?}");
    Failure::new(text, "restart the proxy if kmi was updated").into()
}

/// Says what is wrong with key files.
pub(crate) fn tell(problems: &[Problem], output: Output) {
    for problem in problems {
        output.warning(&problem.message, &problem.hint);
    }
}

/// Says that a proxy which has just started has nothing to serve with.
pub(crate) fn tell_without_keys(engine: &Engine, output: Output) {
    if engine.rotor().snapshot(Timestamp::now()).keys.is_empty() {
        output.warning(
            "there is no key yet: every request will be refused",
            "`kmi keys add LABEL` adds one, also while kmi runs; `kmi keys import` finds some",
        );
    }
}

/// What a rotor is made of.
pub(crate) fn setup(config: &Config, env: &Environment) -> Setup {
    let env = env.clone();
    let dotenv = config.home.env_file();
    let variables: Variables = Arc::new(move |name| {
        let own = env.text(name).map(|value| Zeroizing::new(value.to_owned()));
        own.or_else(|| crate::config::dotenv_value(&dotenv, name))
    });
    Setup { settings: config.settings.clone(), env_keys: config.env_keys.clone(), variables }
}

/// Where keys are, to read them in this process without asking a proxy or making anything.
pub(crate) fn sources(config: &Config, env: &Environment) -> Sources {
    let setup = setup(config, env);
    Sources {
        dir: config.home.auths_dir().to_owned(),
        env: setup.env_keys,
        upstreams: setup.settings.upstreams,
        variables: setup.variables,
        answers: Answers::default(),
        settle: Duration::ZERO,
    }
}

/// Reads the configuration again, as at the start, for a reload of a proxy that runs with `config`.
///
/// Where only key files have changed, a configuration that is gone or just being written is no
/// reason to go on without one: keys would be sent to another host.
pub(crate) fn reread(context: &Context<'_>, flags: &[Flag], config: &Config) -> Reread {
    let (global, env, flags) = (context.global.clone(), context.env.clone(), flags.to_vec());
    let (file, has_file) = (config.file.clone(), AtomicBool::new(config.file.is_some()));
    Arc::new(move |occasion| {
        if let Some(file) = &file {
            settle(file);
        }
        let config = crate::config::load(global.given(&flags), &env).map_err(|error| {
            let hint = "`kmi config check` shows it all; what was in force stays";
            control::Failure { message: error.to_string(), hint: Some(hint.to_owned()) }
        })?;
        let is_gone = config.file.is_none() && has_file.load(Ordering::Relaxed);
        if is_gone && occasion == Occasion::FilesChanged {
            let hint = "what was in force stays; `kmi reload` goes on without it";
            let message = "the configuration file is gone".to_owned();
            return Err(control::Failure { message, hint: Some(hint.to_owned()) });
        }
        has_file.store(config.file.is_some(), Ordering::Relaxed);
        Ok(setup(&config, &env))
    })
}

/// Waits until a file that was written just now has been left alone for a moment.
fn settle(file: &Path) {
    let written = file.metadata().and_then(|found| found.modified());
    let age = written.ok().and_then(|written| written.elapsed().ok());
    if let Some(rest) = age.and_then(|age| SETTLE.checked_sub(age)) {
        thread::sleep(rest);
    }
}

/// A refusal as an error.
pub(crate) fn checked(reply: Reply) -> anyhow::Result<Reply> {
    match reply {
        Reply::Failed(failure) => {
            let hint = failure.hint.unwrap_or_else(|| "see `kmi status`".to_owned());
            Err(Failure::new(failure.message, hint).into())
        }
        reply => Ok(reply),
    }
}
