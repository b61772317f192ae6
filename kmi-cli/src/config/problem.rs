//! What is wrong with a configuration: what, where, and what to do.

use std::{borrow::Cow, fmt};

use kmi_core::display::visible;

/// Words that begin with `sk-` and go on for this long are written like a key of Kimi's.
const KEY_LENGTH: usize = 16;

/// The text without the words in it that are written like a key; as it is, where there are none.
///
/// A key that stands where it does not belong, as a name or a line of its own, must not get into
/// logs and screenshots, and it is not known to anybody as a key.
pub(crate) fn without_keys(text: &str) -> Cow<'_, str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_key = |word: &str| word.strip_prefix("sk-").is_some_and(|rest| rest.len() >= KEY_LENGTH);
    // A piece is a word and the character that ends it.
    let pieces = || {
        text.split_inclusive(|c| !is_part(c))
            .map(|piece| piece.split_at(piece.trim_end_matches(|c| !is_part(c)).len()))
    };
    if !pieces().any(|(word, _)| is_key(word)) {
        return Cow::Borrowed(text);
    }
    pieces().flat_map(|(word, end)| [if is_key(word) { "sk-…" } else { word }, end]).collect()
}

fn shown(text: &str) -> String {
    visible(&without_keys(text)).into_owned()
}

/// One thing that is wrong or odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it stands: file and line, variable, or option.
    place: Option<String>,
    message: String,
    hint: String,
}

impl Problem {
    /// Says what is wrong, in one line; foreign text in it is made visible, keys are cut.
    pub(crate) fn new(message: impl AsRef<str>) -> Self {
        Self {
            place: None,
            message: shown(message.as_ref()),
            hint: "kmi.config.toml.example describes every key".to_owned(),
        }
    }

    /// Says where it stands.
    pub(crate) fn at(mut self, place: &impl fmt::Display) -> Self {
        self.place = Some(shown(&place.to_string()));
        self
    }

    /// Says what to do, in one line.
    pub(crate) fn hint(mut self, hint: impl AsRef<str>) -> Self {
        self.hint = shown(hint.as_ref());
        self
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// A configuration that cannot be used; never without a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// Everything that is wrong, in the order it was found.
    pub(crate) problems: Vec<Problem>,
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_like_a_key_is_cut() {
        let key = "sk-kimi_0123456789-ab";
        for (text, told) in [
            (format!("unknown key `{key}`"), "unknown key `sk-…`"),
            (key.to_owned(), "sk-…"),
            (format!("{key}.{key} sk-short ü"), "sk-….sk-… sk-short ü"),
        ] {
            assert_eq!(without_keys(&text), told);
        }
        for text in ["", "sk-…0001", "sk-short", "disk-usage-of-the-whole-machine", "sk-"] {
            assert!(matches!(without_keys(text), Cow::Borrowed(it) if it == text), "{text}");
        }
    }

    #[test]
    fn no_part_of_a_problem_repeats_a_key() {
        let key = "sk-abcdefghij0123456";
        let problem = Problem::new(key).at(&key).hint(key);
        assert_eq!(format!("{problem} {}", problem.remedy()), "sk-…: sk-… sk-…");
    }
}
