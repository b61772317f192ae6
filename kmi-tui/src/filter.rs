//! Which lines the live trace shows.

use kmi_core::trace::Attempt;

use crate::{
    key_words::KeyNames,
    row::{Row, Tells},
};

/// A filter as people type it: words that must all occur, some of them with the name of a field
/// in front, as `key:work outcome:quota k2`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<(Field, String)>,
}

/// Where a word is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Label or id of the key; the whole of it.
    Key,
    /// The model.
    Model,
    /// The outcome, or the start of it.
    Outcome,
    /// The session.
    Session,
    /// Anything that is shown.
    Text,
}

impl Field {
    const NAMED: [(&str, Self); 4] = [
        ("key", Self::Key),
        ("model", Self::Model),
        ("outcome", Self::Outcome),
        ("session", Self::Session),
    ];

    fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(_, field)| *field == self).map(|(name, _)| *name)
    }
}

impl Filter {
    /// Reads what was typed. Never fails: what is no field is text.
    pub fn parse(typed: &str) -> Self {
        let terms = typed.split_whitespace().map(|word| {
            let named = word.split_once(':').and_then(|(name, value)| {
                let (_, field) = Field::NAMED.iter().find(|(it, _)| *it == name)?;
                Some((*field, value))
            });
            let (field, value) = named.unwrap_or((Field::Text, word));
            (field, value.to_lowercase())
        });
        Self { terms: terms.filter(|(_, value)| !value.is_empty()).collect() }
    }

    /// As it would be typed.
    pub fn typed(&self) -> String {
        let terms = self.terms.iter().map(|(field, value)| match field.name() {
            Some(name) => format!("{name}:{value}"),
            None => value.clone(),
        });
        terms.collect::<Vec<_>>().join(" ")
    }

    /// Asks for one value of a field; asking for the same once more takes it back.
    pub fn toggle(&mut self, field: Field, value: &str) {
        let value = value.to_lowercase();
        let there = self.terms.iter().any(|term| *term == (field, value.clone()));
        self.terms.retain(|(it, _)| *it != field);
        // A blank would end the word when it is typed again.
        if !there && !value.is_empty() && !value.contains(char::is_whitespace) {
            self.terms.push((field, value));
        }
    }

    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether a line is shown.
    pub(crate) fn wants(&self, row: &Row, names: &KeyNames) -> bool {
        self.terms.iter().all(|(field, value)| match &row.tells {
            Tells::Attempt(attempt) => holds(attempt, *field, value),
            Tells::Event(event) => *field == Field::Text && within(&event.words(names), value),
        })
    }
}

fn holds(attempt: &Attempt, field: Field, value: &str) -> bool {
    let model = attempt.model.as_deref().unwrap_or_default();
    let session = attempt.session_id.as_deref().unwrap_or_default();
    match field {
        Field::Key => {
            attempt.label.to_lowercase() == value || attempt.key.eq_ignore_ascii_case(value)
        }
        Field::Model => within(model, value),
        Field::Outcome => attempt.outcome.as_str().starts_with(value),
        Field::Session => within(session, value),
        Field::Text => {
            let error = attempt.error.as_deref().unwrap_or_default();
            let status = attempt.status.map(|status| status.to_string()).unwrap_or_default();
            let turn = attempt.turn.map(|turn| turn.to_string()).unwrap_or_default();
            let words = [model, session, error, &attempt.label, &attempt.path, &attempt.request_id];
            words.iter().any(|word| within(word, value))
                || within(attempt.outcome.as_str(), value)
                || status == value
                || turn == value
        }
    }
}

/// Whether a lower-case word occurs in a text, whatever its case there.
fn within(text: &str, value: &str) -> bool {
    if text.is_ascii() && value.is_ascii() {
        let (text, value) = (text.as_bytes(), value.as_bytes());
        return text.windows(value.len()).any(|part| part.eq_ignore_ascii_case(value));
    }
    text.to_lowercase().contains(value)
}

#[cfg(test)]
mod tests {
    use kmi_core::outcome::Outcome;

    use super::*;
    use crate::samples::{attempt, row};

    #[test]
    fn every_word_must_hold() {
        let row = row(1, attempt(17, "Work", Outcome::RateLimited));
        let wants = |typed: &str| Filter::parse(typed).wants(&row, &KeyNames::default());
        assert!(wants("") && wants("key:work") && wants("KIMI-for") && wants("17"));
        assert!(wants("key:work outcome:rate model:coding session:s-1"));
        assert!(!wants("key:wor"), "a key is named in full");
        assert!(!wants("key:work outcome:ok"));
        assert!(wants("key: "), "a field without a value asks for nothing");
        assert!(!wants("what:ever"));
        assert!(!wants("ünknown"));
    }

    #[test]
    fn values_are_toggled() {
        let mut filter = Filter::parse("hello key:other");
        filter.toggle(Field::Key, "Work");
        assert_eq!(filter.typed(), "hello key:work");
        assert_eq!(Filter::parse(&filter.typed()), filter);
        filter.toggle(Field::Key, "work");
        assert_eq!(filter.typed(), "hello");
    }
}
