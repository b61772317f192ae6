//! What a request's body says about itself, read without building a tree: the model, whether a
//! stream is asked for, the session, and which uploaded files are named.
//!
//! A body that breaks off, or that stops being JSON, tells what stood before that. Of a field that
//! is given twice the last one counts, as in nearly every JSON reader behind the upstream; a value
//! of another type, or a longer one than is bearable, is as good as none.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use memchr::memmem;

/// Longest model name that is read, in bytes.
const MODEL_LIMIT: usize = 256;
/// Longest session id that is read, in bytes.
const SESSION_LIMIT: usize = 512;
/// Longest id of an uploaded file that is read, in bytes.
const FILE_LIMIT: usize = 128;
/// Most uploaded files that are listed.
const FILES_LIMIT: usize = 16;

/// What a body says about itself, in its own words: they are foreign strings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peek {
    /// `model`.
    pub model: Option<String>,
    /// `stream`.
    pub stream: Option<bool>,
    /// `prompt_cache_key`, else `metadata.user_id`, or the `session_id` in the JSON that the
    /// latter may hold.
    pub session: Option<String>,
    /// The ids behind `ms://`, each once, in order; 16 at most. Somebody who merely writes about
    /// such an id is not told apart.
    pub files: Vec<String>,
}

/// Reads what `body` says about itself; nothing from a body that is no JSON object.
pub(crate) fn peek(body: &[u8]) -> Peek {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Peek::default();
    }
    let mut fields = Fields::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    // An error ends the reading; what was found before it stays.
    let _ = BodySeed(&mut fields).deserialize(&mut json);
    Peek {
        model: fields.model,
        stream: fields.stream,
        session: fields.prompt_cache_key.or(fields.user_id.map(session_in)),
        files: files(body),
    }
}

/// Claude Code's `user_id` is a JSON object with a `session_id`; elsewhere it is the session.
fn session_in(user_id: String) -> String {
    #[derive(Deserialize)]
    struct User {
        session_id: String,
    }
    if !user_id.starts_with('{') {
        return user_id;
    }
    match serde_json::from_str::<User>(&user_id) {
        Ok(user) if !user.session_id.is_empty() => user.session_id,
        _ => user_id,
    }
}

fn files(body: &[u8]) -> Vec<String> {
    const SCHEME: &[u8; 3] = b"ms:";
    let mut ids = Vec::new();
    let mut rest = body;
    while let Some(at) = memmem::find(rest, SCHEME) {
        rest = &rest[at + SCHEME.len()..];
        // JSON may write a slash with a backslash before it.
        let Some(id) = rest.strip_prefix(b"//").or_else(|| rest.strip_prefix(br"\/\/")) else {
            continue;
        };
        let end = id.iter().position(|b| !(b.is_ascii_alphanumeric() || b"-_.".contains(b)));
        let id = &id[..end.unwrap_or(id.len())];
        let Ok(id) = std::str::from_utf8(id) else { continue };
        if (1..=FILE_LIMIT).contains(&id.len()) && !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
            if ids.len() == FILES_LIMIT {
                break;
            }
        }
    }
    ids
}

#[derive(Debug, Default)]
struct Fields {
    model: Option<String>,
    stream: Option<bool>,
    prompt_cache_key: Option<String>,
    user_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Metadata,
    Model,
    PromptCacheKey,
    Stream,
    #[serde(other)]
    Other,
}

/// Fills the fields as they come, so that a body that breaks off has told what it could.
struct BodySeed<'a>(&'a mut Fields);

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request body")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key()? {
            match field {
                Field::Metadata => map.next_value_seed(MetadataSeed(&mut self.0.user_id))?,
                Field::Model => self.0.model = map.next_value_seed(Text(MODEL_LIMIT))?,
                Field::PromptCacheKey => {
                    self.0.prompt_cache_key = map.next_value_seed(Text(SESSION_LIMIT))?;
                }
                Field::Stream => self.0.stream = map.next_value_seed(Flag)?,
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a value of any type and makes `None` of those that the visitor does not look for.
macro_rules! otherwise_none {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        })*

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

/// Passes an object over.
macro_rules! no_object {
    () => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    };
}

struct MetadataSeed<'a>(&'a mut Option<String>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum MetadataField {
    UserId,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for MetadataSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key()? {
            match field {
                MetadataField::UserId => *self.0 = map.next_value_seed(Text(SESSION_LIMIT))?,
                MetadataField::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    otherwise_none!(
        visit_bool: bool, visit_f64: f64, visit_i64: i64, visit_str: &str, visit_u64: u64);
}

/// A text of 1 to so many bytes.
struct Text(usize);

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<String>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<String>, E> {
        Ok((1..=self.0).contains(&text.len()).then(|| text.to_owned()))
    }

    otherwise_none!(visit_bool: bool, visit_f64: f64, visit_i64: i64, visit_u64: u64);
    no_object!();
}

struct Flag;

impl<'de> DeserializeSeed<'de> for Flag {
    type Value = Option<bool>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<bool>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flag {
    type Value = Option<bool>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Option<bool>, E> {
        Ok(Some(flag))
    }

    otherwise_none!(visit_f64: f64, visit_i64: i64, visit_str: &str, visit_u64: u64);
    no_object!();
}

#[cfg(test)]
mod tests;
