//! The top line: what this is, how keys are chosen, and whether a proxy runs.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kmi_core::{display::visible, snapshot::Snapshot, state::Mode};
use tuirealm::{
    event::Event,
    ratatui::{Frame, layout::Rect, widgets::Paragraph},
};

use super::Panel;
use crate::{
    cells::{self, Cells},
    feed::Status,
    model::{Msg, UserEvent},
    quantity::duration,
    theme::Theme,
};

/// The top line.
#[derive(Debug)]
pub(crate) struct Header {
    theme: Theme,
    now: Timestamp,
    status: Option<Arc<Status>>,
    /// When it came.
    since: Timestamp,
}

impl Header {
    pub(crate) fn new(theme: Theme) -> Self {
        let (now, since) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        Self { theme, now, status: None, since }
    }
}

/// How keys are chosen, in few words.
pub(crate) fn mode(snapshot: &Snapshot) -> String {
    match (snapshot.mode, &snapshot.active_key) {
        (Mode::Auto, _) => format!("auto ({})", snapshot.policy.as_str()),
        (Mode::Manual, Some(label)) => format!("manual: {} serves", visible(label)),
        (Mode::Manual, None) => "manual, no active key".to_owned(),
    }
}

/// Where the proxy listens, and for how long; that was told `ago`, because time alone is no news.
fn proxy(snapshot: &Snapshot, ago: SignedDuration) -> String {
    let proxy = &snapshot.proxy;
    let address = proxy.listen.as_deref().map(visible).unwrap_or_default();
    let up = proxy.uptime_s.and_then(|s| i64::try_from(s).ok()).map(SignedDuration::from_secs);
    let up = up.map(|up| up.saturating_add(ago.max(SignedDuration::ZERO)));
    let up = up.map(|up| format!(" up {}", duration(up))).unwrap_or_default();
    format!("{address}{up}")
}

impl Panel for Header {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width);
        let bar = self.theme.bar();
        let strong = bar.add_modifier(tuirealm::ratatui::style::Modifier::BOLD);
        let clock = if self.now == Timestamp::UNIX_EPOCH {
            String::new()
        } else {
            self.now.strftime("%H:%M:%S UTC ").to_string()
        };
        let (mode, proxy) = match &self.status {
            Some(status) if status.snapshot.proxy.running => (
                mode(&status.snapshot),
                proxy(&status.snapshot, self.now.duration_since(self.since)),
            ),
            Some(status) => {
                (mode(&status.snapshot), "NO PROXY RUNS: kmi serve starts one".to_owned())
            }
            None => ("looking for the proxy …".to_owned(), String::new()),
        };
        let cells = Cells::default().text(" kmi  ", strong).text(mode, strong).text("  ", bar);
        let room = width.saturating_sub(cells.width() + cells::width(&clock) + 1);
        let cells = cells.text(cells::cut(&proxy, room), bar);
        let blanks = width.saturating_sub(cells.width() + cells::width(&clock));
        let line = cells.text(" ".repeat(blanks), bar).text(clock, bar).line();
        frame.render_widget(Paragraph::new(line), area);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        match event {
            Event::User(UserEvent::Clock(now)) => self.now = *now,
            Event::User(UserEvent::Status(status)) => {
                (self.status, self.since) = (Some(Arc::clone(status)), self.now);
            }
            _ => return None,
        }
        Some(Msg::Redraw)
    }
}
