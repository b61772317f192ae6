//! The one filter that every foreign string passes before it is stored or shown.
//!
//! Provider messages, model names, paths and labels may carry terminal escapes, bidirectional
//! overrides or invisible characters. They are made visible here, once, so that they are inert in
//! a terminal, a JSON line, a page and a spreadsheet alike.

use std::{borrow::Cow, fmt::Write as _};

/// Longest foreign string that is shown or stored, in characters; what is cut is marked by `…`.
pub const MAX_CHARS: usize = 256;

/// How keys of providers begin.
const KEY_PREFIX: &str = "sk-";
/// What begins so but is shorter, in bytes, may be a name.
const SHORTEST_KEY: usize = KEY_PREFIX.len() + 16;

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

/// Masks every word that looks like a provider's key, as [`ApiKey::masked`] does: one that begins
/// with `sk-` and has 16 characters or more after it. For texts that may repeat what a user wrote in the
/// wrong place.
///
/// ```
/// let typed = "unknown key `sk-kimi-0123456789abcdef`";
/// assert_eq!(kmi_core::display::without_keys(typed), "unknown key `sk-…cdef`");
/// assert_eq!(kmi_core::display::without_keys("sk-team"), "sk-team");
/// ```
///
/// [`ApiKey::masked`]: crate::key::ApiKey::masked
pub fn without_keys(text: &str) -> Cow<'_, str> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let (mut out, mut copied, mut from) = (String::new(), 0, 0);
    while let Some(at) = text[from..].find(KEY_PREFIX).map(|at| from + at) {
        let end = text[at..].find(|c| !in_word(c)).map_or(text.len(), |length| at + length);
        from = at + KEY_PREFIX.len();
        // As in `task-…`.
        let inside = text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        if !inside && end - at >= SHORTEST_KEY {
            out.push_str(&text[copied..from]);
            out.push('…');
            (copied, from) = (end - 4, end);
        }
    }
    if out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
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
    fn what_looks_like_a_key_is_masked() {
        let key = "sk-kimi-Zq7Wv3Kx9Rt2Mb8Nc4Jd6H_1";
        for (text, shown) in [
            (key.to_owned(), "sk-…6H_1"),
            ("sk-abcdefghij0123456".to_owned(), "sk-…3456"),
            (format!("{key}, ü{key}"), "sk-…6H_1, üsk-…6H_1"),
            (format!("KMI_API_KEY_{key}=1"), "KMI_API_KEY_sk-…6H_1=1"),
            (format!("task-{key}!"), "task-sk-…6H_1!"),
        ] {
            assert_eq!(without_keys(&text), shown);
        }
        for text in [
            "",
            "sk-",
            "sk-short",
            "sk-…6H_1",
            "sk-345678901234567ü9",
            "disk-usage-of-the-whole-machine",
        ] {
            assert!(matches!(without_keys(text), Cow::Borrowed(same) if same == text), "{text}");
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
