//! The one filter that every foreign string passes before it is stored or shown.
//!
//! Provider messages, model names, paths and labels may carry terminal escapes, bidirectional
//! overrides or invisible characters. They are made visible here, once, so that they are inert in
//! a terminal, a JSON line, a page and a spreadsheet alike.

use std::{borrow::Cow, fmt::Write as _};

/// Longest foreign string that is shown or stored, in characters; what is cut is marked by `…`.
pub const MAX_CHARS: usize = 256;

/// Makes control, C1, bidirectional and invisible characters visible as `\u{..}` and cuts the
/// text after [`MAX_CHARS`] characters.
///
/// ```
/// assert_eq!(kmi_core::display::visible("plain ümlaut"), "plain ümlaut");
/// assert_eq!(kmi_core::display::visible("\u{1b}[31mred"), "\\u{1b}[31mred");
/// assert_eq!(kmi_core::display::visible("a\u{202e}b\u{9b}"), "a\\u{202e}b\\u{9b}");
/// ```
pub fn visible(text: &str) -> Cow<'_, str> {
    // Nearly all texts are short and plain.
    if text.len() <= MAX_CHARS && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Cow::Borrowed(text);
    }
    // Bytes are counted first: no text of so few bytes can have too many characters.
    let short = text.len() <= MAX_CHARS || text.chars().count() <= MAX_CHARS;
    if short && !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().min(4 * MAX_CHARS) + 16);
    for (n, c) in text.chars().enumerate() {
        if n == MAX_CHARS {
            out.push('…');
            break;
        }
        if is_unsafe(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// As [`visible`], for bytes that may not be UTF-8 (header values, raw paths).
pub fn visible_bytes(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => visible(text),
        Cow::Owned(text) => Cow::Owned(visible(&text).into_owned()),
    }
}

/// Whether a character could act on the place it is shown in instead of being seen there.
pub fn is_unsafe(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'      // C0, DEL, C1
        | '\u{ad}' | '\u{61c}' | '\u{180e}'           // soft hyphen, Arabic mark, Mongolian separator
        | '\u{200b}'..='\u{200f}'                     // zero width, direction marks
        | '\u{2028}'..='\u{202e}'                     // line and paragraph separators, embeddings
        | '\u{2060}'..='\u{206f}'                     // joiners, isolates, deprecated controls
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'        // BOM, interlinear annotation
        | '\u{e0000}'..='\u{e007f}') // tags
}

/// A text as a cell of a CSV table (RFC 4180) that does nothing in a spreadsheet: one that would be
/// taken for a formula gets a `'` before it.
pub fn csv_cell(text: &str) -> Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !is_formula && !text.contains(['"', ',', '\r', '\n']) {
        return Cow::Borrowed(text);
    }
    let inert = if is_formula { "'" } else { "" };
    Cow::Owned(format!("\"{inert}{}\"", text.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_text_is_borrowed() {
        assert!(matches!(visible("kimi-for-coding"), Cow::Borrowed(_)));
        assert!(matches!(visible(""), Cow::Borrowed(_)));
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let long = "ä".repeat(MAX_CHARS + 1);
        let shown = visible(&long);
        assert_eq!(shown.chars().count(), MAX_CHARS + 1);
        assert!(shown.ends_with('…'));
        assert_eq!(visible(&"ä".repeat(MAX_CHARS)), "ä".repeat(MAX_CHARS));
    }

    #[test]
    fn no_unsafe_character_survives() {
        let all: String = ('\u{0}'..=char::MAX).filter(|c| is_unsafe(*c)).collect();
        for c in all.chars() {
            assert!(!visible(&c.to_string()).chars().any(is_unsafe), "{:x}", u32::from(c));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(visible_bytes(b"a\xff\x1b"), "a\u{fffd}\\u{1b}");
    }

    #[test]
    fn cells_are_inert_and_quoted() {
        assert_eq!(csv_cell("kimi-for-coding"), "kimi-for-coding");
        assert_eq!(csv_cell("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        for start in ["=", "+", "-", "@", "\t", "\r"] {
            assert_eq!(csv_cell(&format!("{start}cmd")), format!("\"'{start}cmd\""));
        }
        assert_eq!(csv_cell("=HYPERLINK(\"x\",\"y\")"), "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"");
    }
}
