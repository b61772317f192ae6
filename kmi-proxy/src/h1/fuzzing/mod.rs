//! Bytes from the wire, for `crate::fuzzing`: heads and bodies by themselves, and whole connections.

mod client;
mod upstream;
mod wires;

use http::Request;

pub(crate) use self::{client::client, upstream::upstream};

use super::{
    framing,
    head::{self, Framed},
};

/// A client's bytes, read in pieces of `size`: what is taken for a request is written so that it is
/// read again as the same one, and its body does not depend on the pieces.
pub(crate) fn request(bytes: &[u8], size: usize) {
    let Ok(Some((mut parts, taken))) = head::request(bytes) else { return };
    assert!(taken <= bytes.len());
    let Ok(framing) = framing::of_request(&mut parts.headers) else { return };
    let read = |size: usize| {
        let (mut payload, mut body, mut used) = (framing, Vec::new(), 0);
        for piece in bytes[taken..].chunks(size) {
            let took = payload.take(piece, |data| body.extend_from_slice(data)).ok()?;
            used += took;
            if took < piece.len() {
                assert!(payload.is_over(), "bytes are left before the body's end");
                break;
            }
        }
        Some((body, used, payload.is_over()))
    };
    assert_eq!(read(size), read(usize::MAX), "in pieces of {size}");

    // Whatever goes on has a target of kmi's own making, which is a path.
    if parts.uri.authority().is_some() || !parts.uri.path().starts_with('/') {
        return;
    }
    let (method, uri, headers) = (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
    let mut written = Vec::new();
    head::write_request(&Request::from_parts(parts, ()), Framed::Bodiless, &mut written);
    let again = head::request(&written).expect("what is written is good");
    let (again, length) = again.expect("what is written is whole");
    assert_eq!(length, written.len(), "one request, and nothing behind it");
    assert_eq!(again.method, method);
    assert_eq!(again.uri, uri);
    assert_eq!(again.headers, headers);
}

/// An upstream's bytes: the same for the heads of answers.
pub(crate) fn answer(bytes: &[u8]) {
    let Ok(Some((parts, taken))) = head::answer(bytes) else { return };
    assert!(taken <= bytes.len());
    let (status, headers) = (parts.status, parts.headers.clone());
    let mut written = Vec::new();
    head::write_answer(&parts, Framed::Bodiless, false, &mut written);
    let again = head::answer(&written).expect("what is written is good");
    let (again, length) = again.expect("what is written is whole");
    assert_eq!((length, again.status), (written.len(), status));
    for (name, value) in &headers {
        assert!(again.headers.get_all(name).iter().any(|other| other == value), "{name}");
    }
}
