//! Asks before something is done.

use kmi_core::{
    display::visible,
    snapshot::{KeyRow, Snapshot},
    state::{KeyState, Mode},
};
use tuirealm::{
    event::{Event, Key, KeyEvent},
    ratatui::{Frame, layout::Rect, text::Line},
};

use super::{Panel, popup};
use crate::{
    cells::Cells,
    feed::Action,
    model::{Msg, UserEvent},
    paint::Tone,
    theme::Theme,
};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What will be done.
    pub(crate) action: Action,
    /// The question.
    pub(crate) title: String,
    /// What it leads to.
    pub(crate) consequence: &'static str,
}

impl Question {
    pub(crate) fn rotate(key: &KeyRow) -> Self {
        let consequence = if key.state.is_usable() {
            "From then on this key serves every request (manual mode)."
        } else {
            "It cannot serve now: others step in until it can (manual mode)."
        };
        let action = Action::Rotate { key: key.key.clone() };
        Self { action, title: format!("Rotate to {}?", visible(&key.label)), consequence }
    }

    pub(crate) fn enable(key: &KeyRow) -> Self {
        let action = Action::Enable { key: key.key.clone() };
        let consequence = "It takes its turns again; whatever blocked it is over.";
        Self { action, title: format!("Enable {}?", visible(&key.label)), consequence }
    }

    /// Ends a block; nothing to ask about a key that is not blocked.
    pub(crate) fn reset(key: &KeyRow) -> Option<Self> {
        if key.state != KeyState::Blocked {
            return None;
        }
        let action = Action::Reset { key: key.key.clone() };
        let consequence = "It is tried again at once; if the reason stands it is blocked again.";
        let title = format!("End what blocks {}?", visible(&key.label));
        Some(Self { action, title, consequence })
    }

    pub(crate) fn disable(key: &KeyRow) -> Self {
        let action = Action::Disable { key: key.key.clone() };
        let consequence = "It gets no more requests until it is enabled; running ones end.";
        Self { action, title: format!("Disable {}?", visible(&key.label)), consequence }
    }

    pub(crate) fn test(key: &KeyRow) -> Self {
        let action = Action::Test { key: key.key.clone() };
        let consequence = "Asks the provider for its quota; costs no tokens.";
        Self { action, title: format!("Test {}?", visible(&key.label)), consequence }
    }

    pub(crate) fn mode(snapshot: &Snapshot) -> Self {
        match snapshot.mode {
            Mode::Auto => Self {
                action: Action::Mode(Mode::Manual),
                title: "Switch automatic rotation off?".to_owned(),
                consequence: "The active key serves every request; such requests are no turns.",
            },
            Mode::Manual => Self {
                action: Action::Mode(Mode::Auto),
                title: "Switch automatic rotation on?".to_owned(),
                consequence: "Every request takes the next usable key.",
            },
        }
    }
}

/// The question on the screen.
#[derive(Debug)]
pub(crate) struct Confirm {
    theme: Theme,
    question: Question,
}

impl Confirm {
    pub(crate) fn new(theme: Theme, question: Question) -> Self {
        Self { theme, question }
    }
}

impl Panel for Confirm {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let (plain, warn) = (self.theme.tone(Tone::Plain), self.theme.tone(Tone::Warn));
        let answers = Cells::default()
            .text("y", warn)
            .text(" or Enter: yes    ", plain)
            .text("n", warn)
            .text(" or Esc: no", plain);
        let lines =
            vec![Line::styled(self.question.consequence, plain), Line::default(), answers.line()];
        popup::draw(frame, area, self.theme, &self.question.title, lines, 0);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        let Event::Keyboard(KeyEvent { code, .. }) = event else { return None };
        match code {
            Key::Char('y' | 'Y') | Key::Enter => Some(Msg::Confirmed(self.question.action.clone())),
            Key::Char('n' | 'N') | Key::Esc => Some(Msg::Close),
            _ => None,
        }
    }
}
