//! Hears what counts everywhere: quitting, help, the other screen, a new window size.

use tuirealm::{
    event::{Event, Key, KeyEvent, KeyModifiers},
    ratatui::{Frame, layout::Rect},
    subscription::{EventClause, Sub, SubClause},
};

use super::Panel;
use crate::{
    keymap::{GLOBAL, Global, command},
    model::{Id, Msg, UserEvent},
};

/// Hears, and is not seen.
#[derive(Debug)]
pub(crate) struct Listener;

impl Listener {
    /// What it listens to. While a filter is typed its letters are letters.
    pub(crate) fn subscriptions() -> Vec<Sub<Id, UserEvent>> {
        let press = |code, modifiers| EventClause::Keyboard(KeyEvent::new(code, modifiers));
        let mut all = vec![
            Sub::new(press(Key::Char('c'), KeyModifiers::CONTROL), SubClause::Always),
            Sub::new(press(Key::Char('z'), KeyModifiers::CONTROL), SubClause::Always),
            Sub::new(EventClause::WindowResize, SubClause::Always),
        ];
        let typing = || SubClause::not(SubClause::IsMounted(Id::FilterLine));
        let free = || {
            SubClause::And(
                Box::new(typing()),
                Box::new(SubClause::not(SubClause::IsMounted(Id::Help))),
            )
        };
        for modifiers in [KeyModifiers::NONE, KeyModifiers::SHIFT] {
            // In the help these close it again; the help hears them itself.
            for code in [Key::Char('?'), Key::Function(1)] {
                all.push(Sub::new(press(code, modifiers), free()));
            }
            for code in [Key::Tab, Key::BackTab] {
                all.push(Sub::new(press(code, modifiers), typing()));
            }
        }
        all.push(Sub::new(press(Key::Char('q'), KeyModifiers::NONE), typing()));
        all
    }
}

impl Panel for Listener {
    fn draw(&mut self, _: &mut Frame<'_>, _: Rect) {}

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        match event {
            Event::WindowResize(..) => Some(Msg::Redraw),
            Event::Keyboard(press) if press.modifiers.contains(KeyModifiers::CONTROL) => {
                match press.code {
                    Key::Char('c') => Some(Msg::End(2)),
                    Key::Char('z') => Some(Msg::Stop),
                    _ => None,
                }
            }
            Event::Keyboard(press) => command(&GLOBAL, press).map(|command| match command {
                Global::Help => Msg::Help,
                Global::Quit => Msg::Quit,
                Global::Switch => Msg::Switch,
            }),
            _ => None,
        }
    }
}
