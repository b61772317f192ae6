//! Keys that an upstream echoes: replaced before the client, the trace or a log sees them.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use kmi_core::{inventory::Key, key::ApiKey};
use kmi_health::kimi_error::MAX_BODY;
use memchr::{memchr, memmem};

use crate::{body::Coding, pool::Pool};

/// An error's body after all keys in it have been replaced.
#[derive(Debug)]
pub(crate) struct Clean {
    /// What the client gets.
    pub(crate) body: Bytes,
    /// What it says in plain text, as far as that is known: at most [`MAX_BODY`] bytes.
    pub(crate) text: Bytes,
}

/// Replaces every loaded key, and the attempt's own (which may have been taken away meanwhile), in
/// an error's headers and body by its mask. The usual answer has none, and is passed as it is; a
/// compressed one that has is passed in plain text, and so is the beginning of one whose plain text
/// is longer than what is looked at. `complete` says whether `body` is all of it.
pub(crate) fn redact<'a>(
    headers: &mut HeaderMap,
    body: Bytes,
    complete: bool,
    own: &Key,
    pools: impl IntoIterator<Item = &'a Pool>,
) -> Clean {
    let coding = Coding::of(headers);
    let mut text = match coding {
        Some(Coding::Identity) => body.clone(),
        Some(coding) => coding.decoded(&body, MAX_BODY).into(),
        None => Bytes::new(),
    };
    let (mut found, mut plain) = (false, Unescaped::of(&text));
    let mut without = |key: &Key| {
        if let Some(clean) = masked(&text, &key.secret) {
            (plain, found) = (Unescaped::of(&clean), true);
            text = clean.into();
        }
        if let Some(clean) = plain.as_ref().and_then(|plain| plain.masked(&text, &key.secret)) {
            (plain, found) = (Unescaped::of(&clean), true);
            text = clean.into();
        }
        redact_headers(headers, &key.secret);
    };
    without(own);
    for pool in pools {
        pool.inventory().keys().iter().for_each(|key| without(key));
    }
    // The rest of a long compressed body can only go on as it began.
    let body = match coding {
        Some(Coding::Identity) => text.clone(),
        _ if complete && (found || text.len() >= MAX_BODY) => {
            headers.remove(header::CONTENT_ENCODING);
            text.clone()
        }
        _ => body,
    };
    text.truncate(MAX_BODY);
    Clean { body, text }
}

/// Replaces one key in headers by its mask; a header that is named after it goes. Costs nothing
/// where no name and no value is as long as a key.
pub(crate) fn redact_headers(headers: &mut HeaderMap, key: &ApiKey) {
    let secret = key.expose().as_bytes();
    // Names have lost their case.
    let tells = |name: &&HeaderName| {
        let mut parts = name.as_str().as_bytes().windows(secret.len());
        parts.any(|part| part.eq_ignore_ascii_case(secret))
    };
    let named: Vec<HeaderName> = headers.keys().filter(tells).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    for value in headers.values_mut() {
        if let Some(clean) = masked(value.as_bytes(), key) {
            *value = HeaderValue::from_bytes(&clean)
                .unwrap_or_else(|_| HeaderValue::from_static("redacted"));
        }
    }
}

/// Whether a text has one of a pool's keys in it.
pub(crate) fn has_key(text: &str, pool: &Pool) -> bool {
    let keys = pool.inventory();
    keys.keys()
        .iter()
        .any(|key| memmem::find(text.as_bytes(), key.secret.expose().as_bytes()).is_some())
}

/// A text with the escapes of JSON undone, as whoever reads it will: keys are ASCII, so others than
/// those of ASCII characters stay.
#[derive(Debug)]
struct Unescaped {
    bytes: Vec<u8>,
    /// Where each of the bytes begins in the text; one more for the text's end.
    places: Vec<usize>,
}

impl Unescaped {
    /// `None` where nothing is escaped.
    fn of(text: &[u8]) -> Option<Self> {
        memchr(b'\\', text)?;
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < text.len() {
            let (byte, length) = match &text[at..] {
                [b'\\', byte @ (b'"' | b'\\' | b'/'), ..] => (*byte, 2),
                [b'\\', b'u', code @ ..] => code_point(code).map_or((b'\\', 1), |byte| (byte, 6)),
                rest => (rest[0], 1),
            };
            bytes.push(byte);
            places.push(at);
            at += length;
        }
        places.push(text.len());
        Some(Self { bytes, places })
    }

    fn masked(&self, text: &[u8], key: &ApiKey) -> Option<Vec<u8>> {
        let secret = key.expose().as_bytes();
        let found = memmem::find_iter(&self.bytes, secret);
        let places = found.map(|at| self.places[at]..self.places[at + secret.len()]);
        replace(text, places, || key.masked())
    }
}

/// Of four hexadecimal digits, if they are a byte.
fn code_point(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits.get(..4)?).ok()?, 16).ok()
}

fn masked(text: &[u8], key: &ApiKey) -> Option<Vec<u8>> {
    let secret = key.expose().as_bytes();
    let places = memmem::find_iter(text, secret).map(|at| at..at + secret.len());
    replace(text, places, || key.masked())
}

/// `None` when there is nothing to replace.
fn replace(
    text: &[u8],
    places: impl IntoIterator<Item = Range<usize>>,
    mask: impl FnOnce() -> String,
) -> Option<Vec<u8>> {
    let mut places = places.into_iter().peekable();
    places.peek()?;
    let (mask, mut end, mut clean) = (mask(), 0, Vec::with_capacity(text.len()));
    for place in places {
        clean.extend_from_slice(&text[end..place.start]);
        clean.extend_from_slice(mask.as_bytes());
        end = place.end;
    }
    clean.extend_from_slice(&text[end..]);
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> ApiKey {
        ApiKey::parse(secret).unwrap()
    }

    #[test]
    fn every_occurrence_goes() {
        let key = key("sk-12345678");
        let clean = |text: &[u8]| masked(text, &key).map(|it| String::from_utf8(it).unwrap());
        let cleaned = clean(b"key sk-12345678, again sk-12345678");
        assert_eq!(cleaned.as_deref(), Some("key sk-…5678, again sk-…5678"));
        assert_eq!(clean(b"nothing here"), None);
        assert_eq!(clean(b"sk"), None);
    }

    #[test]
    fn a_key_is_found_however_json_spells_it() {
        let key = key("sk-a/b\"c\\d-5678");
        let clean = |text: &str| {
            let plain = Unescaped::of(text.as_bytes())?;
            plain.masked(text.as_bytes(), &key).map(|it| String::from_utf8(it).unwrap())
        };
        for spelt in [
            r#"sk-a/b\"c\\d-5678"#,
            r#"sk-a\/b\"c\\d-5678"#,
            r"\u0073k\u002da\u002Fb\u0022c\u005cd\u002d5678",
        ] {
            let text = format!(r#"{{"error":"\n\u00e4 {spelt} \u+02d \u12"}} \u"#);
            let expected = text.replace(spelt, "sk-…5678");
            assert_eq!(clean(&text), Some(expected), "{spelt}");
        }
        assert_eq!(clean(r"{\u00"), None);
    }

    #[test]
    fn a_header_with_a_key_in_its_name_goes() {
        let mut headers = HeaderMap::new();
        for name in ["x-sk-aaaa5678-no", "x-fine", "sk-aaaa567"] {
            headers.insert(name, HeaderValue::from_static("sk-AAAA5678"));
        }
        redact_headers(&mut headers, &key("sk-AAAA5678"));
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        left.sort_unstable();
        let mask = "sk-…5678".as_bytes();
        assert_eq!(left, [("sk-aaaa567", mask), ("x-fine", mask)]);
    }
}
