//! The live views over a home: what they are fed with, and how their wishes are carried out.
//!
//! One thread reads the running proxy's feed, two others carry out wishes; they put what they
//! find into a mailbox, from which the screen takes it. They end with the process.

mod export;
mod resting;
mod watch;
mod wishes;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use jiff::Timestamp;
use kmi_core::display::visible;
use kmi_proxy::{control, home::Home};
use kmi_tui::{
    feed::{Desk, Feed, Mailbox, News, Status, Wish},
    model::{Ending, Screen},
    screen::{self, Process, Start},
    theme::Theme,
};

use crate::{
    config::{Config, Environment},
    output::Output,
    signals,
};

/// Most wishes that wait, of each kind.
const WISHES: usize = 16;

/// The home that is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Where everything is.
    pub(crate) home: Home,
    /// What is needed to look at the home while no proxy runs; `None` where there always is one.
    pub(crate) resting: Option<Arc<(Config, Environment)>>,
}

/// What all threads share.
#[derive(Debug, Clone)]
struct Shared {
    place: Place,
    mailbox: Arc<Mailbox>,
}

struct LiveFeed(Arc<Mailbox>);

impl Feed for LiveFeed {
    fn news(&mut self) -> News {
        self.0.take(Timestamp::now())
    }
}

/// What asks a provider may take a while, and nobody who only wants to look waits for it.
struct LiveDesk {
    acts: SyncSender<Wish>,
    looks: SyncSender<Wish>,
}

impl Desk for LiveDesk {
    fn ask(&self, wish: Wish) -> bool {
        let waiting = if matches!(wish, Wish::Act(_)) { &self.acts } else { &self.looks };
        waiting.try_send(wish).is_ok()
    }
}

/// Shows a home until the user quits; the code is that of the whole command.
///
/// Blocks the thread, which must not be one that async code runs on.
pub(crate) fn show(
    place: Place,
    screen: Screen,
    filter: String,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let ((acts, to_do), (looks, to_look_up)) = (sync_channel(WISHES), sync_channel(WISHES));
    let mailbox = Arc::new(Mailbox::default());
    let shared = Shared { place, mailbox: Arc::clone(&mailbox) };
    let process = Process { signals: signals::watch()?, stop: signals::stop };
    start("watch", &shared, watch::watch)?;
    start("acts", &shared, move |shared| wishes::carry_out(shared, &to_do))?;
    start("looks", &shared, move |shared| wishes::carry_out(shared, &to_look_up))?;

    let start = Start { screen, filter, theme: Theme { colors: output.color_data() } };
    let desk = Box::new(LiveDesk { acts, looks });
    let (ending, panics) = screen::run(&start, LiveFeed(mailbox), desk, &process)?;
    for panic in panics {
        output.warning(panic, "please report it; what was on the screen may be incomplete");
    }
    Ok(match ending {
        Ending::Quit => ExitCode::SUCCESS,
        Ending::Signal(signal) => ExitCode::from(128 + signal),
    })
}

fn start(
    name: &str,
    shared: &Shared,
    work: impl FnOnce(&Shared) + Send + 'static,
) -> std::io::Result<()> {
    let shared = shared.clone();
    thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared)).map(drop)
}

/// What a proxy tells of itself and its keys, as the views take it.
fn status(told: control::Status) -> Status {
    let failure = told.trace_failure.map(|it| format!("the trace cannot be written: {it}"));
    let problems = told.problems.into_iter().map(|it| format!("{} ({})", it.message, it.hint));
    let siblings = told.siblings.iter().map(|keys| {
        let keys: Vec<_> = keys.iter().map(|label| visible(label)).collect();
        let keys = keys.join(", ");
        format!("{keys} are keys of one account: rotation among them gains nothing")
    });
    let problems = failure.into_iter().chain(problems).chain(siblings).collect();
    Status { snapshot: told.snapshot, problems }
}
