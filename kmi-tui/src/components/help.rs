//! All keys, in front of everything.

use tuirealm::{
    event::{Event, Key, KeyEvent},
    ratatui::{Frame, layout::Rect, text::Line},
};

use super::{Panel, popup};
use crate::{
    cells::Cells,
    keymap,
    model::{Msg, Screen, UserEvent},
    paint::Tone,
    theme::Theme,
};

/// The help.
#[derive(Debug)]
pub(crate) struct Help {
    theme: Theme,
    screen: Screen,
    scroll: u16,
    most: u16,
}

impl Help {
    pub(crate) fn new(theme: Theme, screen: Screen) -> Self {
        Self { theme, screen, scroll: 0, most: 0 }
    }

    fn lines(&self, width: u16) -> Vec<Line<'static>> {
        let parts = [
            ("Anywhere", keymap::written(&keymap::GLOBAL).collect::<Vec<_>>()),
            ("In the trace", keymap::written(&keymap::TRACE).collect()),
            ("Among the keys", keymap::written(&keymap::TOP).collect()),
        ];
        let plain = self.theme.tone(Tone::Plain);
        let part = |(title, keys): (&str, Vec<(&str, &str)>)| {
            let head = Cells::default().left(title, 46, self.theme.tone(Tone::Strong));
            let keys = keys.into_iter().map(|(shown, what)| {
                let cells = Cells::default().left(shown, 8, self.theme.tone(Tone::Warn));
                cells.left(what, 37, plain)
            });
            std::iter::once(head).chain(keys).collect::<Vec<_>>()
        };
        let [anywhere, trace, top] = parts.map(part);
        let blank = || Cells::default().left("", 46, plain);
        let notes = [
            "A filter is words that must all occur; key:, outcome:, model: and",
            "session: in front of a word name the field, as in key:work outcome:quota",
            "Times are UTC. ttft: time to the first byte; all: to the end; in, out,",
            "hit: tokens of prompt, answer, and prompt out of the cache.",
        ];
        let notes = notes.map(|it| Line::styled(it, self.theme.tone(Tone::Dim)));
        let mut lines: Vec<Line<'static>> = if width >= 100 {
            let right: Vec<Cells> = top.into_iter().chain([blank()]).chain(anywhere).collect();
            let rows = trace.len().max(right.len());
            let pad =
                |part: Vec<Cells>| part.into_iter().chain(std::iter::repeat_with(blank)).take(rows);
            pad(trace).zip(pad(right)).map(|(a, b)| a.beside(b).line()).collect()
        } else {
            let (here, there) = match self.screen {
                Screen::Top => (top, trace),
                Screen::Trace => (trace, top),
            };
            let all =
                here.into_iter().chain([blank()]).chain(anywhere).chain([blank()]).chain(there);
            all.map(Cells::line).collect()
        };
        lines.push(Line::default());
        lines.extend(notes);
        lines
    }
}

impl Panel for Help {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let lines = self.lines(area.width);
        let title = "help   ? closes, ↑ ↓ scroll";
        self.most = popup::draw(frame, area, self.theme, title, lines, self.scroll);
        self.scroll = self.scroll.min(self.most);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        let Event::Keyboard(KeyEvent { code, .. }) = event else { return None };
        match code {
            Key::Char('?') | Key::Function(1) | Key::Esc | Key::Enter => return Some(Msg::Close),
            Key::Up | Key::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            Key::Down | Key::Char('j') => self.scroll = (self.scroll + 1).min(self.most),
            Key::PageUp => self.scroll = self.scroll.saturating_sub(10),
            Key::PageDown | Key::Char(' ') => self.scroll = (self.scroll + 10).min(self.most),
            _ => return None,
        }
        Some(Msg::Redraw)
    }
}
