//! Where a filter is typed; the list follows with every letter.

use tui_input::{Input, InputRequest};
use tuirealm::{
    event::{Event, Key, KeyEvent, KeyModifiers},
    ratatui::{
        Frame,
        layout::{Position, Rect},
        widgets::Paragraph,
    },
};

use super::Panel;
use crate::{
    model::{Msg, UserEvent},
    theme::Theme,
};

/// More characters than anybody types.
const LONGEST: usize = 256;
const NAME: &str = " filter: ";
const PLACEHOLDER: &str = "words, or key: outcome: model: session:   Enter keeps, Esc undoes";

/// The line.
pub(crate) struct FilterLine {
    theme: Theme,
    input: Input,
    before: String,
}

impl FilterLine {
    pub(crate) fn new(theme: Theme, typed: &str) -> Self {
        Self { theme, input: Input::from(typed), before: typed.to_owned() }
    }
}

impl Panel for FilterLine {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let name = u16::try_from(NAME.len()).unwrap_or(0).min(area.width);
        let rest = Rect { x: area.x + name, width: area.width - name, ..area };
        let scroll = self.input.visual_scroll(usize::from(rest.width.saturating_sub(1)));
        let typed = self.input.value();
        let text = if typed.is_empty() { PLACEHOLDER } else { typed };
        let scrolled = (0, u16::try_from(scroll).unwrap_or(u16::MAX));
        let bar = self.theme.bar();
        frame.render_widget(Paragraph::new(NAME).style(bar), Rect { width: name, ..area });
        frame.render_widget(Paragraph::new(text).style(bar).scroll(scrolled), rest);
        let column = self.input.visual_cursor().saturating_sub(scroll);
        let column = u16::try_from(column).unwrap_or(u16::MAX);
        frame.set_cursor_position(Position { x: rest.x.saturating_add(column), y: rest.y });
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        let Event::Keyboard(KeyEvent { code, modifiers }) = event else { return None };
        let request = match code {
            Key::Enter => return Some(Msg::Close),
            Key::Esc => return Some(Msg::FilterUndone(self.before.clone())),
            Key::Char('u') if modifiers.contains(KeyModifiers::CONTROL) => InputRequest::DeleteLine,
            _ if modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => return None,
            Key::Char(_) if self.input.value().chars().count() >= LONGEST => return None,
            Key::Char(c) => InputRequest::InsertChar(*c),
            Key::Backspace => InputRequest::DeletePrevChar,
            Key::Delete => InputRequest::DeleteNextChar,
            Key::Left => InputRequest::GoToPrevChar,
            Key::Right => InputRequest::GoToNextChar,
            Key::Home => InputRequest::GoToStart,
            Key::End => InputRequest::GoToEnd,
            _ => return None,
        };
        self.input.handle(request);
        Some(Msg::FilterTyped(self.input.value().to_owned()))
    }
}
