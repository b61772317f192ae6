//! How long a body is, by its head (RFC 9112 section 6).

use http::{HeaderMap, Method, StatusCode, Version, header};

use super::{Error, payload::Payload};

/// The body of a client's request. Whatever two readers could read differently is refused.
pub(super) fn of_request(headers: &mut HeaderMap) -> Result<Payload, Error> {
    let length = length(headers)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(Payload::Length(length.unwrap_or(0))),
        (Some(one), None)
            if length.is_none() && one.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(Payload::chunks())
        }
        _ => Err(Error::Malformed("the body's framing is ambiguous")),
    }
}

/// The body of an upstream's answer to a request with `method`. Chunks count before a length.
pub(super) fn of_answer(
    method: &Method,
    status: StatusCode,
    version: Version,
    headers: &mut HeaderMap,
) -> Result<Payload, Error> {
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return Ok(Payload::NONE);
    }
    if method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        // There is no body; but what is said of one goes on to the client.
        length(headers)?;
        return Ok(Payload::NONE);
    }
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(length(headers)?.map_or(Payload::UntilClose, Payload::Length));
    }
    if version != Version::HTTP_11 {
        return Err(Error::Malformed("HTTP/1.0 has no transfer codings"));
    }
    // kmi asks for no other coding; passed on still coded, a body would be taken for a plain one.
    let lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let words = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut codings = words.map(<[u8]>::trim_ascii).filter(|word| !word.is_empty());
    match (codings.next(), codings.next()) {
        (Some(one), None) if one.eq_ignore_ascii_case(b"chunked") => Ok(Payload::chunks()),
        _ => Err(Error::Malformed("a transfer coding that is not chunked")),
    }
}

/// The one length that all Content-Length lines name: digits and nothing else. Lines that agree
/// become one.
fn length(headers: &mut HeaderMap) -> Result<Option<u64>, Error> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return Ok(None) };
    let length = digits(first.as_bytes()).ok_or(Error::Malformed("a length that is none"))?;
    let mut several = false;
    for other in lines {
        several = true;
        if digits(other.as_bytes()) != Some(length) {
            return Err(Error::Malformed("two lengths"));
        }
    }
    if several {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(Some(length))
}

fn digits(text: &[u8]) -> Option<u64> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let length: u64 = plain.then(|| std::str::from_utf8(text).ok()?.parse().ok())??;
    // No honest body comes near it, and sums with it stay numbers.
    (length <= i64::MAX.unsigned_abs()).then_some(length)
}

/// Whether a message asks for the connection's end.
pub(super) fn closes(version: Version, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).iter();
    let mut words = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    version != Version::HTTP_11
        || words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        headers
    }

    const CL: &str = "content-length";
    const TE: &str = "transfer-encoding";

    #[test]
    fn a_request_has_one_framing() {
        for (lines, expected) in [
            (&[][..], Some(Payload::NONE)),
            (&[(CL, "5")], Some(Payload::Length(5))),
            (&[(CL, "5"), (CL, "5")], Some(Payload::Length(5))),
            (&[(TE, "Chunked")], Some(Payload::chunks())),
            (&[(CL, "5"), (CL, "6")], None),
            (&[(CL, "5, 5")], None),
            (&[(CL, "")], None),
            (&[(CL, "+5")], None),
            (&[(CL, "18446744073709551615")], None),
            (&[(TE, "chunked"), (CL, "5")], None),
            (&[(TE, "chunked"), (TE, "chunked")], None),
            (&[(TE, "gzip, chunked")], None),
            (&[(TE, "")], None),
        ] {
            assert_eq!(of_request(&mut headers(lines)).ok(), expected, "{lines:?}");
        }
    }

    #[test]
    fn lines_that_agree_become_one() {
        let mut headers = headers(&[(CL, "5"), ("x", "1"), (CL, "5")]);
        of_request(&mut headers).unwrap();
        assert_eq!(headers.get_all(CL).iter().count(), 1);
    }

    #[test]
    fn an_answer_may_be_framed_by_its_end() {
        let of = |status: u16, lines: &[_]| {
            let status = StatusCode::from_u16(status).unwrap();
            of_answer(&Method::GET, status, Version::HTTP_11, &mut headers(lines)).ok()
        };
        assert_eq!(of(200, &[]), Some(Payload::UntilClose));
        assert_eq!(of(200, &[(CL, "2")]), Some(Payload::Length(2)));
        assert_eq!(of(200, &[(CL, "2"), (TE, "Chunked")]), Some(Payload::chunks()));
        assert_eq!(of(200, &[(TE, ", chunked ,")]), Some(Payload::chunks()));
        for coded in ["gzip, chunked", "chunked, gzip", "gzip", "identity", "chunked, chunked", ""]
        {
            assert_eq!(of(200, &[(TE, coded)]), None, "{coded}");
        }
        assert_eq!(of(200, &[(CL, "2"), (CL, "3")]), None);
        assert_eq!(of(204, &[(CL, "2")]), Some(Payload::NONE));
        assert_eq!(of(304, &[(TE, "chunked")]), Some(Payload::NONE));
        let (ok, mut lines) = (StatusCode::OK, headers(&[(TE, "chunked")]));
        assert!(of_answer(&Method::GET, ok, Version::HTTP_10, &mut lines).is_err());
        let head = of_answer(&Method::HEAD, ok, Version::HTTP_11, &mut lines);
        assert_eq!(head.ok(), Some(Payload::NONE));
    }

    #[test]
    fn what_is_said_of_a_body_that_does_not_come_is_read_too() {
        let of = |method: Method, status, lines: &[_]| {
            let mut headers = headers(lines);
            of_answer(&method, status, Version::HTTP_11, &mut headers)
                .ok()
                .map(|_| headers.get_all(CL).iter().count())
        };
        for (method, status) in
            [(Method::HEAD, StatusCode::OK), (Method::GET, StatusCode::NOT_MODIFIED)]
        {
            assert_eq!(of(method.clone(), status, &[(CL, "5"), (CL, "5")]), Some(1));
            assert_eq!(of(method.clone(), status, &[(CL, "5"), (CL, "6")]), None);
            assert_eq!(of(method.clone(), status, &[(CL, "5x")]), None);
        }
        // What a 204 says of a length goes in any case.
        assert_eq!(of(Method::GET, StatusCode::NO_CONTENT, &[(CL, "x")]), Some(1));
    }

    #[test]
    fn close_is_one_word_of_several() {
        let closes = |value| closes(Version::HTTP_11, &headers(&[("connection", value)]));
        assert!(closes("close") && closes("x, Close") && !closes("keep-alive, closed"));
    }
}
