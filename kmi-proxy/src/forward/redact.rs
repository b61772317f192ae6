//! Keys that an upstream's error echoes: replaced before the client sees them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use kmi_core::inventory::Key;
use memchr::memmem;

use crate::pool::Pool;

/// Replaces every loaded key, and the attempt's own (which may have been taken away meanwhile), in
/// an error's headers and (where it is not compressed) its body by its mask. The usual answer has
/// none, and is passed as it is.
pub(crate) fn redact(
    headers: &mut HeaderMap,
    body: Bytes,
    own: &Key,
    pools: &[Arc<Pool>],
) -> Bytes {
    let coded = headers.contains_key(header::CONTENT_ENCODING);
    let mut body = body;
    let mut without = |key: &Key| {
        let (secret, mask) = (key.secret.expose().as_bytes(), key.secret.masked());
        if !coded && let Some(clean) = replace(&body, secret, mask.as_bytes()) {
            body = clean.into();
        }
        for value in headers.values_mut() {
            if let Some(clean) = replace(value.as_bytes(), secret, mask.as_bytes()) {
                *value = HeaderValue::from_bytes(&clean)
                    .unwrap_or_else(|_| HeaderValue::from_static("redacted"));
            }
        }
    };
    without(own);
    for pool in pools {
        pool.inventory().keys().iter().for_each(|key| without(key));
    }
    body
}

/// `None` when there is nothing to replace.
fn replace(text: &[u8], secret: &[u8], mask: &[u8]) -> Option<Vec<u8>> {
    let find = |text: &[u8]| memmem::find(text, secret);
    let mut at = find(text)?;
    let (mut rest, mut clean) = (text, Vec::with_capacity(text.len()));
    loop {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(mask);
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
        let clean = replace(b"key sk-12345678, again sk-12345678", b"sk-12345678", b"sk-*");
        assert_eq!(clean.as_deref(), Some(&b"key sk-*, again sk-*"[..]));
        assert_eq!(replace(b"nothing here", b"sk-12345678", b"sk-*"), None);
        assert_eq!(replace(b"sk", b"sk-12345678", b"sk-*"), None);
    }
}
