//! Takes the terminal, runs the program on it, and gives it back however that ends.

use std::{
    fmt, panic,
    sync::{Arc, mpsc::Receiver},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tuirealm::{
    listener::EventListenerCfg,
    terminal::{CrosstermTerminalAdapter, TerminalAdapter, TerminalError},
};

use crate::{
    feed::{Desk, Feed},
    filter::Filter,
    model::{Ending, FeedPort, Model, Screen, Step},
    theme::Theme,
};

/// How often keys are looked for. All ports share a thread, and this one blocks it for half of
/// the time.
const KEYS: Duration = Duration::from_millis(20);
/// How often the feed is asked; so there are at most 25 drawings a second.
const NEWS: Duration = Duration::from_millis(40);
/// Most events that a port gives at once.
const AT_ONCE: usize = 16;
/// Most panics of other threads that are kept for later.
const PANICS: usize = 16;

/// What is shown at first, and how.
#[derive(Debug, Clone)]
pub struct Start {
    /// The screen.
    pub screen: Screen,
    /// The filter of the trace, as it would be typed.
    pub filter: String,
    /// The colours.
    pub theme: Theme,
}

/// What a process is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End, by the signal of this number.
    End(u8),
    /// Let go of the terminal and stop.
    Stop,
    /// Go on after a stop: the terminal is not as it was.
    Continue,
}

/// The process around the screen.
#[derive(Debug)]
pub struct Process {
    /// What it is told, as it comes.
    pub signals: Receiver<Signal>,
    /// Stops it as SIGSTOP does; returns when it goes on.
    pub stop: fn(),
}

/// Runs until the user quits, a signal comes in, or the terminal is gone.
///
/// While the process is stopped the terminal is let go. Messages of other threads' panics are
/// returned instead of being written over the screen. Blocks, so it is not for a thread of an
/// async runtime.
pub fn run(
    start: &Start,
    feed: impl Feed,
    desk: Box<dyn Desk>,
    process: &Process,
) -> Result<(Ending, Vec<String>), ScreenError> {
    let before = Arc::new(panic::take_hook());
    let back = Arc::clone(&before);
    panic::set_hook(Box::new(move |info| back(info)));
    let mut terminal = CrosstermTerminalAdapter::new()?;
    // The adapter has set a hook that gives the terminal back. That is right for this thread
    // only: if another one panics, the program goes on.
    let panics = Panics::watch();
    let result = take(&mut terminal).and_then(|()| {
        let listener = EventListenerCfg::default()
            .crossterm_input_listener(KEYS, AT_ONCE)
            .add_port(Box::new(FeedPort::new(feed)), NEWS, AT_ONCE);
        let shown = (start.screen, Filter::parse(&start.filter));
        let mut model = Model::new(listener, terminal, desk, start.theme, shown);
        let ending = go(&mut model, process);
        // On an error dropping the model gives the terminal back, too.
        model.terminal().restore().map_err(|_| TerminalError::Other("cannot restore"))?;
        ending
    });
    panic::set_hook(Box::new(move |info| before(info)));
    Ok((result?, panics.told()))
}

fn go(
    model: &mut Model<CrosstermTerminalAdapter>,
    process: &Process,
) -> Result<Ending, TerminalError> {
    loop {
        // Not by way of the listener: once the terminal has hung up, crossterm never comes back
        // from reading it, and whoever waits for the listener waits for ever.
        let step = match process.signals.try_recv() {
            Ok(Signal::End(signal)) => Step::End(Ending::Signal(signal)),
            Ok(Signal::Stop) => Step::Stop,
            Ok(Signal::Continue) => Step::Retake,
            Err(_) => model.step(),
        };
        match step {
            Step::Go => {}
            Step::End(ending) => return Ok(ending),
            Step::Stop => {
                let _ = model.terminal().restore();
                (process.stop)();
                retake(model)?;
            }
            Step::Retake => retake(model)?,
        }
    }
}

fn take(terminal: &mut CrosstermTerminalAdapter) -> Result<(), TerminalError> {
    terminal.enable_raw_mode()?;
    terminal.enter_alternate_screen()
}

/// Whatever had the terminal meanwhile may have changed its mode behind our back.
fn retake(model: &mut Model<CrosstermTerminalAdapter>) -> Result<(), TerminalError> {
    let _ = model.terminal().restore();
    take(model.terminal())?;
    model.draw_anew();
    Ok(())
}

/// Panics of other threads, kept while the screen is held.
struct Panics(Arc<Mutex<Vec<String>>>);

impl Panics {
    fn watch() -> Self {
        let (own, give_back) = (thread::current().id(), panic::take_hook());
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == own {
                give_back(info);
                return;
            }
            let mut told = tell.lock();
            if told.len() < PANICS {
                told.push(info.to_string().replace('\n', " "));
            }
        }));
        Self(told)
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The terminal cannot be used.
#[derive(Debug)]
pub struct ScreenError(TerminalError);

impl fmt::Display for ScreenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the terminal cannot be used: {}", self.0)
    }
}

impl std::error::Error for ScreenError {}

impl From<TerminalError> for ScreenError {
    fn from(error: TerminalError) -> Self {
        Self(error)
    }
}
