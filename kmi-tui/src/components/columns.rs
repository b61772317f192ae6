//! The columns of the trace list: which there is room for, and what stands in them.

use kmi_core::{display::visible, outcome::Fault, trace::Attempt};
use tuirealm::ratatui::text::Line;

use crate::{
    cells::{Cells, end, fit},
    key_words::KeyNames,
    log::{Entry, Join},
    paint::Tone,
    quantity::{count, seconds},
    row::Tells,
    theme::{KeyColors, Theme},
};

/// From left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Join,
    Time,
    Turn,
    Key,
    Masked,
    Try,
    Outcome,
    Ttft,
    Total,
    In,
    Out,
    Cached,
    Endpoint,
    Model,
    Request,
    Session,
}

use Column::{
    Cached, Endpoint, In, Join as Joint, Key, Masked, Model, Out, Outcome, Request, Session, Time,
    Total, Try, Ttft, Turn,
};

/// Widths by importance: a column is there, or gets wider, when all before it had their room.
const WISHES: [(Column, usize); 22] = [
    (Joint, 1),
    (Time, 8),
    (Turn, 6),
    (Key, 8),
    (Outcome, 16),
    (Total, 4),
    (Ttft, 4),
    (Endpoint, 8),
    (Masked, 5),
    (In, 4),
    (Out, 4),
    (Cached, 4),
    (Model, 15),
    (Request, 14),
    (Outcome, 18),
    (Masked, 8),
    (Try, 3),
    (Session, 12),
    (Key, 14),
    (Time, 12),
    (Endpoint, 28),
    (Session, 20),
];

/// The columns for one width.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns(Vec<(Column, usize)>);

impl Columns {
    /// Those that `width` columns have room for.
    pub(crate) fn for_width(width: usize) -> Self {
        Self(fit(&WISHES, width))
    }

    /// The names of the columns.
    pub(crate) fn header(&self, theme: Theme) -> Line<'static> {
        let style = theme.tone(Tone::Dim);
        let cells = self.0.iter().fold(Cells::default(), |cells, (column, width)| {
            let name = match column {
                Joint => "",
                Time => "time",
                Turn => "turn",
                Key => "key",
                Masked if *width < 6 => "sk-…",
                Masked => "masked",
                Try => "try",
                Outcome => "outcome",
                Ttft => "ttft",
                Total => "all",
                In => "in",
                Out => "out",
                Cached => "hit",
                Endpoint => "endpoint",
                Model => "model",
                Request => "request",
                Session => "session",
            };
            if is_number(*column) {
                cells.right(name, *width, style)
            } else {
                cells.left(name, *width, style)
            }
        });
        cells.line()
    }

    /// A line of the list.
    pub(crate) fn line(
        &self,
        entry: &Entry,
        names: &KeyNames,
        colors: &KeyColors,
        theme: Theme,
    ) -> Line<'static> {
        match &entry.row.tells {
            Tells::Attempt(attempt) => {
                let masked = names.masked(&attempt.key);
                self.attempt(attempt, entry.join, masked, colors, theme).line()
            }
            Tells::Event(event) => {
                let time = self.0.iter().find(|(column, _)| *column == Time);
                let width = time.map_or(8, |(_, width)| *width);
                let time = time_text(entry.row.ts, width);
                Cells::default()
                    .left("", 1, theme.tone(Tone::Plain))
                    .left(&time, width, theme.tone(Tone::Dim))
                    .text(format!("· {}", event.words(names)), theme.tone(event.tone()))
                    .line()
            }
        }
    }

    fn attempt(
        &self,
        attempt: &Attempt,
        join: Join,
        masked: Option<&str>,
        colors: &KeyColors,
        theme: Theme,
    ) -> Cells {
        let (plain, dim) = (theme.tone(Tone::Plain), theme.tone(Tone::Dim));
        let key = theme.key(colors, &attempt.key);
        let text = |text: Option<&str>| visible(text.unwrap_or_default()).into_owned();
        let tokens = |n: Option<u64>| n.map(count).unwrap_or_default();
        self.0.iter().fold(Cells::default(), |cells, (column, width)| {
            let width = *width;
            match column {
                Joint => cells.left(joint(join), width, theme.tone(Tone::Warn)),
                Time => cells.left(&time_text(attempt.ts, width), width, dim),
                Turn => {
                    let turn = attempt.turn.map_or_else(|| "-".to_owned(), |it| it.to_string());
                    cells.right(&turn, width, plain)
                }
                Key => cells.left(&visible(&attempt.label), width, key),
                Masked => cells.left(&end(&text(masked), width), width, key),
                Try => cells.right(&retry(attempt), width, theme.tone(Tone::Warn)),
                Outcome => cells.left(&outcome(attempt), width, theme.tone(tone(attempt))),
                Ttft => {
                    cells.right(&attempt.ttfb_ms.map(seconds).unwrap_or_default(), width, plain)
                }
                Total => cells.right(&seconds(attempt.latency_ms), width, plain),
                In => cells.right(&tokens(attempt.prompt_tokens), width, plain),
                Out => cells.right(&tokens(attempt.completion_tokens), width, plain),
                Cached => cells.right(&tokens(attempt.cached_tokens), width, dim),
                Endpoint => cells.left(&endpoint(attempt, width), width, plain),
                Model => cells.left(&text(attempt.model.as_deref()), width, dim),
                // The beginning is that of all requests of this proxy.
                Request => cells.left(&end(&visible(&attempt.request_id), width), width, dim),
                Session => cells.left(&text(attempt.session_id.as_deref()), width, dim),
            }
        })
    }
}

fn is_number(column: Column) -> bool {
    matches!(column, Turn | Try | Ttft | Total | In | Out | Cached)
}

fn joint(join: Join) -> &'static str {
    match join {
        Join::Alone => "",
        Join::First => "╭",
        Join::Between => "├",
        Join::Last => "╰",
    }
}

fn retry(attempt: &Attempt) -> String {
    if attempt.attempt > 1 { attempt.attempt.to_string() } else { String::new() }
}

fn time_text(ts: jiff::Timestamp, width: usize) -> String {
    ts.strftime(if width >= 12 { "%H:%M:%S%.3f" } else { "%H:%M:%S" }).to_string()
}

/// How an attempt ended, with its status.
pub(crate) fn outcome(attempt: &Attempt) -> String {
    match attempt.status {
        Some(status) => format!("{} {status}", attempt.outcome.as_str()),
        None => attempt.outcome.as_str().to_owned(),
    }
}

/// In which tone an attempt's outcome is shown.
pub(crate) fn tone(attempt: &Attempt) -> Tone {
    match attempt.outcome.fault() {
        None => Tone::Good,
        Some(Fault::Client | Fault::Ours) => Tone::Dim,
        Some(Fault::Key) => Tone::Warn,
        Some(Fault::Upstream) => Tone::Bad,
    }
}

/// The most telling form of method and path that fits.
fn endpoint(attempt: &Attempt, width: usize) -> String {
    let path = visible(&attempt.path);
    let both = format!("{} {path}", visible(&attempt.method));
    let bare = path.strip_prefix("/v1").unwrap_or(&path).trim_start_matches('/');
    let head = bare.split('/').next().unwrap_or_default();
    let forms = [both.as_str(), &path, bare, head];
    let fits = forms.into_iter().find(|form| form.chars().count() <= width);
    fits.unwrap_or(head).to_owned()
}

#[cfg(test)]
mod tests {
    use kmi_core::outcome::Outcome;

    use super::*;
    use crate::samples::attempt;

    #[test]
    fn no_line_is_wider_than_its_place() {
        let mut it = attempt(123_456_789, "a-long-label-日本語", Outcome::UpstreamProtocol);
        it.path = "/files/\u{1b}]0;x/".into();
        for width in 1..240 {
            let columns = Columns::for_width(width);
            let cells = columns.attempt(
                &it,
                Join::First,
                Some("sk-…a1b2"),
                &KeyColors::default(),
                Theme::default(),
            );
            // The blank after the last column may be cut off.
            assert!(cells.width() <= width + 1, "{} in {width}", cells.width());
        }
    }

    #[test]
    fn wide_places_show_everything() {
        assert_eq!(Columns::for_width(200).0.len(), 16);
        let narrow: Vec<Column> = Columns::for_width(80).0.into_iter().map(|it| it.0).collect();
        for column in [Time, Turn, Key, Masked, Outcome, Ttft, Total, In, Out, Endpoint] {
            assert!(narrow.contains(&column), "{column:?} at 80 columns");
        }
    }

    #[test]
    fn the_endpoint_takes_the_form_that_fits() {
        let it = attempt(1, "work", Outcome::Ok);
        let at = |width| endpoint(&it, width);
        assert_eq!([at(28), at(20)], ["POST /v1/chat/completions", "/v1/chat/completions"]);
        assert_eq!([at(16), at(8), at(2)], ["chat/completions", "chat", "chat"]);
    }
}
