//! The columns of the key table: which there is room for, and what stands in them.

use jiff::Timestamp;
use kmi_core::{
    display::visible,
    snapshot::{KeyRow, LimitRow},
};
use tuirealm::ratatui::text::Line;

use crate::{
    cells::{Cells, bar, end, fit},
    key_words::{latency, left, left_tone, until, why, why_in_short},
    paint::Tone,
    quantity::{ago, count, countdown},
    row::tone,
    theme::{KeyColors, Theme},
};

/// From left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Mark,
    Key,
    Masked,
    State,
    Why,
    Until,
    Used,
    Requests,
    Errors,
    Busy,
    Latency,
    Account,
    Left,
    /// A limit of the quota, counted from 0.
    Limit(usize),
}

use Column::{
    Account, Busy, Errors, Key, Latency, Left, Limit, Mark, Masked, Requests, State, Until, Used,
    Why,
};

/// Widths by importance; those of 80 columns come first.
const WISHES: [(Column, usize); 20] = [
    (Mark, 1),
    (Key, 8),
    (State, 8),
    (Until, 9),
    (Why, 8),
    (Left, 5),
    (Masked, 5),
    (Requests, 4),
    (Errors, 4),
    (Used, 4),
    (Latency, 9),
    (Busy, 4),
    (Limit(0), LIMIT),
    (Why, 19),
    (Masked, 8),
    (Limit(1), LIMIT),
    (Account, 8),
    (Key, 14),
    (Limit(2), LIMIT),
    (Account, 14),
];

/// A limit: its name, a bar, and when it begins anew.
const LIMIT: usize = NAME + 1 + BAR + 1 + ANEW;
const NAME: usize = 5;
const BAR: usize = 8;
const ANEW: usize = 6;

/// The columns for one width.
#[derive(Debug)]
pub(crate) struct KeyColumns(Vec<(Column, usize)>);

/// What all lines of the table share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) theme: Theme,
    pub(crate) colors: &'a KeyColors,
    pub(crate) now: Timestamp,
}

impl KeyColumns {
    /// Those that `width` columns have room for.
    pub(crate) fn for_width(width: usize) -> Self {
        Self(fit(&WISHES, width))
    }

    /// The names of the columns.
    pub(crate) fn header(&self, theme: Theme) -> Line<'static> {
        let dim = theme.tone(Tone::Dim);
        let cells = self.0.iter().fold(Cells::default(), |cells, (column, width)| {
            let width = *width;
            match column {
                Limit(0) => cells.left("quota left, anew in", width, dim),
                Mark | Limit(_) => cells.left("", width, dim),
                Key => cells.left("key", width, dim),
                Masked if width < 8 => cells.left("sk-…", width, dim),
                Masked => cells.left("masked", width, dim),
                State => cells.left("state", width, dim),
                Why => cells.left("why", width, dim),
                Until => cells.left("back in", width, dim),
                Used => cells.right("used", width, dim),
                Requests => cells.right("reqs", width, dim),
                Errors => cells.right("errs", width, dim),
                Busy => cells.right("busy", width, dim),
                Latency => cells.right("p50/p95", width, dim),
                Account => cells.left("account", width, dim),
                Left => cells.right("left", width, dim),
            }
        });
        cells.line()
    }

    /// The line of a key; `active` marks the one that serves in manual mode.
    pub(crate) fn line(&self, key: &KeyRow, active: bool, look: Look<'_>) -> Line<'static> {
        self.cells(key, active, look).line()
    }

    fn cells(&self, key: &KeyRow, active: bool, look: Look<'_>) -> Cells {
        let Look { theme, colors, now } = look;
        let (plain, dim) = (theme.tone(Tone::Plain), theme.tone(Tone::Dim));
        let (color, state) = (theme.key(colors, &key.key), theme.tone(tone(key.state)));
        let errors = theme.tone(if key.errors > 0 { Tone::Warn } else { Tone::Plain });
        self.0.iter().fold(Cells::default(), |cells, (column, width)| {
            let width = *width;
            match column {
                Mark => cells.left(if active { "*" } else { "" }, width, color),
                Key => cells.left(&visible(&key.label), width, color),
                Masked => cells.left(&end(&visible(&key.masked), width), width, color),
                State => cells.left(key.state.as_str(), width, state),
                Why if width < 19 => {
                    cells.left(key.reason.map(why_in_short).unwrap_or_default(), width, state)
                }
                Why => cells.left(&key.reason.map(why).unwrap_or_default(), width, state),
                Until => cells.left(&until(key, now).unwrap_or_default(), width, state),
                Used => {
                    let used = key.last_used.map(|used| ago(used, now)).unwrap_or_default();
                    cells.right(&used, width, plain)
                }
                Requests => cells.right(&count(key.requests), width, plain),
                Errors => cells.right(&count(key.errors), width, errors),
                Busy => cells.right(&count(key.in_flight), width, plain),
                Latency => cells.right(&latency(key), width, plain),
                Account => {
                    let account = key.account.as_deref().map(visible).unwrap_or_default();
                    cells.left(&account, width, dim)
                }
                Left => {
                    let style = theme.tone(left_tone(key.quota.remaining_ratio));
                    cells.right(&left(&key.quota), width, style)
                }
                Limit(n) => match key.quota.limits.get(*n) {
                    Some(it) => limit(cells, it, look),
                    None => cells.left("", width, plain),
                },
            }
        })
    }
}

fn limit(cells: Cells, it: &LimitRow, look: Look<'_>) -> Cells {
    let left = 1.0 - it.used_ratio.clamp(0.0, 1.0);
    let style = look.theme.tone(left_tone(Some(left)));
    let anew = it.resets_at.map(|at| countdown(at, look.now)).unwrap_or_default();
    let dim = look.theme.tone(Tone::Dim);
    cells
        .left(&visible(&it.name), NAME, dim)
        .left(&bar(left, BAR), BAR, style)
        .right(&anew, ANEW, dim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, status};

    #[test]
    fn no_line_is_wider_than_its_place() {
        let mut status = status();
        status.snapshot.keys[0].label = "日本語日本語日本語".into();
        status.snapshot.keys[1].account = Some("a\u{202e}b".into());
        let colors = KeyColors::default();
        let look = Look { theme: Theme::default(), colors: &colors, now: at(0) };
        for width in 1..260 {
            let columns = KeyColumns::for_width(width);
            for key in &status.snapshot.keys {
                // The blank after the last column may be cut off.
                let taken = columns.cells(key, true, look).width();
                assert!(taken <= width + 1, "{taken} in {width}");
            }
        }
    }

    #[test]
    fn eighty_columns_say_state_why_and_until() {
        let narrow: Vec<Column> = KeyColumns::for_width(80).0.into_iter().map(|it| it.0).collect();
        for column in [Key, Masked, State, Why, Until, Used, Requests, Errors, Busy, Latency, Left]
        {
            assert!(narrow.contains(&column), "{column:?} at 80 columns");
        }
        assert_eq!(KeyColumns::for_width(200).0.len(), 16);
    }
}
