//! What an error body says: JSON of several makes, plain text, or a gateway's page.
//!
//! Only bodies of error statuses are ever read here, so a prompt that speaks of plans and limits
//! cannot pass for a refusal.

use kmi_core::display::visible;
use serde_json::Value;

/// How much of an error body is read, in bytes; a longer one is no error message.
pub const MAX_BODY: usize = 64 * 1024;

/// What an error body says about itself; empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KimiError {
    /// `error.type`.
    pub kind: String,
    /// `error.code`; a number is written out.
    pub code: String,
    /// The sentence for a person.
    pub message: String,
}

impl KimiError {
    /// Reads a body; nothing in it can fail.
    ///
    /// What is no UTF-8 (a compressed body above all), and JSON that is cut off or broken, says
    /// nothing: the status alone has to do.
    pub fn parse(body: &[u8]) -> Self {
        let text = text(&body[..body.len().min(MAX_BODY)]).trim();
        if text.starts_with(['{', '[']) {
            return serde_json::from_str(text).map(|json| Self::of_json(&json)).unwrap_or_default();
        }
        Self { message: title(text).unwrap_or(text).trim().to_owned(), ..Self::default() }
    }

    fn of_json(json: &Value) -> Self {
        // FastAPI and gRPC gateways say it at the top level, Kimi's auxiliary calls in a list.
        let error = match (&json["error"], &json["errors"][0]) {
            (Value::Null, Value::Null) => json,
            (Value::Null, first) => first,
            (error, _) => error,
        };
        if let Some(message) = error.as_str() {
            let fallback = word(&json["error_description"]);
            let message = if fallback.is_empty() { message.to_owned() } else { fallback };
            return Self { message, ..Self::default() };
        }
        let message = ["message", "error_description", "detail", "msg"]
            .into_iter()
            .map(|name| word(&error[name]))
            .find(|text| !text.is_empty());
        Self {
            kind: word(&error["type"]),
            code: word(&error["code"]),
            message: message.unwrap_or_default(),
        }
    }

    /// Whether the type or the code is this word; providers put the same words in either.
    pub fn is(&self, word: &str) -> bool {
        self.kind.eq_ignore_ascii_case(word) || self.code.eq_ignore_ascii_case(word)
    }

    /// The error in one line that may be shown and stored: inert, cut, and with the provider's
    /// ids of accounts and keys shortened. `None` when the body says nothing.
    pub fn shown(&self) -> Option<String> {
        shown(&[&self.message, &self.kind, &self.code])
    }

    /// As [`Self::shown`], but without the sentence: only the type or the code.
    pub fn named(&self) -> Option<String> {
        shown(&[&self.kind, &self.code])
    }
}

/// The first that says something, fit to be shown and stored.
fn shown(words: &[&String]) -> Option<String> {
    let said = words.iter().find(|it| !it.is_empty())?;
    Some(visible(&shorten_ids(said)).into_owned())
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The text of a body; a character that the size limit cuts in two is left out.
fn text(body: &[u8]) -> &str {
    match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(cut) if cut.error_len().is_none() => {
            std::str::from_utf8(&body[..cut.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => "",
    }
}

/// The title of an HTML page, which is what Kimi's own clients show; an empty one for a page
/// without.
fn title(text: &str) -> Option<&str> {
    if !text.starts_with('<') {
        return None;
    }
    // ASCII lower case keeps every byte in its place.
    let lower = text.to_ascii_lowercase();
    let inside = lower.find("<title").and_then(|at| {
        let start = at + lower[at..].find('>')? + 1;
        Some(&text[start..start + lower[start..].find("</title")?])
    });
    Some(inside.unwrap_or_default())
}

/// Leaves six characters of every word that looks like an account, project or key id.
fn shorten_ids(text: &str) -> String {
    const PREFIXES: [&str; 6] = ["sk-", "ak-", "org-", "proj-", "user-", "uid-"];
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*');
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_part(c)) {
        let word = piece.trim_end_matches(|c| !is_part(c));
        if word.len() > 10 && PREFIXES.iter().any(|prefix| word.starts_with(prefix)) {
            out.push_str(&word[..6]);
            out.push('…');
            out.push_str(&piece[word.len()..]);
        } else {
            out.push_str(piece);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(kind: &str, code: &str, message: &str) -> KimiError {
        KimiError { kind: kind.into(), code: code.into(), message: message.into() }
    }

    #[test]
    fn every_make_of_json_is_read() {
        for (body, expected) in [
            (r#"{"error":{"message":"m","type":"t","code":"c"}}"#, error("t", "c", "m")),
            (r#"{"error":{"message":"m","type":"t","code":401}}"#, error("t", "401", "m")),
            (r#"{"type":"error","error":{"type":"t","message":"m"}}"#, error("t", "", "m")),
            (r#"{"error":"invalid_grant","error_description":"m"}"#, error("", "", "m")),
            (r#"{"error":"m"}"#, error("", "", "m")),
            (r#"{"code":5,"message":"m","details":[]}"#, error("", "5", "m")),
            (r#"{"detail":"m"}"#, error("", "", "m")),
            (r#"{"errors":[{"message":"m"}]}"#, error("", "", "m")),
            (r#"{"error":{"message":["m"],"type":{},"code":null}}"#, error("", "", "")),
            ("{}", error("", "", "")),
            ("[1]", error("", "", "")),
        ] {
            assert_eq!(KimiError::parse(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn text_is_its_own_message_and_a_page_is_its_title() {
        assert_eq!(KimiError::parse(b" upstream timed out\n").message, "upstream timed out");
        let page = "<html><HEAD><Title>502 Bad Gateway</title></head><body>plan quota</body>";
        assert_eq!(KimiError::parse(page.as_bytes()).message, "502 Bad Gateway");
        assert_eq!(KimiError::parse(b"<html><body>plan quota").message, "");
    }

    #[test]
    fn bodies_that_say_nothing_are_empty() {
        for body in [&b""[..], b"\x1f\x8b\x08\x00binary", b"{\"error\":{\"mess", b"\xff\xfe"] {
            assert_eq!(KimiError::parse(body), KimiError::default());
        }
        let huge = format!("{{\"error\":{{\"message\":\"{}\"}}}}", "a".repeat(1 << 20));
        assert_eq!(KimiError::parse(huge.as_bytes()), KimiError::default());
        let cut = "ä".repeat(MAX_BODY);
        assert_eq!(KimiError::parse(cut.as_bytes()).message.len(), MAX_BODY);
    }

    #[test]
    fn what_is_shown_is_inert_and_names_no_account() {
        let said =
            error("", "", "account org-1234567890<ak-abcdefghijk> \u{1b}[31m key sk-****wxyz1");
        assert_eq!(said.shown().unwrap(), "account org-12…<ak-abc…> \\u{1b}[31m key sk-***…");
        assert_eq!(error("t", "", "").shown().as_deref(), Some("t"));
        assert_eq!(error("", "c", "a quotation").named().as_deref(), Some("c"));
        assert_eq!(error("", "", "a quotation").named(), None);
        assert_eq!(KimiError::default().shown(), None);
        assert_eq!(shorten_ids("ask-me-anything-now, sk-x, ü"), "ask-me-anything-now, sk-x, ü");
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300), html in "<(title|TITLE|>|\\PC){0,9}") {
            let _ = KimiError::parse(&body).shown();
            let _ = KimiError::parse(html.as_bytes()).shown();
        }
    }
}
