//! All keys and how they fare, one of them selected.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    display::visible,
    snapshot::KeyRow,
    state::{KeyState, Mode},
};
use tuirealm::{
    event::Event,
    ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph},
};

use super::{Panel, confirm::Question};
use crate::{
    cells::{self, Cells, bar},
    feed::Status,
    key_words::{latency, left, left_tone, until},
    keymap::{self, Go, TopCommand},
    model::{Msg, UserEvent},
    paint::Tone,
    quantity::{ago, count},
    row::tone,
    theme::{KeyColors, Theme},
};

/// From this width on there is room for account, several limits and wider names.
const WIDE: usize = 130;

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

    fn header(&self, wide: bool) -> Line<'static> {
        let dim = self.theme.tone(Tone::Dim);
        let cells = Cells::default()
            .left("", 1, dim)
            .left("key", if wide { 14 } else { 8 }, dim)
            .left("masked", 8, dim)
            .left("state", 8, dim)
            .left("until", 9, dim)
            .right("used", 4, dim)
            .right("reqs", 4, dim)
            .right("errs", 4, dim)
            .right("busy", 4, dim)
            .right("p50/p95", 9, dim);
        let cells = if wide { cells.left("  account", 14, dim) } else { cells };
        cells.text(if wide { "  quota left" } else { "  left" }, dim).line()
    }

    fn line(&self, key: &KeyRow, active: Option<&str>, wide: bool) -> Line<'static> {
        let (plain, dim) = (self.theme.tone(Tone::Plain), self.theme.tone(Tone::Dim));
        let color = self.theme.key(&self.colors, &key.key);
        let state = self.theme.tone(tone(key.state));
        let used = key.last_used.map(|used| ago(used, self.now)).unwrap_or_default();
        let until = until(key, self.now).unwrap_or_default();
        let errors = if key.errors > 0 { Tone::Warn } else { Tone::Plain };
        let mark = if active == Some(&*key.label) { "*" } else { "" };
        let cells = Cells::default()
            .left(mark, 1, color)
            .left(&visible(&key.label), if wide { 14 } else { 8 }, color)
            .left(&visible(&key.masked), 8, color)
            .left(key.state.as_str(), 8, state)
            .left(&until, 9, state)
            .right(&used, 4, plain)
            .right(&count(key.requests), 4, plain)
            .right(&count(key.errors), 4, self.theme.tone(errors))
            .right(&count(key.in_flight), 4, plain)
            .right(&latency(key), 9, plain);
        let cells = if wide {
            let account = key.account.as_deref().map(visible).unwrap_or_default();
            cells.left(&format!("  {account}"), 14, dim)
        } else {
            cells
        };
        self.quota(cells.text(if wide { "  " } else { "" }, plain), key, wide).line()
    }

    fn quota(&self, cells: Cells, key: &KeyRow, wide: bool) -> Cells {
        let quota = &key.quota;
        let style = self.theme.tone(left_tone(quota.remaining_ratio));
        let cells = cells.right(&left(quota), 5, style);
        if !wide {
            let width = if quota.remaining_ratio.is_some() { 6 } else { 0 };
            return cells.text(bar(quota.remaining_ratio.unwrap_or(0.0), width), style);
        }
        quota.limits.iter().take(2).fold(cells, |cells, limit| {
            let left = 1.0 - limit.used_ratio.clamp(0.0, 1.0);
            let style = self.theme.tone(left_tone(Some(left)));
            let resets = limit.resets_at.map(|at| crate::quantity::countdown(at, self.now));
            cells
                .text(format!(" {} ", visible(&limit.name)), self.theme.tone(Tone::Dim))
                .left(&bar(left, 10), 10, style)
                .text(resets.map(|it| format!("new in {it}")).unwrap_or_default(), style)
        })
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
        let wide = width >= WIDE;
        self.height = usize::from(area.height).saturating_sub(2);
        let mut lines = vec![self.totals(width), self.header(wide)];
        let snapshot = self.status.as_ref().map(|status| &status.snapshot);
        let active = snapshot.filter(|it| it.mode == Mode::Manual);
        let active = active.and_then(|it| it.active_key.as_deref());
        let at = self.position();
        // The selected key is always seen.
        let first = (at + 1).saturating_sub(self.height.max(1));
        for (n, key) in self.keys().iter().enumerate().skip(first).take(self.height) {
            let line = self.line(key, active, wide);
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
