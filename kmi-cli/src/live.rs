//! The live views over a home: what they are fed with, and how their wishes are carried out.
//!
//! Threads of their own ask the running proxy and read the ledger; they put what they find into a
//! mailbox, from which the screen takes it. They end with the process.

mod export;
mod follow;
mod proof;
mod signals;
mod state;
mod wishes;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::AtomicU64,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use jiff::Timestamp;
use kmi_proxy::home::Home;
use kmi_tui::{
    feed::{Desk, Feed, Mailbox, News, Wish},
    model::{Ending, Screen},
    screen::{self, Start},
    theme::Theme,
};

use crate::{
    config::{Config, Environment},
    output::Output,
};

/// Most wishes that wait.
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
    /// The newest line that came in.
    newest: Arc<AtomicU64>,
}

struct LiveFeed(Arc<Mailbox>);

impl Feed for LiveFeed {
    fn news(&mut self) -> News {
        self.0.take(Timestamp::now())
    }
}

struct LiveDesk(SyncSender<Wish>);

impl Desk for LiveDesk {
    fn ask(&self, wish: Wish) -> bool {
        self.0.try_send(wish).is_ok()
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
    let (wishes, waiting) = sync_channel(WISHES);
    let mailbox = Arc::new(Mailbox::default());
    let shared = Shared { place, mailbox: Arc::clone(&mailbox), newest: Arc::default() };
    signals::watch(Arc::clone(&mailbox))?;
    start("status", &shared, state::watch)?;
    start("follow", &shared, follow::watch)?;
    start("proof", &shared, proof::watch)?;
    start("wishes", &shared, move |shared| wishes::carry_out(shared, &waiting))?;

    let start = Start { screen, filter, theme: Theme { colors: output.color_data() } };
    let desk = Box::new(LiveDesk(wishes));
    let (ending, panics) = screen::run(&start, LiveFeed(mailbox), desk, &signals::stop)?;
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
