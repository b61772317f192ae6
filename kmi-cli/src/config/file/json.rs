//! JSON as written, with the place of every value. A key that stands twice is an error, as in TOML.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Entry, Node, Scalar, SyntaxError};

/// No setting is deeper (`upstream.NAME.field`), and what is below is not looked into: it is read once
/// more for each level, and a file can have more levels than the stack.
const DEPTH: usize = 3;

/// All that could be read, and everything that could not.
pub(super) fn parse(text: &str) -> (Vec<Entry>, Vec<SyntaxError>) {
    let mut errors = Vec::new();
    let entries = match serde_json::from_str::<Object<'_>>(text) {
        Ok(object) => entries(text, object, 1, &mut errors),
        Err(error) => {
            errors.push(SyntaxError { message: message(&error), at: offset(text, &error) });
            Vec::new()
        }
    };
    (entries, errors)
}

/// An object whose values are not looked into yet, in the order of the text.
struct Object<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The entries of an object that is this deep; those of the file are 1 deep.
fn entries(
    text: &str,
    object: Object<'_>,
    depth: usize,
    errors: &mut Vec<SyntaxError>,
) -> Vec<Entry> {
    let (mut entries, mut names) = (Vec::new(), HashSet::new());
    for (key, raw) in object.0 {
        // A raw value is a part of the text it was read from.
        let at = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        if !names.insert(key.clone()) {
            errors.push(SyntaxError { message: format!("duplicate key `{key}`"), at });
            continue;
        }
        match node(text, raw, depth, errors) {
            Ok(value) => entries.push(Entry { key, value, at }),
            Err(error) => errors.push(SyntaxError { message: message(&error), at }),
        }
    }
    entries
}

fn node(
    text: &str,
    raw: &RawValue,
    depth: usize,
    errors: &mut Vec<SyntaxError>,
) -> Result<Node, serde_json::Error> {
    let source = raw.get();
    if source.starts_with('{') && depth == DEPTH {
        return Ok(Node::Table(Vec::new()));
    }
    if source.starts_with('{') {
        let object = serde_json::from_str(source)?;
        return Ok(Node::Table(entries(text, object, depth + 1, errors)));
    }
    Ok(Node::Value(match serde_json::from_str(source)? {
        serde_json::Value::Bool(b) => Scalar::Bool(b),
        serde_json::Value::String(text) => Scalar::Text(text),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => Scalar::Integer(n),
            (None, Some(n)) => Scalar::Float(n),
            (None, None) => Scalar::Other("a number"),
        },
        serde_json::Value::Array(_) => Scalar::Other("an array"),
        serde_json::Value::Null => Scalar::Other("null"),
        serde_json::Value::Object(_) => Scalar::Other("an object"),
    }))
}

/// The message without its own idea of the place, which is told by file and line.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn offset(text: &str, error: &serde_json::Error) -> usize {
    text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum()
}
