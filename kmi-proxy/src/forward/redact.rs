//! Keys that an upstream echoes: replaced before the client, the trace or a log sees them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use kmi_core::inventory::Key;
use kmi_health::kimi_error::MAX_BODY;
use memchr::memmem;

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
    let mut found = false;
    let mut without = |key: &Key| {
        if let Some(clean) = masked(&text, key) {
            (text, found) = (clean.into(), true);
        }
        redact_headers(headers, key);
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

/// Replaces one key in headers by its mask. Costs nothing where no value is as long as a key.
pub(crate) fn redact_headers(headers: &mut HeaderMap, key: &Key) {
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

fn masked(text: &[u8], key: &Key) -> Option<Vec<u8>> {
    replace(text, key.secret.expose().as_bytes(), || key.secret.masked())
}

/// `None` when there is nothing to replace.
fn replace(text: &[u8], secret: &[u8], mask: impl Fn() -> String) -> Option<Vec<u8>> {
    let find = |text: &[u8]| memmem::find(text, secret);
    let mut at = find(text)?;
    let mask = mask();
    let (mut rest, mut clean) = (text, Vec::with_capacity(text.len()));
    loop {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(mask.as_bytes());
        rest = &rest[at + secret.len()..];
        match find(rest) {
            Some(next) => at = next,
            None => break,
        }
    }
    clean.extend_from_slice(rest);
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_goes() {
        let clean = |text: &[u8]| replace(text, b"sk-12345678", || "sk-*".to_owned());
        let cleaned = clean(b"key sk-12345678, again sk-12345678");
        assert_eq!(cleaned.as_deref(), Some(&b"key sk-*, again sk-*"[..]));
        assert_eq!(clean(b"nothing here"), None);
        assert_eq!(clean(b"sk"), None);
    }
}
