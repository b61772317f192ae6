//! Shares as bars, each beside what was expected of it.

use kmi_core::display::visible;
use kmi_stats::report::ShareReport;

use crate::{
    paint::{Paint, Tone, cell, trimmed},
    quantity::count,
};

/// One line per key: label, a bar of its turns, turns, expectation and tokens.
pub fn shares(shares: &[ShareReport], width: u16, paint: Paint) -> String {
    if shares.is_empty() {
        return paint.text(Tone::Dim, "no turns yet");
    }
    let most = shares.iter().map(|share| share.turns).max().unwrap_or(0);
    // Beside the bar: a label of up to 20 characters, three numbers, blanks.
    let room = usize::from(width.saturating_sub(50)).clamp(4, 60);
    let several = shares.iter().any(|share| share.upstream != shares[0].upstream);
    let mut table = paint.table(width);
    table.set_header(["key", "share", "turns", "expected", "tokens"].map(|it| cell(Tone::Dim, it)));
    for share in shares {
        let name = if several {
            format!("{}/{}", visible(&share.upstream), visible(&share.label))
        } else {
            visible(&share.label).into_owned()
        };
        table.add_row([
            cell(Tone::Plain, cut(&name, 20)),
            cell(Tone::Good, bar(share.turns, most, room)),
            cell(Tone::Plain, share.turns.to_string()),
            cell(Tone::Dim, format!("{:.1}", share.expected)),
            cell(Tone::Plain, count(share.tokens)),
        ]);
    }
    right(&mut table, &[2, 3, 4]);
    apart(&mut table);
    trimmed(&table)
}

/// A bar in eighths of a character; `most` fills the room.
pub(crate) fn bar(n: u64, most: u64, room: usize) -> String {
    let eighths = u128::from(n) * 8 * room as u128 / u128::from(most.max(1));
    let (full, part) = (usize::try_from(eighths / 8).unwrap_or(room), (eighths % 8) as usize);
    let mut bar = "█".repeat(full.min(room));
    bar.extend(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(part).copied());
    bar
}

/// The first characters of a text, with a mark where it was cut.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Sets columns apart by two blanks, with none before the first.
pub(crate) fn apart(table: &mut comfy_table::Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
}

/// Aligns columns of numbers.
pub fn right(table: &mut comfy_table::Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(label: &str, turns: u64, expected: f64) -> ShareReport {
        let (upstream, key, label) = ("kimi".into(), "k-00000000".into(), label.into());
        ShareReport { upstream, key, label, turns, expected, tokens: turns * 1_234 }
    }

    #[test]
    fn shares_are_bars() {
        let all =
            [share("work", 40, 40.0), share("home\u{1b}[31m", 37, 40.0), share("new", 0, 0.0)];
        insta::assert_snapshot!(shares(&all, 80, Paint::default()), @r#"
        key             share                           turns  expected  tokens
        work            ██████████████████████████████     40      40.0     49k
        home\u{1b}[31m  ███████████████████████████▊       37      40.0     45k
        new                                                 0       0.0       0
        "#);
        assert_eq!(shares(&[], 80, Paint::default()), "no turns yet");
    }

    #[test]
    fn bars_stay_in_their_room() {
        assert_eq!(bar(u64::MAX, u64::MAX, 3), "███");
        assert_eq!([bar(0, 0, 3), bar(1, 2, 3), bar(1, 24, 3)], ["", "█▌", "▏"]);
        let narrow = shares(&[share("a-very-long-label-indeed", 1, 1.0)], 40, Paint::default());
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    }
}
