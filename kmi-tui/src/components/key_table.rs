//! All keys and how they fare, one of them selected.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    snapshot::KeyRow,
    state::{KeyState, Mode},
};
use tuirealm::{
    event::Event,
    ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph},
};

use super::{
    Panel,
    confirm::Question,
    key_columns::{KeyColumns, Look},
};
use crate::{
    cells::{self, Cells},
    feed::Status,
    keymap::{self, Go, TopCommand},
    model::{Msg, UserEvent},
    paint::Tone,
    quantity::count,
    theme::{KeyColors, Theme},
};

/// The table.
#[derive(Debug)]
pub(crate) struct KeyTable {
    theme: Theme,
    now: Timestamp,
    status: Option<Arc<Status>>,
    colors: KeyColors,
    /// The id of the selected key.
    selected: Option<String>,
    height: usize,
}

impl KeyTable {
    pub(crate) fn new(theme: Theme) -> Self {
        let colors = KeyColors::default();
        Self { theme, now: Timestamp::UNIX_EPOCH, status: None, colors, selected: None, height: 1 }
    }

    fn keys(&self) -> &[KeyRow] {
        self.status.as_ref().map_or(&[], |status| &status.snapshot.keys)
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> usize {
        self.keys().len()
    }

    fn position(&self) -> usize {
        let wanted = self.selected.as_deref();
        self.keys().iter().position(|key| Some(&*key.key) == wanted).unwrap_or(0)
    }

    /// The selected key.
    pub(crate) fn current(&self) -> Option<&KeyRow> {
        self.keys().get(self.position())
    }

    fn go(&mut self, go: Go) {
        let (at, page) = (self.position(), self.height.max(2) - 1);
        let last = self.keys().len().saturating_sub(1);
        let to = match go {
            Go::Up => at.saturating_sub(1),
            Go::Down => at + 1,
            Go::PageUp => at.saturating_sub(page),
            Go::PageDown => at + page,
            Go::First => 0,
            Go::Last => last,
        };
        self.selected = self.keys().get(to.min(last)).map(|key| key.key.clone());
    }

    fn obey(&mut self, command: TopCommand) -> Option<Msg> {
        let question = match command {
            TopCommand::Go(go) => {
                self.go(go);
                return Some(Msg::Selected(self.current()?.key.clone()));
            }
            TopCommand::Mode => Question::mode(&self.status.as_ref()?.snapshot),
            TopCommand::Rotate => Question::rotate(self.current()?),
            TopCommand::Enable => Question::enable(self.current()?),
            TopCommand::Disable => Question::disable(self.current()?),
            TopCommand::Test => Question::test(self.current()?),
            TopCommand::Reset => match Question::reset(self.current()?) {
                Some(question) => question,
                None => return Some(Msg::Say("nothing blocks this key".to_owned())),
            },
        };
        Some(Msg::Ask(question))
    }

    fn totals(&self, width: usize) -> Line<'static> {
        let keys = self.keys();
        let sum = |of: fn(&KeyRow) -> u64| keys.iter().map(of).fold(0, u64::saturating_add);
        let usable = keys.iter().filter(|key| key.state.is_usable()).count();
        let blocked = keys.iter().filter(|key| key.state == KeyState::Blocked).count();
        let text = format!(
            " {usable} of {} keys usable, {blocked} blocked   {} requests   {} errors   {} in flight",
            keys.len(),
            count(sum(|key| key.requests)),
            count(sum(|key| key.errors)),
            sum(|key| key.in_flight),
        );
        let bar = self.theme.bar();
        let blanks = width.saturating_sub(cells::width(&text));
        Cells::default().text(cells::cut(&text, width), bar).text(" ".repeat(blanks), bar).line()
    }
}

impl Panel for KeyTable {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width);
        let columns = KeyColumns::for_width(width);
        let look = Look { theme: self.theme, colors: &self.colors, now: self.now };
        self.height = usize::from(area.height).saturating_sub(2);
        let mut lines = vec![self.totals(width), columns.header(self.theme)];
        let snapshot = self.status.as_ref().map(|status| &status.snapshot);
        let active = snapshot.filter(|it| it.mode == Mode::Manual);
        let active = active.and_then(|it| it.active_key.as_deref());
        let at = self.position();
        // The selected key is always seen.
        let first = (at + 1).saturating_sub(self.height.max(1));
        for (n, key) in self.keys().iter().enumerate().skip(first).take(self.height) {
            let line = columns.line(key, active == Some(&*key.label), look);
            lines.push(if n == at { line.style(self.theme.selected()) } else { line });
        }
        if snapshot.is_some_and(|it| it.keys.is_empty()) {
            let text = "  no keys yet: add one with `kmi keys add LABEL`";
            lines.push(Line::styled(text, self.theme.tone(Tone::Warn)));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        match event {
            Event::Keyboard(press) => return self.obey(keymap::command(&keymap::TOP, press)?),
            Event::User(UserEvent::Clock(now)) => self.now = *now,
            Event::User(UserEvent::Status(status)) => {
                self.colors = KeyColors::of_keys(&status.snapshot);
                self.status = Some(Arc::clone(status));
                if self.selected.is_none() {
                    self.selected = self.keys().first().map(|key| key.key.clone());
                    return Some(Msg::Selected(self.selected.clone()?));
                }
            }
            _ => return None,
        }
        Some(Msg::Redraw)
    }
}
