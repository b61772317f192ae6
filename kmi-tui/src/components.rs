//! What stands on the screen, one file each.
//!
//! A [`Panel`] draws itself and answers events; [`Mounted`] makes a tui-realm component of it.
//! Panels get data by events they subscribe to and keep what they need of it.

pub(crate) mod columns;
pub(crate) mod confirm;
pub(crate) mod detail;
pub(crate) mod filter_line;
pub(crate) mod footer;
pub(crate) mod header;
pub(crate) mod help;
pub(crate) mod key_columns;
pub(crate) mod key_detail;
pub(crate) mod key_table;
pub(crate) mod listener;
pub(crate) mod popup;
pub(crate) mod shares;
pub(crate) mod summary;
pub(crate) mod trace_list;

use tuirealm::{
    command::{Cmd, CmdResult},
    component::{AppComponent, Component},
    event::Event,
    props::{AttrValue, Attribute, QueryResult},
    ratatui::{Frame, layout::Rect},
    state::State,
};

use crate::model::{Msg, UserEvent};

/// A part of the screen.
pub(crate) trait Panel: 'static {
    /// Draws itself; every cell of the area is blank before.
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect);

    /// Takes an event; says what follows from it outside of the panel.
    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg>;
}

/// A panel as a component: it is told of events and draws, and has no attributes.
#[derive(Debug)]
pub(crate) struct Mounted<P>(pub(crate) P);

impl<P: Panel> Component for Mounted<P> {
    fn view(&mut self, frame: &mut Frame<'_>, area: Rect) {
        if !area.is_empty() {
            self.0.draw(frame, area);
        }
    }

    fn query(&self, _: Attribute) -> Option<QueryResult<'_>> {
        None
    }

    fn attr(&mut self, _: Attribute, _: AttrValue) {}

    fn state(&self) -> State {
        State::None
    }

    fn perform(&mut self, command: Cmd) -> CmdResult {
        CmdResult::Invalid(command)
    }
}

impl<P: Panel> AppComponent<Msg, UserEvent> for Mounted<P> {
    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        self.0.on(event)
    }
}
