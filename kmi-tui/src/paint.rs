//! Colours, where they are wanted.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something is wrong.
    Bad,
    /// Less important.
    Dim,
    /// All is well.
    Good,
    /// Nothing in particular.
    Plain,
    /// A heading.
    Strong,
    /// Something is off.
    Warn,
}

/// Whether text is coloured; by default it is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Paint {
    /// Whether ANSI colours are written.
    pub colors: bool,
}

impl Paint {
    /// The text in the colour of its tone.
    pub fn text(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Strong => "1",
            Tone::Warn => "33",
            Tone::Plain => return text.to_owned(),
        };
        if self.colors { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A table without lines that is at most `width` characters wide.
    pub fn table(self, width: u16) -> Table {
        let mut table = Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_truncation_indicator("…")
            .set_width(width);
        if self.colors {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }
}

/// A table's cell in the colour of its tone.
pub fn cell(tone: Tone, text: impl Into<String>) -> Cell {
    let cell = Cell::new_owned(text.into());
    match tone {
        Tone::Bad => cell.fg(Color::Red),
        Tone::Dim => cell.add_attribute(Attribute::Dim),
        Tone::Good => cell.fg(Color::Green),
        Tone::Plain => cell,
        Tone::Strong => cell.add_attribute(Attribute::Bold),
        Tone::Warn => cell.fg(Color::Yellow),
    }
}

/// A table's text without blanks at line ends.
pub fn trimmed(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Breaks text between words so that no line is longer than `width` characters; what follows the
/// first line is indented. A word that is longer stands alone.
pub fn wrap(text: &str, width: u16, indent: &str) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let long = word.chars().count();
        if used > 0 && used + 1 + long > usize::from(width) {
            out.push('\n');
            out.push_str(indent);
            used = indent.chars().count();
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += long;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_colours_unless_they_are_wanted() {
        assert_eq!(Paint::default().text(Tone::Bad, "x"), "x");
        assert_eq!(Paint { colors: true }.text(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Paint { colors: true }.text(Tone::Plain, "x"), "x");
    }

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("one two three", 8, "  "), "one two\n  three");
        assert_eq!(wrap("incomprehensible", 8, ""), "incomprehensible");
        assert_eq!(wrap("", 8, ""), "");
    }
}
