//! The bottom line: the most useful keys, or what there is to say.

use tuirealm::{
    event::Event,
    ratatui::{Frame, layout::Rect, widgets::Paragraph},
};

use super::Panel;
use crate::{
    cells::{Cells, cut},
    feed::Answer,
    model::{Msg, Screen, UserEvent},
    paint::Tone,
    theme::Theme,
};

/// For how many seconds something is said.
const PATIENCE: u8 = 6;

const TRACE: [(&str, &str); 8] = [
    ("q", "quit"),
    ("?", "help"),
    ("Tab", "keys"),
    ("Enter", "why"),
    ("/", "filter"),
    ("Space", "pause"),
    ("e", "export"),
    ("K O M S", "only like this"),
];
const TOP: [(&str, &str); 8] = [
    ("q", "quit"),
    ("?", "help"),
    ("Tab", "trace"),
    ("r", "rotate to"),
    ("e d", "on, off"),
    ("t", "test"),
    ("x", "unblock"),
    ("m", "mode"),
];

/// The line.
#[derive(Debug)]
pub(crate) struct Footer {
    theme: Theme,
    screen: Screen,
    said: Option<(Tone, String, u8)>,
    /// What is wrong for as long as it is.
    problem: Option<String>,
}

impl Footer {
    pub(crate) fn new(theme: Theme, screen: Screen) -> Self {
        Self { theme, screen, said: None, problem: None }
    }

    /// Other keys count.
    pub(crate) fn set_screen(&mut self, screen: Screen) {
        self.screen = screen;
    }

    /// Says something for a while.
    pub(crate) fn say(&mut self, tone: Tone, text: String) {
        self.said = Some((tone, text, PATIENCE));
    }
}

impl Panel for Footer {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width).saturating_sub(1);
        let said = self.said.as_ref().map(|(tone, text, _)| (*tone, text));
        let said = said.or_else(|| self.problem.as_ref().map(|text| (Tone::Warn, text)));
        if let Some((tone, text)) = said {
            let text = format!(" {}", cut(&kmi_core::display::visible(text), width));
            let line = Cells::default().text(text, self.theme.tone(tone)).line();
            frame.render_widget(Paragraph::new(line), area);
            return;
        }
        let keys = match self.screen {
            Screen::Trace => &TRACE[..],
            Screen::Top => &TOP[..],
        };
        let (strong, dim) = (self.theme.tone(Tone::Strong), self.theme.tone(Tone::Dim));
        let mut line = Cells::default();
        for (key, what) in keys {
            let more =
                Cells::default().text(format!(" {key} "), strong).text(format!("{what} "), dim);
            if line.width() + more.width() > usize::from(area.width) {
                // The help has the rest.
                break;
            }
            line = line.beside(more);
        }
        frame.render_widget(Paragraph::new(line.line()), area);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        match event {
            Event::User(UserEvent::Clock(_)) => {
                let (_, _, left) = self.said.as_mut()?;
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.said = None;
                }
            }
            Event::User(UserEvent::Answer(answer)) => match &**answer {
                Answer::Done(text) => self.say(Tone::Good, text.clone()),
                Answer::Failed(text) => self.say(Tone::Bad, text.clone()),
                Answer::Explained { .. } => return None,
            },
            Event::User(UserEvent::Status(status)) => {
                self.problem = status.problems.first().cloned();
            }
            _ => return None,
        }
        Some(Msg::Redraw)
    }
}
