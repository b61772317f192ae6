//! Heads: read by httparse into the types of `http`, and written.

use std::{cell::RefCell, mem::MaybeUninit, time::SystemTime};

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    Version, header, request, response,
};
use memchr::memmem;

use super::{Error, MAX_LINES, unseen::Unseen};

/// Header names as the other side spelled them, line by line; goes with a head as an extension.
#[derive(Debug, Clone)]
struct Spelling {
    head: Unseen<Bytes>,
    /// Start and length of each name in `head`.
    names: Vec<(u16, u16)>,
}

impl Spelling {
    /// The `nth` line's spelling of a name.
    fn of(&self, name: &HeaderName, nth: usize) -> Option<&[u8]> {
        let wanted = name.as_str().as_bytes();
        let spelled = self.names.iter().map(|(start, length)| {
            let start = usize::from(*start);
            &self.head[start..start + usize::from(*length)]
        });
        spelled.filter(|spelled| spelled.eq_ignore_ascii_case(wanted)).nth(nth)
    }
}

/// A client's head at the front of `bytes`, and its length; `None` while it is not whole.
pub(super) fn request(bytes: &[u8]) -> Result<Option<(request::Parts, usize)>, Error> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
    let mut parsed = httparse::Request::new(&mut []);
    let httparse::Status::Complete(length) =
        parsed.parse_with_uninit_headers(bytes, &mut lines).map_err(refused)?
    else {
        return Ok(None);
    };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else { return Ok(None) };
    let version = parsed.version;
    // It would be dropped on the way.
    if target.contains('#') {
        return Err(Error::Malformed("the target has a fragment"));
    }
    let head = Bytes::copy_from_slice(&bytes[..length]);
    let target = head.slice(place(bytes, target.as_bytes()));
    let (headers, extensions) = fields(parsed.headers, bytes, &head)?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Error::Malformed("a method that is none"))?;
    parts.uri =
        Uri::from_maybe_shared(target).map_err(|_| Error::Malformed("a target that is none"))?;
    parts.version = if version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    (parts.headers, parts.extensions) = (headers, extensions);
    Ok(Some((parts, length)))
}

/// An upstream's head at the front of `bytes`, and its length; `None` while it is not whole.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<(response::Parts, usize)>, Error> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let httparse::Status::Complete(length) = config
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut lines)
        .map_err(refused)?
    else {
        return Ok(None);
    };
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default());
    let head = Bytes::copy_from_slice(&bytes[..length]);
    let (headers, extensions) = fields(parsed.headers, bytes, &head)?;
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status.map_err(|_| Error::Malformed("a status that is none"))?;
    parts.version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    (parts.headers, parts.extensions) = (headers, extensions);
    Ok(Some((parts, length)))
}

/// Whether a head may end in these bytes: until then there is no use in parsing it again.
pub(super) fn may_end(bytes: &[u8]) -> bool {
    memmem::find(bytes, b"\n\r\n").is_some() || memmem::find(bytes, b"\n\n").is_some()
}

fn refused(error: httparse::Error) -> Error {
    match error {
        httparse::Error::TooManyHeaders => Error::TooLarge,
        httparse::Error::Version => Error::Malformed("it is not HTTP/1.1"),
        httparse::Error::Status => Error::Malformed("a status line that is none"),
        _ => Error::Malformed("a head that breaks the rules"),
    }
}

/// The header lines as a map, and how their names were spelled.
fn fields(
    lines: &[httparse::Header<'_>],
    bytes: &[u8],
    head: &Bytes,
) -> Result<(HeaderMap, Extensions), Error> {
    let malformed = |_| Error::Malformed("a header line that breaks the rules");
    // With room for what is added on the way.
    let mut headers = HeaderMap::with_capacity(lines.len() + 5);
    let mut names = Vec::with_capacity(lines.len());
    let mut plain = true;
    for line in lines {
        let name = line.name.as_bytes();
        let value = HeaderValue::from_maybe_shared(head.slice(place(bytes, line.value)));
        let value = value.map_err(|_| Error::Malformed("a header value that breaks the rules"))?;
        headers.append(HeaderName::from_bytes(name).map_err(malformed)?, value);
        let short = |n: usize| u16::try_from(n).map_err(|_| Error::TooLarge);
        names.push((short(place(bytes, name).start)?, short(name.len())?));
        plain &= !name.iter().any(u8::is_ascii_uppercase);
    }
    let mut extensions = Extensions::new();
    if !plain {
        extensions.insert(Spelling { head: Unseen(head.clone()), names });
    }
    Ok((headers, extensions))
}

/// Where a part of `whole` stands in it; empty parts may stand nowhere.
fn place(whole: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    let start = if part.is_empty() { 0 } else { start };
    start..start + part.len()
}

/// How a message's body is framed on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framed {
    /// No body: what the headers say of one stands.
    Bodiless,
    /// A Content-Length.
    Length(u64),
    Chunks,
}

/// Writes the head of a request. A length that stands among the headers keeps its place.
pub(super) fn write_request<B>(request: &Request<B>, framed: Framed, out: &mut Vec<u8>) {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    put(out, &[request.method().as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"]);
    let length = |out: &mut Vec<u8>, length: u64| {
        put(out, &[b"content-length: ", itoa::Buffer::new().format(length).as_bytes(), b"\r\n"]);
    };
    match framed {
        Framed::Length(n) if !request.headers().contains_key(header::CONTENT_LENGTH) => {
            write_lines(request.headers(), request.extensions(), out);
            length(out, n);
        }
        Framed::Chunks => {
            write_lines(request.headers(), request.extensions(), out);
            put(out, &[b"transfer-encoding: chunked\r\n"]);
        }
        Framed::Length(_) | Framed::Bodiless => {
            write_lines(request.headers(), request.extensions(), out);
        }
    }
    put(out, &[b"\r\n"]);
}

/// Writes the head of an answer, whose headers have no framing of their own where it has a body;
/// `last`: the connection ends after it.
pub(super) fn write_answer(parts: &response::Parts, framed: Framed, last: bool, out: &mut Vec<u8>) {
    let version: &[u8] =
        if parts.version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    let reason = parts.status.canonical_reason().unwrap_or("");
    put(out, &[version, parts.status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
    write_lines(&parts.headers, &parts.extensions, out);
    match framed {
        Framed::Bodiless => {}
        Framed::Length(n) => {
            put(out, &[b"content-length: ", itoa::Buffer::new().format(n).as_bytes(), b"\r\n"]);
        }
        Framed::Chunks => put(out, &[b"transfer-encoding: chunked\r\n"]),
    }
    if last && !parts.headers.contains_key(header::CONNECTION) {
        put(out, &[b"connection: close\r\n"]);
    }
    if !parts.headers.contains_key(header::DATE) {
        write_date(out);
    }
    put(out, &[b"\r\n"]);
}

fn write_lines(headers: &HeaderMap, extensions: &Extensions, out: &mut Vec<u8>) {
    let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    // And for what stands around them: a status line or target, a framing, a date.
    out.reserve(size.sum::<usize>() + 128);
    let spelling = extensions.get::<Spelling>();
    let (mut last, mut nth) = (None, 0);
    for (name, value) in headers {
        nth = if last == Some(name) { nth + 1 } else { 0 };
        last = Some(name);
        let spelled = spelling.and_then(|spelling| spelling.of(name, nth));
        put(out, &[spelled.unwrap_or(name.as_str().as_bytes()), b": ", value.as_bytes(), b"\r\n"]);
    }
}

/// The time of day as a header line; it is made once a second.
fn write_date(out: &mut Vec<u8>) {
    thread_local!(static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(of, text)| {
        if *of != second {
            (*of, *text) = (second, httpdate::fmt_http_date(now));
        }
        put(out, &[b"date: ", text.as_bytes(), b"\r\n"]);
    });
}

/// The line before a chunk of so many bytes.
pub(super) fn write_chunk_size(mut size: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    while size > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b"0123456789abcdef"[size % 16];
        size /= 16;
    }
    put(out, &[&digits[at..], b"\r\n"]);
}

fn put(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, framed: Framed) -> String {
        let (parts, length) = request(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        let mut out = Vec::new();
        write_request(&Request::from_parts(parts, ()), framed, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_written_as_it_was_spelled() {
        let text = "POST /a?b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\nX-B:\r\n\r\n";
        assert_eq!(written(text, Framed::Bodiless), text.replace("X-B:", "X-B: "));
        let long = "POST / HTTP/1.1\r\nContent-Length: 5\r\nHost: x\r\n\r\n";
        assert_eq!(written(long, Framed::Length(5)), long);
        let none = "POST / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert!(written(none, Framed::Length(5)).ends_with("Host: x\r\ncontent-length: 5\r\n\r\n"));
        assert!(written(none, Framed::Chunks).ends_with("transfer-encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_when_it_ends() {
        let (parts, _) =
            answer(b"HTTP/1.1 200 OK\r\nETag: x\r\nDate: now\r\n\r\n").unwrap().unwrap();
        let mut out = Vec::new();
        write_answer(&parts, Framed::Length(0), true, &mut out);
        let text = "HTTP/1.1 200 OK\r\nETag: x\r\nDate: now\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn sizes_are_in_hex() {
        let text = |size| {
            let mut out = Vec::new();
            write_chunk_size(size, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!([text(0), text(26), text(4096)].concat(), "0\r\n1a\r\n1000\r\n");
    }

    #[test]
    fn what_is_not_whole_waits_and_what_is_wrong_is_refused() {
        assert!(request(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap().is_none());
        for wrong in ["GET /#a HTTP/1.1\r\n\r\n", "GET / HTTP/1.2\r\n\r\n", "G\r\n\r\n"] {
            assert!(matches!(request(wrong.as_bytes()), Err(Error::Malformed(_))), "{wrong:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(MAX_LINES + 1));
        assert!(matches!(request(many.as_bytes()), Err(Error::TooLarge)));
    }
}
