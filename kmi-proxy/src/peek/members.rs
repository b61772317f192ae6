//! The members of a JSON object one after the other, its values passed over at the speed of memory.
//!
//! Strings and brackets are followed and nothing else: what stands between them is not looked at,
//! so a value that is no JSON is only noticed by who reads it.

use std::borrow::Cow;

use memchr::memchr2;

/// The members of an object, up to the first that is not whole.
#[derive(Debug)]
pub(super) struct Members<'a> {
    rest: &'a [u8],
    /// What stands before the next member.
    before: u8,
}

impl<'a> Members<'a> {
    /// Those of the object that `json` is; none of anything else.
    pub(super) fn of(json: &'a [u8]) -> Self {
        Self { rest: json, before: b'{' }
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.trim_ascii_start().strip_prefix(&[byte])?;
        Some(())
    }

    /// Takes a whole value, as it stands.
    fn value(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.trim_ascii_start();
        let (value, rest) = rest.split_at(length(rest)?);
        self.rest = rest;
        Some(value)
    }
}

impl<'a> Iterator for Members<'a> {
    /// A name, and a value as it stands.
    type Item = (Cow<'a, str>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip(self.before)?;
        self.before = b',';
        let name = name(self.value()?)?;
        self.skip(b':')?;
        Some((name, self.value()?))
    }
}

/// A member's name, without quotation marks and escapes.
fn name(text: &[u8]) -> Option<Cow<'_, str>> {
    let plain = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if plain.contains(&b'\\') {
        return serde_json::from_slice(text).ok().map(Cow::Owned);
    }
    std::str::from_utf8(plain).ok().map(Cow::Borrowed)
}

/// The length of the value at the front; `None` where its end is not there.
fn length(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => string(bytes),
        b'{' | b'[' => nested(bytes),
        _ => bytes.iter().position(|b| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace()),
    }
}

/// The length of the string at the front, both quotation marks included.
fn string(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The length of the object or array at the front.
fn nested(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string(&bytes[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn read(json: &str) -> Vec<(String, String)> {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        Members::of(json.as_bytes()).map(|(name, value)| (name.into(), text(value))).collect()
    }

    #[test]
    fn members_are_read_up_to_the_first_that_is_not_whole() {
        for (json, expected) in [
            (r#" { "a" : 1 , "b":[{"c":"]}"},2] } "#, vec![("a", "1"), ("b", r#"[{"c":"]}"},2]"#)]),
            (r#"{"\u0061\"":"\\\"","b":null}"#, vec![("a\"", r#""\\\"""#), ("b", "null")]),
            (r#"{"a":{"b":1}x,"c":2}"#, vec![("a", r#"{"b":1}"#)]),
            (r#"{"a":tru,"b":1}"#, vec![("a", "tru"), ("b", "1")]),
            (r#"{"a":1,}"#, vec![("a", "1")]),
            (r#"{"a":1,2:3}"#, vec![("a", "1")]),
            (r#"{"a":"b\"#, vec![]),
            (r#"{"a":[1,"]"#, vec![]),
            (r#"{"a":tru"#, vec![]),
            (r#"{"a","b"}"#, vec![]),
            (r#"{"a":}"#, vec![("a", "")]),
            ("{}", vec![]),
            ("[1]", vec![]),
            ("", vec![]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            assert_eq!(read(json), expected, "{json}");
        }
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(json!(-1.5e-7)),
            any::<String>().prop_map(Value::from),
            "[\"\\\\{}\\[\\],: a]{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| Value::from(Map::from_iter(members))),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_json_is_read_as_serde_reads_it(
            members in proptest::collection::vec((any::<String>(), anything()), 0..6),
            pretty: bool,
        ) {
            let whole = Value::from(Map::from_iter(members));
            let json = if pretty { format!("{whole:#}") } else { whole.to_string() };
            let read = Members::of(json.as_bytes())
                .map(|(name, value)| (name.into_owned(), serde_json::from_slice(value).unwrap()));
            prop_assert_eq!(Value::from(read.collect::<Map<_, _>>()), whole);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut object = b"{\"a\":".to_vec();
            object.extend_from_slice(&bytes);
            let _ = Members::of(&object).count();
        }
    }
}
