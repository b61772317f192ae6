//! Everything about the selected key: why it is blocked, and every limit of its quota as a bar.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    display::visible,
    snapshot::KeyRow,
    state::{KeyState, Reason},
};
use tuirealm::{
    event::Event,
    ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph},
};

use super::Panel;
use crate::{
    cells::{self, Cells, bar},
    feed::Status,
    key_words::{left, left_tone, state},
    model::{Msg, UserEvent},
    paint::Tone,
    quantity::{ago, countdown, percent_left},
    row::tone,
    theme::{KeyColors, Theme},
};

/// Columns of the names.
const NAMES: usize = 12;

/// The selected key.
#[derive(Debug)]
pub(crate) struct KeyDetail {
    theme: Theme,
    now: Timestamp,
    status: Option<Arc<Status>>,
    selected: Option<String>,
}

impl KeyDetail {
    pub(crate) fn new(theme: Theme) -> Self {
        Self { theme, now: Timestamp::UNIX_EPOCH, status: None, selected: None }
    }

    /// Another key is selected, by its id.
    pub(crate) fn select(&mut self, key: String) {
        self.selected = Some(key);
    }

    fn named(&self, name: &str) -> Cells {
        Cells::default().left("", 0, self.theme.tone(Tone::Plain)).left(
            name,
            NAMES,
            self.theme.tone(Tone::Dim),
        )
    }

    fn lines(&self, key: &KeyRow, colors: &KeyColors) -> Vec<Line<'static>> {
        let (plain, dim) = (self.theme.tone(Tone::Plain), self.theme.tone(Tone::Dim));
        let color = self.theme.key(colors, &key.key);
        let account = key.account.as_deref().map_or("not known".into(), visible);
        let mut lines = vec![
            self.named("key")
                .text(format!("{} {}", visible(&key.label), visible(&key.masked)), color)
                .text(format!("  {}, upstream {}", visible(&key.key), visible(&key.upstream)), dim)
                .line(),
            self.named("state")
                .text(state(key, self.now), self.theme.tone(tone(key.state)))
                .text(remedy(key).map(|it| format!("   {it}")).unwrap_or_default(), dim)
                .line(),
            self.named("account")
                .text(account.into_owned(), plain)
                .text(format!("   priority {}   weight {}", key.priority, key.weight), dim)
                .line(),
        ];
        if key.quota.limits.is_empty() {
            let left = left(&key.quota);
            let text =
                if left.is_empty() { "not known".to_owned() } else { format!("{left} left") };
            lines.push(self.named("quota").text(text, plain).line());
        }
        for limit in &key.quota.limits {
            let left = 1.0 - limit.used_ratio.clamp(0.0, 1.0);
            let style = self.theme.tone(left_tone(Some(left)));
            let resets = limit.resets_at.map(|at| {
                format!("   anew in {} ({})", countdown(at, self.now), at.strftime("%m-%d %H:%M"))
            });
            lines.push(
                self.named(&format!("{} quota", visible(&limit.name)))
                    .left(&bar(left, 20), 20, style)
                    .text(format!("{} left", percent_left(left)), style)
                    .text(resets.unwrap_or_default(), dim)
                    .line(),
            );
        }
        if let Some(checked) = key.quota.checked_at {
            let source = key.quota.source.as_deref().map(visible).unwrap_or_default();
            let text = format!("{} ago, from {source}", ago(checked, self.now));
            lines.push(self.named("asked").text(text, dim).line());
        }
        lines
    }
}

/// What the user can do about a key's state.
fn remedy(key: &KeyRow) -> Option<&'static str> {
    match (key.state, key.reason) {
        (KeyState::Disabled, _) => Some("e lets it serve again"),
        (KeyState::Blocked, Some(reason)) if reason.needs_the_user() => {
            Some("put in a new key, or press t")
        }
        (KeyState::Blocked, _) => Some("ends by itself; x ends it now"),
        (KeyState::Warn, Some(Reason::QuotaLow)) => Some("still serves"),
        _ => None,
    }
}

impl Panel for KeyDetail {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let bar = self.theme.bar();
        let title = " selected key";
        let blanks = usize::from(area.width).saturating_sub(cells::width(title));
        let mut lines =
            vec![Cells::default().text(title, bar).text(" ".repeat(blanks), bar).line()];
        if let Some(status) = &self.status {
            let colors = KeyColors::of_keys(&status.snapshot);
            let key =
                status.snapshot.keys.iter().find(|key| Some(&key.key) == self.selected.as_ref());
            lines.extend(key.into_iter().flat_map(|key| self.lines(key, &colors)));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        match event {
            Event::User(UserEvent::Clock(now)) => self.now = *now,
            Event::User(UserEvent::Status(status)) => self.status = Some(Arc::clone(status)),
            _ => return None,
        }
        Some(Msg::Redraw)
    }
}
