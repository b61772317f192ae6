//! What matters at a glance: is the rotation proven, who served last, how is the traffic.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::display::visible;
use kmi_stats::report::Report;
use tuirealm::{
    event::Event,
    ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph},
};

use super::{
    Panel,
    columns::{outcome, tone},
};
use crate::{
    cells::{Cells, cut, sparkline},
    feed::Status,
    model::{Msg, UserEvent},
    paint::Tone,
    pulse::{Pulse, SECONDS},
    quantity::{percent, seconds},
    row::Row,
    theme::{KeyColors, Theme},
    verdict::Judgement,
};

/// How many seconds the numbers speak of.
const RECENT: usize = 10;
/// Where values begin, behind their names.
const VALUES: usize = 10;

/// The summary.
#[derive(Debug)]
pub(crate) struct Summary {
    theme: Theme,
    status: Option<Arc<Status>>,
    colors: KeyColors,
    proof: Option<Arc<Report>>,
    last: Option<Arc<Row>>,
    missed: u64,
    pulse: Pulse,
}

impl Summary {
    pub(crate) fn new(theme: Theme) -> Self {
        let (colors, pulse) = (KeyColors::default(), Pulse::default());
        Self { theme, status: None, colors, proof: None, last: None, missed: 0, pulse }
    }

    /// How many lines it takes in a narrow place.
    pub(crate) const LINES: u16 = 3;

    fn judgement(&self) -> Judgement {
        let mode = self.status.as_ref().map(|status| status.snapshot.mode);
        match &self.proof {
            Some(proof) => Judgement::of(proof, mode.unwrap_or_default()),
            None => Judgement {
                tone: Tone::Dim,
                headline: "CHECKING",
                because: "the last turns are being replayed".to_owned(),
                meaning: String::new(),
            },
        }
    }

    fn named(&self, name: &str) -> Cells {
        Cells::default().text(format!(" {name}"), self.theme.tone(Tone::Dim)).to(VALUES)
    }

    fn proof_line(&self) -> Line<'static> {
        let it = self.judgement();
        let plain = self.theme.tone(Tone::Plain);
        let headline =
            self.theme.tone(it.tone).add_modifier(tuirealm::ratatui::style::Modifier::BOLD);
        self.named("proof")
            .text(it.headline, headline)
            .text(format!("  {}", it.because), plain)
            .line()
    }

    fn last_line(&self, width: usize) -> Line<'static> {
        let Some(attempt) = self.last.as_deref().and_then(Row::attempt) else {
            return self.named("last").text("no request yet", self.theme.tone(Tone::Dim)).line();
        };
        let keys = self.status.iter().flat_map(|status| &status.snapshot.keys);
        let masked = keys.into_iter().find(|row| *row.key == *attempt.key).map(|row| &*row.masked);
        let key = self.theme.key(&self.colors, &attempt.key);
        let key = key.add_modifier(tuirealm::ratatui::style::Modifier::BOLD);
        let turn = attempt.turn.map(|turn| format!("turn {turn} ")).unwrap_or_default();
        let label = cut(&visible(&attempt.label), 20);
        let model = attempt.model.as_deref().map(|it| format!("  {}", visible(it)));
        let cells = self
            .named("last")
            .text(format!("{turn}→ "), self.theme.tone(Tone::Plain))
            .text(format!("{label} {}", visible(masked.unwrap_or_default())), key)
            .text(format!("  {}", outcome(attempt)), self.theme.tone(tone(attempt)))
            .text(format!(" in {}", seconds(attempt.latency_ms)), self.theme.tone(Tone::Plain));
        let room = width.saturating_sub(cells.width());
        let dim = self.theme.tone(Tone::Dim);
        cells.text(cut(&model.unwrap_or_default(), room), dim).line()
    }

    fn traffic(&self) -> Cells {
        let beat = self.pulse.beat(RECENT);
        let plain = self.theme.tone(Tone::Plain);
        let cells = self.named("traffic").text(format!("{:.1} req/s", beat.requests), plain);
        let Some(errors) = beat.errors else { return cells };
        let tone = if errors >= 0.05 { Tone::Warn } else { Tone::Plain };
        cells.text(format!("  errors {}", percent(errors, 1)), self.theme.tone(tone))
    }

    fn latency(&self) -> String {
        let beat = self.pulse.beat(RECENT);
        match (beat.p50, beat.p95) {
            (Some(p50), Some(p95)) => format!("p50 {}  p95 {}", seconds(p50), seconds(p95)),
            _ => String::new(),
        }
    }

    fn narrow(&self, width: usize) -> Vec<Line<'static>> {
        let dim = self.theme.tone(Tone::Dim);
        let cells = self.traffic();
        let latency = self.latency();
        let cells = if latency.is_empty() {
            cells
        } else {
            cells.text(format!("  {latency} "), self.theme.tone(Tone::Plain))
        };
        let room = width.saturating_sub(cells.width() + 1).min(SECONDS);
        let spark = sparkline(&self.pulse.latency(), room);
        vec![self.proof_line(), self.last_line(width), cells.text(spark, dim).line()]
    }

    fn wide(&self, width: usize) -> Vec<Line<'static>> {
        let (plain, dim) = (self.theme.tone(Tone::Plain), self.theme.tone(Tone::Dim));
        let blank = || Cells::default().to(VALUES);
        let mut lines = vec![self.proof_line()];
        let meaning = self.judgement().meaning;
        lines.push(Cells::default().text(" ".repeat(VALUES), plain).text(meaning, dim).line());
        lines.push(self.last_line(width));
        lines.push(blank().line());
        lines.push(self.traffic().line());
        let room = width.saturating_sub(VALUES + 1).min(SECONDS);
        let spark = |numbers: &[u64]| {
            Cells::default()
                .text(" ".repeat(VALUES), plain)
                .text(sparkline(numbers, room), dim)
                .line()
        };
        lines.push(spark(&self.pulse.requests()));
        lines.push(self.named("latency").text(self.latency(), plain).line());
        lines.push(spark(&self.pulse.latency()));
        if self.missed > 0 {
            let text = format!("{} lines came too fast to be shown", self.missed);
            lines.push(self.named("missed").text(text, self.theme.tone(Tone::Warn)).line());
        }
        lines
    }
}

impl Panel for Summary {
    fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width);
        let lines = if area.height <= Self::LINES { self.narrow(width) } else { self.wide(width) };
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn on(&mut self, event: &Event<UserEvent>) -> Option<Msg> {
        match event {
            Event::User(UserEvent::Clock(now)) => {
                // A proxy's clock may be a little ahead; that is no reason to forget.
                if *now > Timestamp::UNIX_EPOCH {
                    self.pulse.advance(*now);
                }
            }
            Event::User(UserEvent::Proof(proof)) => self.proof = Some(Arc::clone(proof)),
            Event::User(UserEvent::Status(status)) => {
                self.colors = KeyColors::of_keys(&status.snapshot);
                self.status = Some(Arc::clone(status));
            }
            Event::User(UserEvent::Rows(rows)) => {
                self.missed += rows.1;
                rows.0.iter().filter_map(|row| row.attempt()).for_each(|it| self.pulse.count(it));
                let last = rows.0.iter().rev().find(|row| row.attempt().is_some());
                self.last = last.cloned().or_else(|| self.last.take());
            }
            Event::User(UserEvent::Older(older)) if older.before.is_none() => {
                if self.last.is_none() {
                    self.last = older.rows.iter().rev().find(|it| it.attempt().is_some()).cloned();
                }
                older
                    .rows
                    .iter()
                    .filter_map(|row| row.attempt())
                    .for_each(|it| self.pulse.count(it));
            }
            _ => return None,
        }
        Some(Msg::Redraw)
    }
}
