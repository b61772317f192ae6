//! Keys that an upstream echoes: replaced before the client, the trace or a log sees them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use kmi_core::inventory::Key;
use memchr::memmem;

use crate::pool::Pool;

/// Replaces every loaded key, and the attempt's own (which may have been taken away meanwhile), in
/// an error's headers and (where it is not compressed) its body by its mask. The usual answer has
/// none, and is passed as it is.
pub(crate) fn redact<'a>(
    headers: &mut HeaderMap,
    body: Bytes,
    own: &Key,
    pools: impl IntoIterator<Item = &'a Pool>,
) -> Bytes {
    let coded = headers.contains_key(header::CONTENT_ENCODING);
    let mut body = body;
    let mut without = |key: &Key| {
        if !coded && let Some(clean) = masked(&body, key) {
            body = clean.into();
        }
        redact_headers(headers, key);
    };
    without(own);
    for pool in pools {
        pool.inventory().keys().iter().for_each(|key| without(key));
    }
    body
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
