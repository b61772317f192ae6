//! `kmi serve`, `kmi stop`, `kmi reload`.

mod hand_over;

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    net::{IpAddr, TcpListener},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use kmi_core::display::visible;
use kmi_proxy::{
    control::{CallError, Reloaded, Reply, Request},
    engine::{Engine, EngineError},
    ledger::LedgerError,
    rotor::{self, RotorError},
    server::Order,
    settings::ProxySettings,
};
use kmi_tui::quantity::counted;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use self::hand_over::Successor;
use super::{Context, ending::Ending};
use crate::{
    args::{ReloadArgs, ServeArgs},
    config::{self, Config, Flag},
    desk, hardening,
    report::Failure,
};

/// How long a thread that has nothing to do stays.
const IDLE_THREAD: Duration = Duration::from_mins(10);
/// How long the end waits for threads that have work left.
const LEFT_BEHIND: Duration = Duration::from_millis(100);

pub(super) fn serve(context: &Context<'_>, args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let flags = flags(args);
    let config = context.load(&flags)?;
    if args.detach {
        return detach(context, &config);
    }
    let given = hand_over::inherited(context.env).context("the listener that was handed over")?;
    block_on(runtime()?, run(context, config, &flags, given))?;
    Ok(ExitCode::SUCCESS)
}

fn flags(args: &ServeArgs) -> Vec<Flag> {
    let listen =
        |value: &String| Flag { key: "proxy.listen", option: "--listen", value: value.clone() };
    args.listen.iter().map(listen).collect()
}

/// The runtime that proxies run on. One thread carries tens of thousands of requests a second, and
/// none of them pays for waking another thread; what blocks or writes has threads of its own. An idle
/// one of those stays for a while: where the system has no room for another, work waits for it.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD)
        .build()
        .context("cannot start the runtime")
}

/// Runs to the end, and leaves what is still being looked for behind: the system's search for a name
/// cannot be ended, and takes half a minute where its server is silent.
pub(super) fn block_on<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LEFT_BEHIND);
    done
}

async fn run(
    context: &Context<'_>,
    mut config: Config,
    flags: &[Flag],
    mut given: Option<TcpListener>,
) -> anyhow::Result<()> {
    let successor = Successor::of_this_process().context("cannot find kmi's own program file")?;
    let mut ending = Ending::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let engine = start(context, &config, flags, given.as_ref()).await;
        let engine = engine.map_err(|error| failure(error, &config))?;
        // Only the engine keeps it open, so that it can close it.
        let handed_over = given.take().is_some();
        let next = successor.clone();
        engine.allow_replacement(Box::new(move || next.check()));
        let known = Reloaded {
            problems: engine.rotor().problems().iter().map(Into::into).collect(),
            ..Reloaded::default()
        };
        desk::tell(&known.problems, context.output);
        desk::tell_without_keys(&engine, context.output);
        tell_beyond_loopback(engine.address().ip(), context);
        let base_url = rotor::base_url(engine.address(), &config.settings.proxy.base_path);
        let told = context.output.data(format_args!("kmi serves at {base_url}"));
        // Whoever read that line of a predecessor may be gone by now.
        told.or_else(|error| if handed_over { Ok(()) } else { Err(error) })?;
        let listener = serve_on(context, engine, known, &mut ending, &mut hangup).await?;
        let Some(listener) = listener else { return Ok(()) };
        let error = successor.take_over(&listener);
        context.output.error(
            format_args!("another program cannot take this one's place: {error}"),
            "this one goes on; install kmi again",
        );
        given = Some(listener);
        // It may have changed since this one's start; it was good a moment ago.
        config = context.load(flags).unwrap_or(config);
    }
}

/// Says what it means that other machines reach the proxy.
fn tell_beyond_loopback(listen: IpAddr, context: &Context<'_>) {
    if !listen.is_loopback() {
        context.output.warning(
            format_args!(
                "other machines reach kmi, which listens on {listen}: requests cross the network \
                 unencrypted, and whoever has the token can spend the keys"
            ),
            "listen on 127.0.0.1 and reach it through a tunnel, as `ssh -L`, if you can",
        );
    }
}

/// Serves to the end, and gives the listener back when it is to be handed over.
async fn serve_on(
    context: &Context<'_>,
    engine: Engine,
    mut known: Reloaded,
    ending: &mut Ending,
    hangup: &mut Signal,
) -> anyhow::Result<Option<TcpListener>> {
    let mut reloads = engine.reloads();
    let mut ordered = engine.orders().subscribe();
    loop {
        tokio::select! {
            _ = ordered.wait_for(|order| *order != Order::Serve) => break,
            _ = ending.next() => break,
            _ = hangup.recv() => engine.reload().await,
            Ok(()) = reloads.changed() => {
                let reply = reloads.borrow_and_update().clone();
                known = tell_reload(reply, known, context);
            }
        }
    }
    context.output.note("stopping: running requests may end; a second signal ends them at once");
    let hurry = async {
        ending.next().await;
    };
    Ok(engine.stop_or_cut(hurry).await?)
}

/// Says how a reload of this process went; what is known already is not said again.
fn tell_reload(reply: Option<Reply>, known: Reloaded, context: &Context<'_>) -> Reloaded {
    let Some(Reply::Reloaded(found)) = reply else {
        if let Some(reply) = reply {
            report_reload(&reply, context);
        }
        return known;
    };
    let mut new = found.clone();
    new.problems.retain(|problem| !known.problems.contains(problem));
    new.at_next_start.retain(|key| !known.at_next_start.contains(key));
    report_reload(&Reply::Reloaded(new), context);
    found
}

/// Starts a proxy in this process; waits a moment for a command that is at work on the home.
pub(super) async fn start(
    context: &Context<'_>,
    config: &Config,
    flags: &[Flag],
    given: Option<&TcpListener>,
) -> Result<Engine, EngineError> {
    hardening::make_room(config.settings.proxy.max_connections, context.output);
    let since = Instant::now();
    loop {
        let setup = desk::setup(config, context.env);
        let reread = desk::reread(context, flags, config);
        let refused =
            |source| EngineError::Listen { address: config.settings.proxy.listen, source };
        let listener = given.map(TcpListener::try_clone).transpose().map_err(refused)?;
        match Engine::start_on(config.home.clone(), setup, reread, listener).await {
            Err(error)
                if is_held(&error)
                    && since.elapsed() < desk::PATIENCE
                    && !desk::is_running(&config.home) =>
            {
                tokio::time::sleep(desk::RETRY).await;
            }
            started => {
                let notes = started.as_ref().map_or(&[][..], |engine| engine.rotor().notes());
                for note in notes {
                    context.output.note(note);
                }
                return started;
            }
        }
    }
}

/// Whether another process has the home.
pub(super) fn is_held(error: &EngineError) -> bool {
    matches!(error, EngineError::Rotor(RotorError::Ledger(LedgerError::Locked { .. })))
}

/// Why a proxy cannot start, with what to do; says who runs one already.
pub(super) fn failure(error: EngineError, config: &Config) -> anyhow::Error {
    match &error {
        EngineError::Rotor(RotorError::Ledger(LedgerError::Locked { pid, .. })) => {
            match desk::call(&config.home, &Request::Status) {
                Err(CallError::NotRunning) => return desk::held(config, *pid).into(),
                Err(error @ CallError::Silent(_)) => return error.into(),
                _ => {}
            }
            let who = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            let what = format!("another kmi{who} serves {}", config.home.root().display());
            Failure::new(what, "stop it with `kmi stop`, or use another `--home`").into()
        }
        EngineError::Listen { .. } => {
            let hint = "choose another address with `--listen ADDR`; port 0 picks a free one";
            Failure::new(error.to_string(), hint).into()
        }
        EngineError::Control { source, .. } => {
            let hint = match source.kind() {
                io::ErrorKind::InvalidInput => "use a home with a shorter path: `--home DIR`",
                _ => "move away what is in its place, and look at the permissions of its directory",
            };
            Failure::new(error.to_string(), hint).into()
        }
        _ => match error {
            EngineError::Rotor(error) => desk::not_opened(error, config),
            error => error.into(),
        },
    }
}

/// Starts the same command in the background and waits until it serves.
fn detach(context: &Context<'_>, config: &Config) -> anyhow::Result<ExitCode> {
    config.home.create()?;
    let log_path = config.home.state_dir().join("kmi.log");
    let log = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&log_path)?;
    let before = log.metadata()?.len();
    let this = std::env::current_exe().context("cannot find kmi's own program file")?;
    let args = std::env::args_os().skip(1).filter(|arg| arg != "--detach");
    let mut child = Command::new(this)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Out of the terminal's group: Ctrl-C and a closed terminal do not reach it.
        .process_group(0)
        .spawn()
        .context("cannot start the proxy in the background")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line.is_empty() {
        let _ = child.wait();
        let (said, hint) = last_words(&log_path, before);
        let hint = hint.unwrap_or_else(|| format!("what it said stands in {}", log_path.display()));
        return Err(Failure::new(format!("the proxy did not start: {said}"), hint).into());
    }
    context.output.raw(&line)?;
    // The child's warnings stand in the log, where nobody looks.
    for line in written_since(&log_path, before).lines() {
        context.output.note(line);
    }
    context.output.note(format_args!("process {}; `kmi stop` ends it", child.id()));
    Ok(ExitCode::SUCCESS)
}

/// What was written to a log after a place in it, as far as a screen takes it.
fn written_since(log: &Path, from: u64) -> String {
    let text = fs::File::open(log).and_then(|mut file| {
        let mut text = String::new();
        file.seek(SeekFrom::Start(from))?;
        file.take(4096).read_to_string(&mut text)?;
        Ok(text)
    });
    text.unwrap_or_default()
}

/// The first error that was written to a log after a place in it, and its hint.
fn last_words(log: &Path, from: u64) -> (String, Option<String>) {
    let text = written_since(log, from);
    let mut lines = text.lines().skip_while(|line| !line.starts_with("error: "));
    let error = lines.next().and_then(|line| line.strip_prefix("error: "));
    let hint = lines.next().and_then(|line| line.strip_prefix("hint: "));
    let first = error.or_else(|| text.lines().next()).unwrap_or("it said nothing");
    (first.to_owned(), hint.map(str::to_owned))
}

pub(super) fn stop(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    // A configuration that has become wrong meanwhile does not keep the proxy from being stopped.
    let (home, drain_timeout) = match config::load(context.global.given(&[]), context.env) {
        Ok(config) => (config.home, config.settings.proxy.drain_timeout),
        Err(_) => (
            config::locate_home(context.global.home.as_deref(), context.env)?,
            ProxySettings::default().drain_timeout,
        ),
    };
    match desk::ask_running(&home, &Request::Stop) {
        // It may be gone before its answer is written.
        Err(error) if matches!(error.downcast_ref(), Some(CallError::Gone)) => {}
        stopping => drop(stopping?),
    }
    let patience = drain_timeout + Duration::from_secs(10);
    let start = Instant::now();
    let mut told = false;
    while start.elapsed() < patience {
        // The socket goes away when the last request has ended.
        if !desk::is_running(&home) {
            context.output.note("stopped");
            return Ok(ExitCode::SUCCESS);
        }
        if !told && start.elapsed() > desk::SILENCE {
            told = true;
            context.output.note("waiting for running requests to end");
        }
        thread::sleep(desk::RETRY);
    }
    Err(Failure::new("the proxy is still stopping", "look again with `kmi status`").into())
}

pub(super) fn reload(context: &Context<'_>, args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    config.try_upstreams()?;
    if args.binary {
        return replace(context, &config);
    }
    let reply = desk::ask_running(&config.home, &Request::Reload)?;
    report_reload(&reply, context);
    Ok(ExitCode::SUCCESS)
}

/// Has the program file that is there now take the running proxy's place; waits until it serves.
fn replace(context: &Context<'_>, config: &Config) -> anyhow::Result<ExitCode> {
    let asked = jiff::Timestamp::now();
    match desk::ask_running(&config.home, &Request::HandOver) {
        // It may be gone before its answer is written.
        Err(error) if matches!(error.downcast_ref(), Some(CallError::Gone)) => {}
        ordered => drop(ordered?),
    }
    let patience = config.settings.proxy.drain_timeout + Duration::from_secs(10);
    let start = Instant::now();
    let mut told = false;
    while start.elapsed() < patience {
        match desk::call(&config.home, &Request::Status) {
            Ok(Reply::Status(status)) if status.since > asked => {
                let proxy = status.snapshot.proxy;
                let version = visible(&proxy.version);
                context.output.note(format_args!("kmi {version} serves now"));
                return Ok(ExitCode::SUCCESS);
            }
            Ok(_) | Err(CallError::NotRunning | CallError::Gone) => {}
            Err(error) => return Err(error.into()),
        }
        if !told && start.elapsed() > desk::SILENCE {
            told = true;
            context.output.note("waiting for running requests to end");
        }
        thread::sleep(desk::RETRY);
    }
    let hint = "look again with `kmi status`; `kmi serve` starts one";
    Err(Failure::new("the proxy did not come back", hint).into())
}

fn report_reload(reply: &Reply, context: &Context<'_>) {
    match reply {
        Reply::Reloaded(reloaded) => {
            desk::tell(&reloaded.problems, context.output);
            if !reloaded.at_next_start.is_empty() {
                let keys: Vec<_> = reloaded.at_next_start.iter().map(|it| visible(it)).collect();
                context.output.warning(
                    format_args!("changed, but not in force before a restart: {}", keys.join(", ")),
                    "`kmi stop`, then `kmi serve`",
                );
            }
            context.output.note(format_args!("reloaded: {}", counted(reloaded.keys as u64, "key")));
        }
        Reply::Failed(failure) => {
            let hint = failure.hint.as_deref().unwrap_or("what was in force stays");
            context.output.error(&failure.message, hint);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_search_for_a_name_holds_up_no_end() {
        let (answer, silent) = mpsc::channel::<()>();
        let ended = block_on(runtime().unwrap(), async {
            let (begun, waited) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _ = begun.send(());
                // Without an end, unless the test has failed.
                let _ = silent.recv_timeout(Duration::from_mins(1));
            });
            waited.await.is_ok()
        });
        assert!(ended && answer.send(()).is_ok(), "it is still being looked for");
    }
}
