//! The gate: who may speak to kmi at all, decided before any key is looked at.
//!
//! The rules are CONTRACT section 4; the attacks they answer are RELIABILITY T1 to T7.

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use crate::{h1::MAX_HEAD, home::Token, reply::Refusal};

/// Longest request target, in bytes.
const MAX_TARGET: usize = 16 << 10;

/// Which names the listener answers to.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    port: u16,
    /// Further hosts, where listening beyond loopback is allowed.
    remote: Option<std::net::IpAddr>,
}

impl Names {
    /// The loopback names with `port`; with `remote` also that address, or every IP literal when
    /// it is the unspecified one. Names of the DNS are never accepted: they could be rebound.
    pub(crate) fn new(port: u16, remote: Option<std::net::IpAddr>) -> Self {
        Self { port, remote }
    }

    fn allow(&self, authority: &[u8]) -> bool {
        let Ok(authority) = std::str::from_utf8(authority) else { return false };
        let (host, port) = match authority.rsplit_once(':') {
            // A colon inside of brackets belongs to an IPv6 address.
            Some((host, port)) if !port.ends_with(']') => (host, self::port(port)),
            _ => (authority, Some(80)),
        };
        if port != Some(self.port) {
            return false;
        }
        if host == "127.0.0.1" || host == "[::1]" || host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let Some(remote) = self.remote else { return false };
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let Ok(ip) = literal.parse::<std::net::IpAddr>() else { return false };
        !ip.is_unspecified() && (ip == remote || remote.is_unspecified())
    }
}

/// A port as clients write it: no sign, no zero before it.
fn port(text: &str) -> Option<u16> {
    text.starts_with(|c: char| matches!(c, '1'..='9')).then(|| text.parse().ok())?
}

/// Refuses what no honest client of this listener sends.
pub(crate) fn check<B>(request: &Request<B>, names: &Names) -> Result<(), Refusal> {
    version(request.version())?;
    size(request.headers())?;
    host(request.headers(), names)?;
    browser(request.headers(), names)?;
    // Before the authority: CONNECT has nothing else for a target.
    method(request.method())?;
    authority(request.uri(), names)?;
    credential(request.headers())?;
    target(request.uri().path_and_query().map_or("", |target| target.as_str()))
}

fn version(version: Version) -> Result<(), Refusal> {
    if version == Version::HTTP_11 {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        "http_version_not_supported",
        "kmi speaks HTTP/1.1 only.",
    )
    .closing())
}

/// One read may bring a little more than the limit.
fn size(headers: &HeaderMap) -> Result<(), Refusal> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes <= MAX_HEAD {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "head_too_large",
        "The headers are larger than 64 KiB.",
    )
    .closing())
}

fn host(headers: &HeaderMap, names: &Names) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Refusal::bad("host_missing", "A request needs exactly one Host header."));
    };
    if !names.allow(host.as_bytes()) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "host_not_allowed",
            "This Host is not kmi's: use the base URL that `kmi serve` prints.",
        ));
    }
    Ok(())
}

/// Absolute form: its authority must be this listener too; it is never used for anything.
fn authority(target: &Uri, names: &Names) -> Result<(), Refusal> {
    match target.authority() {
        Some(authority) if !names.allow(authority.as_str().as_bytes()) => {
            Err(Refusal::bad("authority_not_allowed", "The target names another host."))
        }
        _ => Ok(()),
    }
}

/// Web pages: a foreign Origin, or a request that the browser itself marks as another site's.
/// kimi-code sends `sec-fetch-mode: cors` without an Origin; that passes.
fn browser(headers: &HeaderMap, names: &Names) -> Result<(), Refusal> {
    let own = |origin: &HeaderValue| {
        origin.as_bytes().strip_prefix(b"http://").is_some_and(|authority| names.allow(authority))
    };
    let foreign_origin = headers.get_all(header::ORIGIN).iter().any(|origin| !own(origin));
    let foreign_site = headers.get_all("sec-fetch-site").iter().any(|site| {
        let site = site.as_bytes();
        site.eq_ignore_ascii_case(b"cross-site") || site.eq_ignore_ascii_case(b"same-site")
    });
    if foreign_origin || foreign_site {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "Web pages may not use kmi.",
        ));
    }
    Ok(())
}

fn method(method: &Method) -> Result<(), Refusal> {
    const ALLOWED: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if ALLOWED.contains(method) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "kmi passes GET, HEAD, POST, PUT, PATCH and DELETE.",
    )
    .closing())
}

/// Two credentials: nobody could say which one was meant. (How a body is framed was looked at when
/// the head was read.)
fn credential(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Refusal::bad("two_authorizations", "There are two Authorization headers."));
    }
    Ok(())
}

/// A target must mean the same to everybody: no dot segments, no encoded separators.
fn target(target: &str) -> Result<(), Refusal> {
    if target.len() > MAX_TARGET {
        return Err(Refusal::new(
            StatusCode::URI_TOO_LONG,
            "target_too_long",
            "The target is longer than 16 KiB.",
        )
        .closing());
    }
    let path = target.split('?').next().unwrap_or(target);
    // Nearly no path has what a dot segment or an encoded separator begins with.
    let plain = memchr::memchr(b'%', path.as_bytes()).is_none() && !path.contains("/.");
    let odd = !target.is_ascii()
        || memchr::memchr(b'\\', target.as_bytes()).is_some()
        || !plain
            && (path.split('/').any(is_dot_segment)
                || path.as_bytes().windows(3).any(is_encoded_separator));
    if odd {
        return Err(Refusal::bad(
            "target_not_allowed",
            "The target has dot segments, encoded separators, a backslash or non-ASCII bytes.",
        ));
    }
    Ok(())
}

fn is_encoded_separator(three: &[u8]) -> bool {
    three[0] == b'%'
        && matches!(
            (three[1], three[2].to_ascii_lowercase()),
            (b'2', b'f') | (b'5', b'c') | (b'0', b'0')
        )
}

/// `.` and `..`, plain or with the dots percent-encoded.
fn is_dot_segment(segment: &str) -> bool {
    if segment.len() > 6 {
        return false;
    }
    let dots = segment.to_ascii_lowercase().replace("%2e", ".");
    dots == "." || dots == ".."
}

/// Whether a request carries the client token as its credential; a token in the path is looked
/// at by the router.
pub(crate) fn has_token(headers: &HeaderMap, token: &Token) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let api_key = headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii());
    [bearer, api_key].into_iter().flatten().any(|given| token.matches(given))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(request: http::request::Builder) -> u16 {
        let names = Names::new(54_123, None);
        let request = request.body(()).unwrap();
        check(&request, &names).map_or_else(|refusal| refusal.status().as_u16(), |()| 200)
    }

    fn get(target: &str) -> http::request::Builder {
        Request::get(target).header("host", "127.0.0.1:54123")
    }

    #[test]
    fn only_our_own_names_with_our_port_pass() {
        for (host, status) in [
            ("127.0.0.1:54123", 200),
            ("LocalHost:54123", 200),
            ("[::1]:54123", 200),
            ("127.0.0.1", 403),
            ("127.0.0.1:54124", 403),
            ("127.0.0.1:054123", 403),
            ("127.0.0.1:+54123", 403),
            ("0.0.0.0:54123", 403),
            ("localhost.:54123", 403),
            ("evil.example:54123", 403),
            ("127.0.0.1.evil.example:54123", 403),
            ("a@127.0.0.1:54123", 403),
            ("::1:54123", 403),
            ("", 403),
        ] {
            assert_eq!(
                verdict(Request::get("/kmi-rotor/v1/x").header("host", host)),
                status,
                "{host}"
            );
        }
        assert_eq!(verdict(Request::get("/")), 400, "no Host");
        assert_eq!(verdict(get("/").header("host", "127.0.0.1:54123")), 400, "two Hosts");
        assert_eq!(verdict(get("http://evil.example/")), 400);
        assert_eq!(verdict(get("http://127.0.0.1:54123/")), 200);
    }

    #[test]
    fn remote_addresses_pass_only_when_allowed_and_never_by_name() {
        let any = Names::new(80, Some([0, 0, 0, 0].into()));
        assert!(any.allow(b"192.168.1.7") && any.allow(b"192.168.1.7:80"));
        assert!(!any.allow(b"nas.local") && !any.allow(b"0.0.0.0"));
        let one = Names::new(80, Some([192, 168, 1, 7].into()));
        assert!(one.allow(b"192.168.1.7") && !one.allow(b"192.168.1.8"));
    }

    #[test]
    fn web_pages_are_refused() {
        for (name, value, status) in [
            ("origin", "http://evil.example", 403),
            ("origin", "null", 403),
            ("origin", "https://127.0.0.1:54123", 403),
            ("origin", "http://127.0.0.1:54123", 200),
            ("sec-fetch-site", "cross-site", 403),
            ("sec-fetch-site", "Same-Site", 403),
            ("sec-fetch-site", "same-origin", 200),
            ("sec-fetch-site", "none", 200),
            ("sec-fetch-mode", "cors", 200),
        ] {
            assert_eq!(verdict(get("/").header(name, value)), status, "{name}: {value}");
        }
    }

    #[test]
    fn targets_mean_one_thing() {
        for (target, status) in [
            ("/v1/chat", 200),
            ("/v1//chat", 200),
            ("/v1/...", 200),
            ("/v1/%2", 200),
            ("/v1/x?path=../..%2f", 200),
            ("/v1/../admin", 400),
            ("/v1/.", 400),
            ("/v1/%2E%2e/admin", 400),
            ("/v1/.%2e", 400),
            ("/v1%2fadmin", 400),
            ("/v1%5Cadmin", 400),
            ("/v1%00", 400),
        ] {
            assert_eq!(verdict(get(target)), status, "{target}");
        }
        assert_eq!(verdict(get(&format!("/{}", "a".repeat(MAX_TARGET)))), 414);
        assert_eq!(verdict(get("/").header("x", "a".repeat(MAX_HEAD))), 431);
    }

    #[test]
    fn odd_methods_versions_and_credentials_are_refused() {
        let odd =
            |method| Request::builder().method(method).uri("/").header("host", "127.0.0.1:54123");
        assert_eq!(verdict(odd("TRACE")), 405);
        assert_eq!(verdict(odd("get")), 405);
        assert_eq!(verdict(odd("CONNECT").uri("evil.example:443")), 405);
        assert_eq!(verdict(get("/").version(Version::HTTP_10)), 505);
        let two = get("/").header("authorization", "Bearer a").header("authorization", "Bearer b");
        assert_eq!(verdict(two), 400);
    }

    #[test]
    fn a_token_is_a_bearer_or_an_api_key() {
        let token = Token::new(&[0xab; 32]);
        let with = |name: &'static str, prefix: &str| {
            let value = format!("{prefix}{} ", token.expose());
            let value = HeaderValue::try_from(value.trim_start()).unwrap();
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value)]);
            has_token(&headers, &token)
        };
        assert!(with("authorization", "Bearer "));
        assert!(with("authorization", "bearer  "));
        assert!(with("x-api-key", ""));
        assert!(!with("authorization", ""));
        assert!(!with("authorization", "Basic "));
        assert!(!with("x-api-key", "Bearer "));
        assert!(!with("cookie", ""));
    }
}
