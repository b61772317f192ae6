//! The keys beside the trace: their share of the turns as bars, and their state.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{display::visible, snapshot::KeyRow};
use kmi_stats::report::{Report, ShareReport};
use tuirealm::{
    event::Event,
    ratatui::{Frame, layout::Rect, style::Modifier, text::Line, widgets::Paragraph},
};

use super::Panel;
use crate::{
    cells::{Cells, bar},
    feed::Status,
    key_words::state,
    model::{Msg, UserEvent},
    paint::Tone,
    quantity::percent,
    row::{Row, tone},
    theme::{KeyColors, Theme},
};

/// The keys.
#[derive(Debug)]
pub(crate) struct Shares {
    theme: Theme,
    now: Timestamp,
    status: Option<Arc<Status>>,
    colors: KeyColors,
    proof: Option<Arc<Report>>,
    /// The key of the newest line.
    last: Option<Arc<str>>,
}

impl Shares {
    pub(crate) fn new(theme: Theme) -> Self {
        let (now, colors) = (Timestamp::UNIX_EPOCH, KeyColors::default());
        Self { theme, now, status: None, colors, proof: None, last: None }
    }

    fn shares(&self) -> &[ShareReport] {
        self.proof.as_ref().map_or(&[], |proof| &proof.window.numbers.shares)
    }

    fn header(&self, bar_width: usize) -> Line<'static> {
        let dim = self.theme.tone(Tone::Dim);
        let turns: u64 = self.shares().iter().map(|it| it.turns).sum();
        let forms = [format!("share of the last {turns} turns"), format!("of {turns} turns")];
        let fits = forms.iter().find(|form| turns > 0 && form.len() <= bar_width + 7);
        let of = fits.map_or("share", String::as_str);
        Cells::default()
            .left("", 1, dim)
            .left("key", 10, dim)
            .left("masked", 8, dim)
            .left(of, bar_width + 7, dim)
            .text("state", dim)
            .line()
    }

    fn line(&self, key: &KeyRow, bar_width: usize, most: u64, turns: u64) -> Line<'static> {
        let color = self.theme.key(&self.colors, &key.key);
        let is_last = self.last.as_deref() == Some(&*key.key);
        let name = if is_last { color.add_modifier(Modifier::BOLD) } else { color };
        let own = self.shares().iter().find(|share| share.key == key.key);
        let own = own.map_or(0, |share| share.turns);
        #[expect(clippy::cast_precision_loss, reason = "shares of a few thousand turns")]
        let ratio = |n: u64, of: u64| n as f64 / of.max(1) as f64;
        let share = if turns > 0 { percent(ratio(own, turns), 1) } else { String::new() };
        Cells::default()
            .left(if is_last { "▶" } else { "" }, 1, name)
            .left(&visible(&key.label), 10, name)
            .left(&visible(&key.masked), 8, color)
            .left(&bar(ratio(own, most), bar_width), bar_width, color)
            .right(&share, 6, self.theme.tone(Tone::Plain))
            .text(state(key, self.now), self.theme.tone(tone(key.state)))
            .line()
    }
}

impl Panel for Shares {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let dim = self.theme.tone(Tone::Dim);
        let keys = self.status.as_ref().map_or(&[][..], |status| &status.snapshot.keys);
        if keys.is_empty() {
            let text = if self.status.is_some() {
                " no keys yet: add one with `kmi keys add LABEL`"
            } else {
                " …"
            };
            frame.render_widget(Paragraph::new(Line::styled(text, dim)), area);
            return;
        }
        // Beside the bar: names, share and some forty columns for the state.
        let bar_width = usize::from(area.width).saturating_sub(70).clamp(8, 40);
        let most = self.shares().iter().map(|share| share.turns).max().unwrap_or(0);
        let turns = self.shares().iter().map(|share| share.turns).sum();
        let room = usize::from(area.height).saturating_sub(1);
        let mut shown: Vec<&KeyRow> = keys.iter().collect();
        let hidden = keys.len().saturating_sub(room);
        if hidden > 0 {
            // Where not all have room, those that cannot serve matter more.
            shown.sort_by_key(|key| key.state.is_usable());
            shown.truncate(room.saturating_sub(1));
        }
        let mut lines = vec![self.header(bar_width)];
        lines.extend(shown.iter().map(|key| self.line(key, bar_width, most, turns)));
        if hidden > 0 {
            let text = format!("  and {} more: Tab shows all", keys.len() - shown.len());
            lines.push(Line::styled(text, dim));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        let newest = |rows: &[Arc<Row>]| {
            rows.iter().rev().find_map(|row| Some(Arc::clone(&row.attempt()?.key)))
        };
        match event {
            Event::User(UserEvent::Clock(now)) => self.now = *now,
            Event::User(UserEvent::Proof(proof)) => self.proof = Some(Arc::clone(proof)),
            Event::User(UserEvent::Rows(rows)) => {
                self.last = newest(&rows.0).or_else(|| self.last.take());
            }
            Event::User(UserEvent::Older(older)) if self.last.is_none() => {
                self.last = newest(&older.rows);
            }
            Event::User(UserEvent::Status(status)) => {
                self.colors = KeyColors::of_keys(&status.snapshot);
                self.status = Some(Arc::clone(status));
            }
            _ => return None,
        }
        Some(Msg::Redraw)
    }
}
