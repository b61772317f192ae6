//! What stands where.

use tuirealm::{
    ratatui::{
        Frame,
        layout::{Constraint, Layout, Rect},
        widgets::Paragraph,
    },
    terminal::{TerminalAdapter, TerminalResult},
};

use super::{Id, Model, Msg, Screen, UserEvent};
use crate::components::summary::Summary;

type App = tuirealm::application::Application<Id, Msg, UserEvent>;

/// From this width on keys and summary stand beside each other.
const WIDE: u16 = 140;
/// A smaller terminal shows nothing of use.
const LEAST: (u16, u16) = (40, 10);
/// The most keys that are shown above the trace.
const MOST_KEYS: u16 = 12;
/// So many keys are shown before there is a place for the details of one.
const FEW_KEYS: u16 = 3;
/// Lines of the summary in a wide place.
const WIDE_SUMMARY: u16 = 8;
/// Lines for the selected key below the table of keys.
const KEY_DETAIL: u16 = 8;

impl<T: TerminalAdapter> Model<T> {
    /// Draws everything.
    pub(super) fn view(&mut self) -> TerminalResult<()> {
        let keys = u16::try_from(self.key_count()).unwrap_or(u16::MAX);
        let (app, screen) = (&mut self.app, self.screen);
        self.terminal.draw(|frame| draw(app, screen, keys, frame)).map(drop)
    }

    fn key_count(&mut self) -> usize {
        let table = self.panel::<crate::components::key_table::KeyTable>(Id::KeyTable);
        table.map_or(0, |table| table.count())
    }
}

fn draw(app: &mut App, screen: Screen, keys: u16, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("kmi needs {} columns and {} lines", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let [top, middle, bottom] = area.layout(&Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ]));
    app.view(&Id::Header, frame, top);
    match screen {
        Screen::Trace => trace(app, keys, frame, middle),
        Screen::Top => top_screen(app, keys, frame, middle),
    }
    if app.mounted(&Id::FilterLine) {
        app.view(&Id::FilterLine, frame, bottom);
    } else {
        app.view(&Id::Footer, frame, bottom);
    }
    for popup in [Id::Detail, Id::Confirm, Id::Help] {
        if app.mounted(&popup) {
            app.view(&popup, frame, area);
        }
    }
}

fn trace(app: &mut App, keys: u16, frame: &mut Frame<'_>, area: Rect) {
    // A header and a line for each key; the list keeps at least half of the place.
    let keys = keys.clamp(1, MOST_KEYS) + 1;
    if area.width >= WIDE {
        let height = keys.max(WIDE_SUMMARY).min(area.height / 2);
        let [above, _, list] = area.layout(&Layout::vertical([
            Constraint::Length(height),
            Constraint::Length(1),
            Constraint::Fill(1),
        ]));
        let [left, _, right] = above.layout(&Layout::horizontal([
            Constraint::Fill(1),
            Constraint::Length(2),
            Constraint::Fill(1),
        ]));
        app.view(&Id::Shares, frame, left);
        app.view(&Id::Summary, frame, right);
        app.view(&Id::TraceList, frame, list);
        return;
    }
    let keys = keys.min(area.height.saturating_sub(Summary::LINES) / 2);
    let [summary, shares, list] = area.layout(&Layout::vertical([
        Constraint::Length(Summary::LINES),
        Constraint::Length(keys),
        Constraint::Fill(1),
    ]));
    app.view(&Id::Summary, frame, summary);
    app.view(&Id::Shares, frame, shares);
    app.view(&Id::TraceList, frame, list);
}

fn top_screen(app: &mut App, keys: u16, frame: &mut Frame<'_>, area: Rect) {
    let rest = area.height.saturating_sub(Summary::LINES);
    // Totals, names, a line for each key; what is left over stays below everything. Where there is
    // little place a few keys are worth more than the details of one.
    let least = keys.clamp(1, FEW_KEYS) + 2;
    let most = rest.saturating_sub(KEY_DETAIL).max(rest / 2).max(least);
    let table = keys.max(1).saturating_add(2).min(most).min(rest);
    let [summary, table, _, detail] = area.layout(&Layout::vertical([
        Constraint::Length(Summary::LINES),
        Constraint::Length(table),
        Constraint::Length(u16::from(rest > table + KEY_DETAIL)),
        Constraint::Fill(1),
    ]));
    app.view(&Id::Summary, frame, summary);
    app.view(&Id::KeyTable, frame, table);
    app.view(&Id::KeyDetail, frame, detail);
}
