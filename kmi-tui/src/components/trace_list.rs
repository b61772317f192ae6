//! The list of requests as they end: follows the newest, scrolls back, filters.

mod cursor;

use std::{collections::VecDeque, sync::Arc};

use tuirealm::{
    event::Event,
    ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph},
};

use super::{Panel, columns::Columns};
use crate::{
    cells::Cells,
    feed::Wish,
    filter::{Field, Filter},
    key_words::KeyNames,
    keymap::{self, Go, TraceCommand},
    log::{CAPACITY, Log},
    model::{Msg, Older, UserEvent},
    paint::Tone,
    quantity::counted,
    row::Row,
    theme::{KeyColors, Theme},
};
use cursor::Cursor;

/// The list.
#[derive(Debug, Default)]
pub(crate) struct TraceList {
    theme: Theme,
    colors: KeyColors,
    names: KeyNames,
    running: bool,
    log: Log,
    filter: Filter,
    /// The places in the log that the filter wants.
    matches: Vec<usize>,
    cursor: Cursor,
    paused: bool,
    /// Lines that came while it was paused.
    held: VecDeque<Arc<Row>>,
    /// Whether the newest lines are not in the log: it was scrolled far back, or paused for long.
    detached: bool,
    /// Lines that came meanwhile and were not kept.
    unseen: u64,
    /// The newest line that is at hand.
    newest: u64,
    back: Back,
}

/// How it stands with older lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Back {
    /// They can be asked for.
    #[default]
    Free,
    /// They are on their way.
    Asked,
    /// There are none.
    Exhausted,
}

impl TraceList {
    pub(crate) fn new(theme: Theme, filter: Filter) -> Self {
        Self { theme, filter, ..Self::default() }
    }

    /// The filter in force.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// How keys are called.
    pub(crate) fn names(&self) -> &KeyNames {
        &self.names
    }

    /// Shows other lines.
    pub(crate) fn set_filter(&mut self, filter: Filter) {
        self.filter = filter;
        self.find_matches();
    }

    /// What an export writes: the lines that the filter wants, oldest first.
    pub(crate) fn shown(&self) -> Vec<Arc<str>> {
        let rows = self.matches.iter().filter_map(|at| self.log.get(*at));
        let mut rows: Vec<&Arc<Row>> =
            rows.map(|entry| &entry.row).filter(|row| !row.text.is_empty()).collect();
        rows.sort_unstable_by_key(|row| row.seq);
        rows.into_iter().map(|row| Arc::clone(&row.text)).collect()
    }

    /// The line that commands are about: the selected one, or the newest.
    fn current(&self) -> Option<&Arc<Row>> {
        let at = self.matches.get(self.cursor.position(self.matches.len())?)?;
        self.log.get(*at).map(|entry| &entry.row)
    }

    fn find_matches(&mut self) {
        let selected = self.cursor.is_set().then(|| self.current().map(|row| row.seq)).flatten();
        self.match_and_select(selected);
    }

    /// Looks for matches anew and keeps a line selected, or one near it.
    fn match_and_select(&mut self, selected: Option<u64>) {
        let wanted = self
            .log
            .entries()
            .enumerate()
            .filter(|(_, it)| self.filter.wants(&it.row, &self.names));
        self.matches = wanted.map(|(at, _)| at).collect();
        if let Some(seq) = selected {
            let place = |at: &usize| self.log.get(*at).map(|entry| entry.row.seq);
            let found = self.matches.iter().position(|at| place(at) == Some(seq));
            let near = || self.matches.iter().position(|at| place(at).is_some_and(|it| it > seq));
            self.cursor.stay_at(found.or_else(near), self.matches.len());
        }
    }

    fn take(&mut self, rows: &[Arc<Row>]) {
        if self.detached {
            self.unseen += rows.len() as u64;
        } else if self.paused {
            self.held.extend(rows.iter().cloned());
            if self.held.len() > CAPACITY {
                self.unseen += self.held.len() as u64;
                self.held.clear();
                self.detached = true;
            }
        } else {
            let selected =
                self.cursor.is_set().then(|| self.current().map(|row| row.seq)).flatten();
            // A page may have brought some of them already.
            for row in rows.iter().filter(|row| row.text.is_empty() || row.seq > self.newest) {
                self.log.push(Arc::clone(row));
            }
            self.newest = rows.iter().map(|row| row.seq).max().unwrap_or(0).max(self.newest);
            self.match_and_select(selected);
        }
    }

    fn take_older(&mut self, older: &Older) {
        let exhausted = older.rows.is_empty() && older.before.is_some();
        self.back = if exhausted { Back::Exhausted } else { Back::Free };
        if older.before.is_none() {
            self.newest = older.rows.iter().map(|row| row.seq).max().unwrap_or(0).max(self.newest);
        }
        let selected = self.cursor.is_set().then(|| self.current().map(|row| row.seq)).flatten();
        self.detached |= self.log.prepend(older.rows.clone());
        self.match_and_select(selected);
    }

    fn pause(&mut self, paused: bool) -> Msg {
        self.paused = paused;
        if paused {
            return Msg::Redraw;
        }
        if self.detached {
            return self.return_to_now();
        }
        let held: Vec<_> = self.held.drain(..).collect();
        self.take(&held);
        Msg::Redraw
    }

    /// Back to the newest lines, which are not at hand any more.
    fn return_to_now(&mut self) -> Msg {
        let (theme, filter) = (self.theme, std::mem::take(&mut self.filter));
        let (colors, names) = (std::mem::take(&mut self.colors), std::mem::take(&mut self.names));
        *self = Self { colors, names, running: self.running, ..Self::new(theme, filter) };
        Msg::Wish(Wish::Page { before: None })
    }

    fn go(&mut self, go: Go) -> Msg {
        if go == Go::Last {
            self.cursor.follow();
            return if self.detached { self.return_to_now() } else { self.pause(false) };
        }
        let at_start = self.cursor.go(go, self.matches.len());
        if at_start && self.back == Back::Free {
            self.back = Back::Asked;
            // Where nothing is at hand the newest lines are the older ones.
            return Msg::Wish(Wish::Page { before: self.log.first_seq() });
        }
        Msg::Redraw
    }

    fn narrow(&mut self, field: Field) -> Option<Msg> {
        let row = Arc::clone(self.current()?);
        let attempt = row.attempt()?;
        let value = match field {
            Field::Key => Some(&*attempt.label),
            Field::Model => attempt.model.as_deref(),
            Field::Outcome => Some(attempt.outcome.as_str()),
            Field::Session => attempt.session_id.as_deref(),
            Field::Text => None,
        };
        let Some(value) = value else {
            return Some(Msg::Say("this line has none".to_owned()));
        };
        // A label with blanks is known by the key's id as well.
        let value = if field == Field::Key && value.contains(' ') { &*attempt.key } else { value };
        let mut filter = self.filter.clone();
        filter.toggle(field, value);
        self.set_filter(filter);
        Some(Msg::Redraw)
    }

    fn obey(&mut self, command: TraceCommand) -> Option<Msg> {
        match command {
            TraceCommand::Go(go) => Some(self.go(go)),
            TraceCommand::Detail => Some(Msg::Detail(Arc::clone(self.current()?))),
            TraceCommand::Pause => Some(self.pause(!self.paused)),
            TraceCommand::Filter => Some(Msg::EditFilter),
            TraceCommand::Clear => {
                self.set_filter(Filter::default());
                Some(Msg::Redraw)
            }
            TraceCommand::SameKey => self.narrow(Field::Key),
            TraceCommand::SameOutcome => self.narrow(Field::Outcome),
            TraceCommand::SameModel => self.narrow(Field::Model),
            TraceCommand::SameSession => self.narrow(Field::Session),
            TraceCommand::Export => Some(Msg::Export),
        }
    }

    fn title(&self, width: usize) -> Line<'static> {
        let bar = self.theme.bar();
        let state = if self.detached {
            format!("the past, {} newer lines (End shows them)", self.unseen)
        } else if self.paused {
            format!("paused, {} new lines (Space goes on)", self.held.len())
        } else if !self.running {
            "the past".to_owned()
        } else if self.cursor.is_set() {
            "live, one line selected (End follows again)".to_owned()
        } else {
            "live".to_owned()
        };
        let found = if self.filter.is_empty() {
            counted(self.log.len() as u64, "line")
        } else {
            format!("{} of {} lines: {}", self.matches.len(), self.log.len(), self.filter.typed())
        };
        let cells = Cells::default().text(format!(" requests  {state}"), bar);
        let room = width.saturating_sub(cells.width() + 2);
        let found = crate::cells::cut(&kmi_core::display::visible(&found), room);
        let blanks = width.saturating_sub(cells.width() + crate::cells::width(&found) + 1);
        cells.text(" ".repeat(blanks), bar).text(found, bar).text(" ", bar).line()
    }
}

impl Panel for TraceList {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let columns = Columns::for_width(area.width.into());
        let height = usize::from(area.height).saturating_sub(2);
        let first = self.cursor.window(self.matches.len(), height);
        let selected = self.cursor.position(self.matches.len()).filter(|_| self.cursor.is_set());
        let mut lines = vec![self.title(area.width.into()), columns.header(self.theme)];
        for (n, at) in self.matches.iter().enumerate().skip(first).take(height) {
            let Some(entry) = self.log.get(*at) else { continue };
            let line = columns.line(entry, &self.names, &self.colors, self.theme);
            lines.push(if selected == Some(n) { line.style(self.theme.selected()) } else { line });
        }
        if self.matches.is_empty() {
            let text = if !self.filter.is_empty() {
                "no line at hand fits the filter; c clears it, PgUp looks further back"
            } else if self.running {
                "no request yet; whatever goes through the proxy shows up here"
            } else {
                "the ledger is empty"
            };
            lines.push(Line::styled(format!("  {text}"), self.theme.tone(Tone::Dim)));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        match event {
            Event::Keyboard(press) => self.obey(keymap::command(&keymap::TRACE, press)?),
            Event::User(UserEvent::Rows(rows)) => {
                self.take(&rows.0);
                Some(Msg::Redraw)
            }
            Event::User(UserEvent::Older(older)) => {
                self.take_older(older);
                Some(Msg::Redraw)
            }
            Event::User(UserEvent::Status(status)) => {
                self.running = status.snapshot.proxy.running;
                self.colors = KeyColors::of_keys(&status.snapshot);
                self.names = KeyNames::of_keys(&status.snapshot);
                Some(Msg::Redraw)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
