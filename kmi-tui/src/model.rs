//! The live views as one program: what there is, what can happen, and what follows.
//!
//! Events come from the terminal and from a [`Feed`](crate::feed::Feed); components answer them
//! with a `Msg`, `update` carries it out, `view` draws. The model is generic over the terminal,
//! so that tests use one in memory.

mod focus;
mod port;
#[cfg(test)]
mod tests;
mod update;
mod view;

use std::{mem, sync::Arc, time::Duration};

use jiff::Timestamp;
use kmi_stats::report::Report;
use tuirealm::{
    application::{Application, PollStrategy},
    listener::EventListenerCfg,
    terminal::TerminalAdapter,
};

pub(crate) use port::FeedPort;

use crate::{
    components::confirm::Question,
    feed::{Action, Answer, Desk, Status, Wish},
    filter::Filter,
    row::Row,
    theme::Theme,
};

/// Which screen is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// The keys and what can be done with them: `kmi top`.
    Top,
    /// The requests as they end: `kmi trace`.
    Trace,
}

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The user quit.
    Quit,
    /// A signal of this number asked for it; Ctrl-C counts as SIGINT.
    Signal(u8),
}

/// The components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    Confirm,
    Detail,
    FilterLine,
    Footer,
    Header,
    Help,
    KeyDetail,
    KeyTable,
    Listener,
    Shares,
    Summary,
    TraceList,
}

/// What components are told beside keys.
#[derive(Debug, Clone)]
pub(crate) enum UserEvent {
    Answer(Arc<Answer>),
    Clock(Timestamp),
    Older(Arc<Older>),
    Proof(Arc<Report>),
    Rows(Arc<Rows>),
    Status(Arc<Status>),
}

/// tui-realm compares events to find subscribers; here the kind is all that counts.
impl PartialEq for UserEvent {
    fn eq(&self, other: &Self) -> bool {
        mem::discriminant(self) == mem::discriminant(other)
    }
}

impl Eq for UserEvent {}

/// New lines, oldest first, and how many were left out before them.
#[derive(Debug, Default)]
pub(crate) struct Rows(pub(crate) Vec<Arc<Row>>, pub(crate) u64);

/// An older stretch.
#[derive(Debug, Default)]
pub(crate) struct Older {
    pub(crate) before: Option<u64>,
    pub(crate) rows: Vec<Arc<Row>>,
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Msg {
    Ask(Question),
    Close,
    Confirmed(Action),
    Detail(Arc<Row>),
    EditFilter,
    End(u8),
    Export,
    FilterTyped(String),
    FilterUndone(String),
    Help,
    Quit,
    Redraw,
    Say(String),
    Selected(String),
    Stop,
    Switch,
    Wish(Wish),
}

/// What `run` does about the terminal itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Go,
    /// Let go of it and stop the process.
    Stop,
    /// Take it again: something else used it.
    Retake,
    /// The end.
    End(Ending),
}

/// The program.
pub(crate) struct Model<T: TerminalAdapter> {
    app: Application<Id, Msg, UserEvent>,
    terminal: T,
    desk: Box<dyn Desk>,
    theme: Theme,
    screen: Screen,
    redraw: bool,
    next: Step,
}

/// Most events that are handled between two drawings.
const EVENTS: usize = 64;
/// How long one step waits for the first event.
const PATIENCE: Duration = Duration::from_millis(50);

impl<T: TerminalAdapter> Model<T> {
    /// Mounts everything and asks for the newest lines.
    pub(crate) fn new(
        listener: EventListenerCfg<UserEvent>,
        terminal: T,
        desk: Box<dyn Desk>,
        theme: Theme,
        (screen, filter): (Screen, Filter),
    ) -> Self {
        let app = Application::init(listener);
        let mut model = Self { app, terminal, desk, theme, screen, redraw: true, next: Step::Go };
        model.mount(filter);
        model.ask(Wish::Page { before: None });
        model
    }

    /// The terminal, for taking it and letting it go.
    pub(crate) fn terminal(&mut self) -> &mut T {
        &mut self.terminal
    }

    /// Handles what has happened, and draws if something changed.
    ///
    /// However much happens, there is one drawing for up to [`EVENTS`] events, and a feed's
    /// events come about 25 times a second.
    pub(crate) fn step(&mut self) -> Step {
        self.next = Step::Go;
        let mut patience = PATIENCE;
        // One event at a time: it may move the keyboard to somebody else, who is to get the next.
        for _ in 0..EVENTS {
            // An error means that the terminal cannot be read any more.
            let Ok(messages) = self.app.tick(PollStrategy::UpTo(1, patience)) else {
                return Step::End(Ending::Signal(1));
            };
            if messages.is_empty() {
                break;
            }
            for message in messages {
                self.update(message);
            }
            patience = Duration::ZERO;
        }
        if mem::take(&mut self.redraw) && self.next == Step::Go && self.view().is_err() {
            // Nobody is left to see it: as if the terminal had hung up.
            self.next = Step::End(Ending::Signal(1));
        }
        self.next
    }

    /// Draws at the next step, whatever happens.
    pub(crate) fn draw_anew(&mut self) {
        let _ = self.terminal.clear_screen();
        self.redraw = true;
    }
}
