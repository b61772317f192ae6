//! Where a filter is typed; the list follows with every letter.

use tui_realm_stdlib::components::Input;
use tuirealm::{
    command::{Cmd, Direction, Position},
    component::Component,
    event::{Event, Key, KeyEvent, KeyModifiers},
    props::{AttrValue, Attribute},
    ratatui::{Frame, layout::Rect, widgets::Paragraph},
    state::{State, StateValue},
};

use super::Panel;
use crate::{
    model::{Msg, UserEvent},
    theme::Theme,
};

/// More than anybody types.
const LONGEST: usize = 256;

/// The line.
pub(crate) struct FilterLine {
    theme: Theme,
    input: Input,
    before: String,
}

impl FilterLine {
    pub(crate) fn new(theme: Theme, typed: &str) -> Self {
        let input = Input::default()
            .input_len(LONGEST)
            .style(theme.bar())
            .placeholder("words, or key: outcome: model: session:   Enter keeps, Esc undoes")
            .value(typed);
        Self { theme, input, before: typed.to_owned() }
    }

    fn typed(&self) -> String {
        match self.input.state() {
            State::Single(StateValue::String(text)) => text,
            _ => String::new(),
        }
    }
}

impl Panel for FilterLine {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let name = " filter: ";
        let width = u16::try_from(name.len()).unwrap_or(0).min(area.width);
        let bar = self.theme.bar();
        frame.render_widget(Paragraph::new(name).style(bar), Rect { width, ..area });
        let rest = Rect { x: area.x + width, width: area.width - width, ..area };
        self.input.attr(Attribute::Focus, AttrValue::Flag(true));
        self.input.view(frame, rest);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        let command = match event {
            Event::Keyboard(KeyEvent { code: Key::Enter, .. }) => return Some(Msg::Close),
            Event::Keyboard(KeyEvent { code: Key::Esc, .. }) => {
                return Some(Msg::FilterUndone(self.before.clone()));
            }
            Event::Keyboard(KeyEvent { code: Key::Char('u'), modifiers })
                if modifiers.contains(KeyModifiers::CONTROL) =>
            {
                self.input.attr(Attribute::Value, AttrValue::String(String::new()));
                return Some(Msg::FilterTyped(String::new()));
            }
            Event::Keyboard(KeyEvent { modifiers, .. })
                if modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) =>
            {
                return None;
            }
            Event::Keyboard(KeyEvent { code, .. }) => match code {
                Key::Char(c) => Cmd::Type(*c),
                Key::Backspace => Cmd::Delete,
                Key::Delete => Cmd::Cancel,
                Key::Left => Cmd::Move(Direction::Left),
                Key::Right => Cmd::Move(Direction::Right),
                Key::Home => Cmd::GoTo(Position::Begin),
                Key::End => Cmd::GoTo(Position::End),
                _ => return None,
            },
            _ => return None,
        };
        self.input.perform(command);
        Some(Msg::FilterTyped(self.typed()))
    }
}
