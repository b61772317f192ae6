//! `NAME.json`: one key as an object.

use std::{borrow::Cow, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::super::{
    fields::{Field, Value, Vocabulary, Written, identify},
    problem::Fault,
    read::line_at,
};

pub(super) fn parse(text: &str) -> Result<Vec<Field>, Vec<Fault>> {
    let written = read(text).map_err(|error| vec![fault(&error)])?;
    identify(written, Vocabulary::Table)
}

fn read(text: &str) -> Result<Vec<Written>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let members = json.deserialize_any(Object { text })?;
    json.end()?;
    Ok(members)
}

fn fault(error: &serde_json::Error) -> Fault {
    let line = u32::try_from(error.line()).ok().filter(|line| *line > 0);
    if error.classify() == Category::Data {
        let hint = "write {\"api_key\": \"…\"}";
        return Fault::refused("the file must hold one JSON object", hint).on(line);
    }
    // Syntax errors of serde_json say what was expected and quote nothing; the place is cut off
    // because it is shown in front.
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or_default();
    Fault::refused(
        format!("not valid JSON: {message}"),
        "correct the line; no comma follows the last field",
    )
    .on(line)
}

/// Collects an object's members without a map, so that a repeated name is noticed.
struct Object<'t> {
    text: &'t str,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Vec<Written>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key_seed(MemberName)? {
            let line = match &name {
                Cow::Borrowed(name) => line_within(self.text, name),
                Cow::Owned(_) => None,
            };
            let value = map.next_value_seed(MemberValue)?;
            members.push(Written { name: name.into_owned(), line, value });
        }
        Ok(members)
    }
}

/// The line of a name that was borrowed from the text (one with escapes is not).
fn line_within(text: &str, name: &str) -> Option<u32> {
    let offset = name.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    Some(line_at(text.as_bytes(), offset))
}

struct MemberName;

impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Takes any value; what no field can use becomes [`Value::Other`] instead of an error, because
/// the field's own check can say better what is wrong.
struct MemberValue;

impl<'de> DeserializeSeed<'de> for MemberValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MemberValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Boolean(truth))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Integer(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(i64::try_from(n).map_or(Value::Other, Value::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut texts = Some(Vec::new());
        while let Some(item) = seq.next_element_seed(Self)? {
            match (item, &mut texts) {
                (Value::Text(text), Some(texts)) => texts.push(text),
                _ => texts = None,
            }
        }
        Ok(texts.map_or(Value::Other, Value::List))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}
