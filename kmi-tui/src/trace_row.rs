//! The live trace as plain lines: one for each attempt, columns always at the same place.

use comfy_table::{ColumnConstraint, Row, Width};
use kmi_core::{display::visible, outcome::Fault, trace::Attempt};

use crate::{
    bars::right,
    paint::{Paint, Tone, cell, trimmed},
    quantity::{count, seconds},
};

/// Which columns there is room for, and how wide they are.
#[derive(Debug, Clone, Copy)]
pub struct TraceLayout {
    width: u16,
    paint: Paint,
}

/// A column: its name, its width without the blank after it, and whether it holds numbers.
type Column = (&'static str, u16, bool);

const ALWAYS: [Column; 8] = [
    ("time", 8, false),
    ("turn", 7, true),
    ("key", 10, false),
    ("try", 3, true),
    ("path", 0, false),
    // Wide enough for `upstream_error 503`; what is longer names its status itself.
    ("outcome", 18, false),
    ("ttfb/all", 9, true),
    ("tok", 4, true),
];

/// Where the path stands in [`ALWAYS`]; it takes the room that is left.
const PATH: usize = 4;
/// Below this width there is no room for a path.
const LEAST_PATH: u16 = 4;
const MASKED: Column = ("masked", 8, false);
const MODEL: Column = ("model", 18, false);
const REQUEST: Column = ("request", 14, false);

impl TraceLayout {
    /// For a place of this many columns; 80 hold all that is always shown, more add the masked
    /// key, the model and the request id, in this order.
    pub fn new(width: u16, paint: Paint) -> Self {
        Self { width, paint }
    }

    /// The line of column names.
    pub fn header(self) -> String {
        let extra = self.extra();
        let names = ALWAYS.iter().chain(&extra).map(|(name, _, _)| cell(Tone::Dim, *name));
        self.line(names.collect(), &extra)
    }

    /// The line of an attempt. `masked` is the key as it may be shown, where it is at hand.
    pub fn row(self, attempt: &Attempt, masked: Option<&str>) -> String {
        let extra = self.extra();
        let path = path(attempt, usize::from(self.path_width(&extra)));
        let turn = attempt.turn.map_or_else(|| "-".to_owned(), |turn| turn.to_string());
        let tone = match attempt.outcome.fault() {
            None => Tone::Good,
            Some(Fault::Client | Fault::Ours) => Tone::Dim,
            Some(Fault::Key) => Tone::Warn,
            Some(Fault::Upstream) => Tone::Bad,
        };
        let outcome = match attempt.status {
            Some(status) => format!("{} {status}", attempt.outcome.as_str()),
            None => attempt.outcome.as_str().to_owned(),
        };
        let ttfb = attempt.ttfb_ms.map_or_else(|| "-".to_owned(), seconds);
        let tokens = [attempt.prompt_tokens, attempt.completion_tokens];
        let known = tokens.iter().any(Option::is_some);
        let tokens = tokens.into_iter().flatten().fold(0, u64::saturating_add);
        let retry = if attempt.attempt > 1 { attempt.attempt.to_string() } else { String::new() };
        let mut cells = vec![
            cell(Tone::Dim, attempt.ts.strftime("%H:%M:%S").to_string()),
            cell(Tone::Plain, turn),
            cell(Tone::Strong, visible(&attempt.label)),
            cell(Tone::Warn, retry),
            cell(Tone::Plain, path),
            cell(tone, outcome),
            cell(Tone::Plain, format!("{ttfb}/{}", seconds(attempt.latency_ms))),
            cell(Tone::Plain, if known { count(tokens) } else { String::new() }),
        ];
        for (name, _, _) in &extra {
            let text = match *name {
                "masked" => masked.unwrap_or_default(),
                "model" => attempt.model.as_deref().unwrap_or_default(),
                _ => &attempt.request_id,
            };
            cells.push(cell(Tone::Dim, visible(text)));
        }
        self.line(cells, &extra)
    }

    fn extra(self) -> Vec<Column> {
        let mut room = self.width.saturating_sub(88);
        let mut extra = Vec::new();
        for column in [MASKED, MODEL, REQUEST] {
            let Some(left) = room.checked_sub(column.1 + 1) else { break };
            extra.push(column);
            // Every second column goes to the path, which is what people look for.
            room = left.saturating_sub(4);
        }
        extra
    }

    fn path_width(self, extra: &[Column]) -> u16 {
        let taken: u16 = ALWAYS.iter().chain(extra).map(|(_, width, _)| width + 1).sum();
        self.width.saturating_sub(taken).max(LEAST_PATH)
    }

    fn line(self, cells: Vec<comfy_table::Cell>, extra: &[Column]) -> String {
        let path = self.path_width(extra);
        let mut table = self.paint.table(self.width.max(1));
        let mut row = Row::from(cells);
        row.max_height(1);
        table.add_row(row);
        for (at, (_, width, _)) in ALWAYS.iter().chain(extra).enumerate() {
            let width = if at == PATH { path } else { *width };
            if let Some(column) = table.column_mut(at) {
                column.set_padding((0, 1));
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width + 1)));
            }
        }
        let numbers = ALWAYS.iter().enumerate().filter(|(_, column)| column.2);
        right(&mut table, &numbers.map(|(at, _)| at).collect::<Vec<_>>());
        trimmed(&table)
    }
}

/// Method and path where there is room for both; else the path's end, which tells more than its
/// start.
fn path(attempt: &Attempt, room: usize) -> String {
    let path = visible(&attempt.path);
    let both = format!("{} {path}", visible(&attempt.method));
    let chars = path.chars().count();
    if both.chars().count() <= room {
        both
    } else if chars <= room {
        path.into_owned()
    } else {
        let skip = chars + 1 - room.max(1);
        std::iter::once('…').chain(path.chars().skip(skip)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use kmi_core::{
        eligible::KeySet,
        outcome::Outcome,
        state::{Mode, Policy},
    };

    use super::*;

    fn attempt(turn: Option<u64>, outcome: Outcome) -> Attempt {
        Attempt {
            ts: Timestamp::from_millisecond(1_795_000_000_120).unwrap(),
            turn,
            epoch: 1,
            prev_slot: None,
            slot: turn.map(|_| 0),
            key: "k-12345678".into(),
            label: "work".into(),
            eligible: Arc::new(KeySet::full(3)),
            tried: KeySet::default(),
            request_id: "r-0123456789ab".into(),
            session_id: None,
            attempt: 1,
            mode: Mode::Auto,
            policy: Policy::RoundRobin,
            upstream: "kimi".into(),
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            model: Some("kimi-for-coding".into()),
            stream: Some(true),
            status: Some(200),
            outcome,
            error: None,
            queue_ms: 0,
            connect_ms: 0,
            ttfb_ms: Some(812),
            latency_ms: 12_345,
            prompt_tokens: Some(12_000),
            completion_tokens: Some(345),
            cached_tokens: None,
            request_bytes: 100,
            response_bytes: 200,
        }
    }

    fn lines(width: u16) -> String {
        let layout = TraceLayout::new(width, Paint::default());
        let strange = Attempt {
            label: "a-label-that-is-too-long".into(),
            path: "/files/\u{1b}]0;x".into(),
            model: None,
            attempt: 2,
            status: None,
            ttfb_ms: None,
            prompt_tokens: None,
            completion_tokens: None,
            ..attempt(Some(1_234_567), Outcome::UpstreamProtocol)
        };
        let rows = [attempt(Some(17), Outcome::Ok), strange, attempt(None, Outcome::RateLimited)];
        let rows = rows.iter().map(|it| layout.row(it, Some("sk-…a1b2")));
        let text = std::iter::once(layout.header()).chain(rows).collect::<Vec<_>>().join("\n");
        assert!(text.lines().all(|it| it.chars().count() <= usize::from(width)), "{text}");
        assert_eq!(text.lines().count(), 4, "one line each:\n{text}");
        text
    }

    #[test]
    fn rows_fit_80_columns() {
        insta::assert_snapshot!(lines(80), @r#"
        time        turn key        try path          outcome             ttfb/all  tok
        11:06:40      17 work           …/completions ok 200              0.8s/12s  12k
        11:06:40 1234567 a-label-t…   2 …s/\u{1b}]0;x upstream_protocol      -/12s
        11:06:40       - work           …/completions rate_limited 200    0.8s/12s  12k
        "#);
    }

    #[test]
    fn wider_places_show_more() {
        insta::assert_snapshot!(lines(150), @r#"
        time        turn key        try path                                     outcome             ttfb/all  tok masked   model              request
        11:06:40      17 work           POST /v1/chat/completions                ok 200              0.8s/12s  12k sk-…a1b2 kimi-for-coding    r-0123456789ab
        11:06:40 1234567 a-label-t…   2 POST /files/\u{1b}]0;x                   upstream_protocol      -/12s      sk-…a1b2                    r-0123456789ab
        11:06:40       - work           POST /v1/chat/completions                rate_limited 200    0.8s/12s  12k sk-…a1b2 kimi-for-coding    r-0123456789ab
        "#);
        for width in 80..180 {
            lines(width);
        }
    }

    #[test]
    fn a_path_keeps_its_end() {
        let at = |room| path(&attempt(None, Outcome::Ok), room);
        assert_eq!([at(25), at(20)], ["POST /v1/chat/completions", "/v1/chat/completions"]);
        assert_eq!([at(12), at(1), at(0)], ["…completions", "…", "…"]);
    }
}
