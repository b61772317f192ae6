//! Text in columns: cut, filled up and set beside each other by the width that is seen.

use std::collections::BTreeMap;

use tuirealm::ratatui::{
    style::Style,
    text::{Line, Span},
};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A line that grows from left to right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cells {
    spans: Vec<Span<'static>>,
    width: usize,
}

impl Cells {
    /// Adds text as it is.
    pub(crate) fn text(mut self, text: impl Into<String>, style: Style) -> Self {
        let text = text.into();
        self.width += text.width();
        self.spans.push(Span::styled(text, style));
        self
    }

    /// Adds text that takes exactly `width` columns, and a blank.
    pub(crate) fn left(self, text: &str, width: usize, style: Style) -> Self {
        let text = cut(text, width);
        let blanks = width + 1 - text.width();
        self.text(text, style).text(" ".repeat(blanks), Style::new())
    }

    /// The same with the text at the right end.
    pub(crate) fn right(self, text: &str, width: usize, style: Style) -> Self {
        let text = cut(text, width);
        let blanks = " ".repeat(width - text.width());
        self.text(blanks, Style::new()).text(text, style).text(" ", Style::new())
    }

    /// Blanks, so that what follows begins at this column or, if that is passed, after one blank.
    pub(crate) fn to(self, column: usize) -> Self {
        let blanks = column.saturating_sub(self.width).max(usize::from(self.width > 0));
        self.text(" ".repeat(blanks), Style::new())
    }

    /// This line and then another one.
    pub(crate) fn beside(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self.width += other.width;
        self
    }

    /// The columns that are taken.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The line.
    pub(crate) fn line(self) -> Line<'static> {
        Line::from(self.spans)
    }
}

/// Which columns of a table there is room for, in their own order from left to right.
///
/// `wishes` are widths by importance: one after the other a column gets its room, or more of it,
/// where that much is left. A blank follows each column, but for the last one.
pub(crate) fn fit<C: Copy + Ord>(wishes: &[(C, usize)], width: usize) -> Vec<(C, usize)> {
    let mut fitting = BTreeMap::new();
    let mut left = width + 1;
    for (column, wanted) in wishes {
        let more = match fitting.get(column) {
            Some(taken) => wanted.saturating_sub(*taken),
            None => wanted + 1,
        };
        if more <= left {
            left -= more;
            fitting.insert(*column, *wanted);
        }
    }
    fitting.into_iter().collect()
}

/// The columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The start of a text, in at most `width` columns, with a mark where it was cut.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < width
    };
    let start: String = text.chars().take_while(fits).collect();
    if width == 0 { start } else { start + "…" }
}

/// The end of a text, in at most `width` columns, with a mark where it was cut.
pub(crate) fn end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let turned: String = text.chars().rev().collect();
    cut(&turned, width).chars().rev().collect()
}

/// A bar of `width` columns, filled to a share from 0 to 1, in eighths of a column.
pub(crate) fn bar(share: f64, width: usize) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let eighths = (share.clamp(0.0, 1.0) * 8.0 * width as f64).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{part}", "█".repeat(eighths / 8))
}

/// The last `width` numbers as a row of small bars.
pub(crate) fn sparkline(numbers: &[u64], width: usize) -> String {
    let shown = &numbers[numbers.len().saturating_sub(width)..];
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let place = |n: u64| usize::try_from(u128::from(n) * 7 / u128::from(most)).unwrap_or(7);
    let missing = std::iter::repeat_n(' ', width - shown.len());
    missing.chain(shown.iter().map(|n| if *n == 0 { ' ' } else { bars[place(*n)] })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_hold_whatever_the_text_is() {
        for text in ["", "work", "a label that is much too long", "日本語日本語日本語", "e\u{301}"]
        {
            for width in 0..12 {
                let cells = Cells::default().left(text, width, Style::new());
                assert_eq!(cells.width(), width + 1, "{text} in {width}");
                assert_eq!(Cells::default().right(text, width, Style::new()).width(), width + 1);
                assert!(end(text, width).width() <= width);
            }
        }
        assert_eq!([cut("abcdef", 4), end("abcdef", 4)], ["abc…", "…def"]);
    }

    #[test]
    fn what_matters_most_has_its_room_first() {
        let wishes = [('c', 4), ('a', 2), ('b', 9), ('c', 6)];
        let at = |width| fit(&wishes, width);
        assert_eq!(at(1), []);
        assert_eq!(at(3), [('a', 2)]);
        assert_eq!(at(4), [('c', 4)]);
        assert_eq!(at(7), [('a', 2), ('c', 4)]);
        assert_eq!(at(9), [('a', 2), ('c', 6)]);
        assert_eq!(at(19), [('a', 2), ('b', 9), ('c', 6)]);
    }

    #[test]
    fn bars_and_sparklines_stay_in_their_room() {
        assert_eq!([bar(0.0, 4), bar(0.5, 3), bar(9.0, 2), bar(f64::NAN, 2)], ["", "█▌", "██", ""]);
        assert_eq!(sparkline(&[1, 0, 4, 8], 5), " ▁ ▄█");
        assert_eq!(sparkline(&[1, 2, u64::MAX], 2), "▁█");
        assert_eq!(sparkline(&[], 2), "  ");
    }
}
