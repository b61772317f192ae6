//! Everything about one line of the trace, and why its key was chosen.

use std::sync::Arc;

use kmi_core::{display::visible, trace::Attempt};
use tuirealm::{
    event::{Event, Key, KeyEvent},
    ratatui::{Frame, layout::Rect, text::Line},
};

use super::{
    Panel,
    columns::{outcome, tone},
    popup,
};
use crate::{
    cells::{self, Cells},
    feed::Answer,
    key_words::KeyNames,
    model::{Msg, UserEvent},
    paint::{Tone, wrap},
    row::{Row, Tells},
    theme::Theme,
};

/// Columns of the names.
const NAMES: usize = 12;

/// The detail of a line.
#[derive(Debug)]
pub(crate) struct Detail {
    theme: Theme,
    row: Arc<Row>,
    names: KeyNames,
    /// Why this key; `None` until the answer is there.
    why: Option<String>,
    scroll: u16,
    most: u16,
}

impl Detail {
    pub(crate) fn new(theme: Theme, row: Arc<Row>, names: KeyNames) -> Self {
        Self { theme, row, names, why: None, scroll: 0, most: 0 }
    }

    /// A field's name and text, in as many lines as the text needs.
    fn field(&self, name: &str, text: &str, tone: Tone, width: u16) -> Vec<Line<'static>> {
        let room = width.saturating_sub(u16::try_from(NAMES).unwrap_or(0) + 1);
        let texts = laid_out(text, room);
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        let lines = texts.lines().zip(names).map(|(text, name)| {
            let cells = Cells::default().left(name, NAMES, self.theme.tone(Tone::Dim));
            cells.text(text.to_owned(), self.theme.tone(tone)).line()
        });
        lines.collect()
    }

    fn attempt(&self, it: &Attempt, width: u16) -> Vec<Line<'static>> {
        let plain = |name: &str, text: String| self.field(name, &text, Tone::Plain, width);
        let ms = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| format!("{n} ms"));
        let tokens = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let turn = match it.turn {
            Some(turn) => format!("{turn}, of epoch {}", it.epoch),
            None => "none: no choice of the rotation".to_owned(),
        };
        let masked = self.names.masked(&it.key).unwrap_or_default();
        let key = format!("{}  {}  {}", visible(&it.label), visible(masked), visible(&it.key));
        let mut fields = vec![
            self.field("key", &key, Tone::Strong, width),
            self.field("outcome", &outcome(it), tone(it), width),
        ];
        fields.extend(it.error.iter().map(|error| plain("error", visible(error).into_owned())));
        fields.extend([
            plain("time", format!("{:.3}", it.ts)),
            plain("turn", turn),
            plain("attempt", format!("{} of request {}", it.attempt, visible(&it.request_id))),
            plain("endpoint", format!("{} {}", visible(&it.method), visible(&it.path))),
            plain("model", visible(it.model.as_deref().unwrap_or("-")).into_owned()),
            plain("session", visible(it.session_id.as_deref().unwrap_or("-")).into_owned()),
            plain("upstream", visible(&it.upstream).into_owned()),
            plain("mode", format!("{}, {}", it.mode.as_str(), it.policy.as_str())),
            plain(
                "latency",
                format!(
                    "{} ms in all; queued {} ms, connecting {} ms, first byte {}",
                    it.latency_ms,
                    it.queue_ms,
                    it.connect_ms,
                    ms(it.ttfb_ms)
                ),
            ),
            plain(
                "tokens",
                format!(
                    "{} in, {} out, {} in from the cache",
                    tokens(it.prompt_tokens),
                    tokens(it.completion_tokens),
                    tokens(it.cached_tokens)
                ),
            ),
            plain("bytes", format!("{} up, {} down", it.request_bytes, it.response_bytes)),
        ]);
        let mut lines: Vec<_> = fields.into_iter().flatten().collect();
        lines.push(Line::default());
        lines.push(Line::styled("Why this key", self.theme.tone(Tone::Strong)));
        let why = self.why.as_deref().unwrap_or("looking it up …");
        for line in why.lines() {
            let wrapped = laid_out(&visible(line), width);
            lines.extend(
                wrapped.lines().map(|it| Line::styled(it.to_owned(), self.theme.tone(Tone::Plain))),
            );
        }
        lines
    }
}

/// A line in as many as it needs. Broken here, so that the popup knows how many there are; what
/// fits, as the lines of a table do, stays as it is.
fn laid_out(line: &str, width: u16) -> String {
    if cells::width(line) <= usize::from(width) {
        return line.to_owned();
    }
    wrap(line, width, "  ")
}

impl Panel for Detail {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let width = area.width.saturating_sub(4).min(96);
        let lines = match &self.row.tells {
            Tells::Attempt(attempt) => self.attempt(attempt, width),
            Tells::Event(event) => wrap(&event.words(&self.names), width, "  ")
                .lines()
                .map(|it| Line::styled(it.to_owned(), self.theme.tone(event.tone())))
                .collect(),
        };
        let title = format!("line {} of the trace   Esc closes, ↑ ↓ scroll", self.row.seq);
        self.most = popup::draw(frame, area, self.theme, &title, lines, self.scroll);
        self.scroll = self.scroll.min(self.most);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        match event {
            Event::User(UserEvent::Answer(answer)) => match &**answer {
                Answer::Explained { seq, text } if *seq == self.row.seq => {
                    self.why = Some(text.clone());
                    Some(Msg::Redraw)
                }
                _ => None,
            },
            Event::Keyboard(KeyEvent { code, .. }) => {
                match code {
                    Key::Esc | Key::Enter | Key::Backspace => return Some(Msg::Close),
                    Key::Up | Key::Char('k') => self.scroll = self.scroll.saturating_sub(1),
                    Key::Down | Key::Char('j') => self.scroll = (self.scroll + 1).min(self.most),
                    Key::PageUp => self.scroll = self.scroll.saturating_sub(10),
                    Key::PageDown | Key::Char(' ') => {
                        self.scroll = (self.scroll + 10).min(self.most);
                    }
                    _ => return None,
                }
                Some(Msg::Redraw)
            }
            _ => None,
        }
    }
}
