//! The upstream request: built, not copied. Fixed authority, no hop-by-hop headers, the
//! credential last, and everything else as the client sent it.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header, request::Parts,
    uri::PathAndQuery,
};
use kmi_core::key::ApiKey;

use crate::{body::Outgoing, upstream::Surface};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Headers of one connection, which are never passed on (RFC 9110 section 7.6.1); Expect is
/// answered here.
pub(crate) const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// What a client may have brought as its credential; always dropped.
pub(crate) const CREDENTIALS: [HeaderName; 5] = [
    header::AUTHORIZATION,
    X_API_KEY,
    HeaderName::from_static("api-key"),
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
];

/// In which header the upstream gets the key: the kind that the client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential {
    Bearer,
    XApiKey,
    Both,
}

impl Credential {
    /// A client without any credential (its token is in the path) gets its surface's own kind.
    ///
    /// OpenAI's surface knows no `x-api-key`: a key that was sent in it alone would be answered 401
    /// and be taken for dead, so it is sent as a bearer too.
    pub(crate) fn of(headers: &HeaderMap, surface: Surface) -> Self {
        let bearer = headers.contains_key(header::AUTHORIZATION);
        match (bearer, headers.contains_key(X_API_KEY), surface) {
            (true, true, _) | (false, true, Surface::OpenAi) => Self::Both,
            (false, _, Surface::Anthropic) => Self::XApiKey,
            (true, false, _) | (false, false, Surface::OpenAi) => Self::Bearer,
        }
    }

    fn is_in(self, header: &HeaderName) -> bool {
        match self {
            Self::Bearer => header == header::AUTHORIZATION,
            Self::XApiKey => header == X_API_KEY,
            Self::Both => header == header::AUTHORIZATION || header == X_API_KEY,
        }
    }
}

/// A client's request as every attempt sends it on; only key and body are still missing.
#[derive(Debug)]
pub(crate) struct Template {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    extensions: http::Extensions,
    credential: Credential,
}

impl Template {
    pub(crate) fn new(
        parts: Parts,
        surface: Surface,
        target: PathAndQuery,
        host: &HeaderValue,
    ) -> Self {
        let credential = Credential::of(&parts.headers, surface);
        let headers = passed_on(&parts.headers, credential, host);
        let target = Uri::from(target);
        // The extensions carry the client's spelling of header names.
        Self { method: parts.method, target, headers, extensions: parts.extensions, credential }
    }

    /// The request of one attempt.
    pub(crate) fn with(&self, key: &ApiKey, body: Outgoing) -> Request<Outgoing> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.extensions_mut() = self.extensions.clone();
        let mut headers = self.headers.clone();
        if self.credential.is_in(&header::AUTHORIZATION) {
            headers.insert(header::AUTHORIZATION, secret(&["Bearer ", key.expose()]));
        }
        if self.credential.is_in(&X_API_KEY) {
            headers.insert(X_API_KEY, secret(&[key.expose()]));
        }
        *request.headers_mut() = headers;
        request
    }
}

/// What goes on of a client's headers, in the client's order: providers know clients by it. (To
/// take headers out of a map would change the order of the rest.)
///
/// The credential's place is kept for the key. So is the length: what `h1` read of the client is
/// as long as it says, so it is right for the body that is sent on.
fn passed_on(client: &HeaderMap, credential: Credential, host: &HeaderValue) -> HeaderMap {
    let named = named_by_connection(client);
    let mut headers = HeaderMap::with_capacity(client.len() + 1);
    for (name, value) in client {
        if HOP_BY_HOP.contains(name) || named.contains(name) {
            continue;
        }
        if name == header::HOST {
            headers.insert(header::HOST, host.clone());
        } else if credential.is_in(name) {
            headers.insert(name, HeaderValue::from_static(""));
        } else if !CREDENTIALS.contains(name) {
            headers.append(name, value.clone());
        }
    }
    headers.entry(header::HOST).or_insert_with(|| host.clone());
    headers
}

/// Removes hop-by-hop headers, those that `Connection` names included.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    named.iter().chain(&HOP_BY_HOP).for_each(|name| drop(headers.remove(name)));
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter();
    let names = lines.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.filter_map(|name| name.trim().parse().ok()).collect()
}

fn secret(pieces: &[&str]) -> HeaderValue {
    // An API key is printable ASCII, so this cannot fail; an empty credential would be refused
    // upstream.
    let mut value =
        HeaderValue::try_from(pieces.concat()).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn rewritten(surface: Surface, headers: &[(&str, &str)]) -> Vec<String> {
        let mut request = Request::post("/kmi-rotor/v1/chat/completions");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let target = PathAndQuery::from_static("/coding/v1/chat/completions?a=b");
        let template =
            Template::new(parts, surface, target, &HeaderValue::from_static("api.kimi.com"));
        let key = ApiKey::parse("sk-secret-1").unwrap();
        let request = template.with(&key, Outgoing::Whole(Bytes::new()));
        assert_eq!(request.uri(), "/coding/v1/chat/completions?a=b");
        request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn only_credential_host_and_hop_by_hop_headers_change() {
        let client = [
            ("host", "127.0.0.1:54123"),
            ("user-agent", "KimiCLI/1.51.0"),
            ("x-msh-device-id", "abc"),
            ("authorization", "Bearer token"),
            ("cookie", "a=b"),
            ("api-key", "other"),
            ("proxy-authorization", "Basic x"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("expect", "100-continue"),
            ("content-length", "5"),
            ("accept-encoding", "gzip, deflate"),
        ];
        assert_eq!(
            rewritten(Surface::OpenAi, &client),
            [
                "host: api.kimi.com",
                "user-agent: KimiCLI/1.51.0",
                "x-msh-device-id: abc",
                "authorization: Bearer sk-secret-1",
                "content-length: 5",
                "accept-encoding: gzip, deflate",
            ]
        );
    }

    #[test]
    fn no_connection_header_takes_away_what_must_be_there() {
        let client =
            [("authorization", "Bearer x"), ("connection", "host, authorization"), ("host", "a")];
        assert_eq!(
            rewritten(Surface::OpenAi, &client),
            ["host: api.kimi.com", "authorization: Bearer sk-secret-1"]
        );
    }

    #[test]
    fn the_key_goes_where_the_client_had_its_own() {
        let credential = |surface, headers: &[(&str, &str)]| {
            let mut sent = rewritten(surface, headers);
            sent.retain(|line| line.contains("sk-secret-1"));
            sent.sort();
            sent.join(", ")
        };
        let (bearer, api_key) = (("authorization", "Bearer x"), ("x-api-key", "x"));
        assert_eq!(credential(Surface::Anthropic, &[bearer]), "authorization: Bearer sk-secret-1");
        assert_eq!(credential(Surface::Anthropic, &[api_key]), "x-api-key: sk-secret-1");
        assert_eq!(credential(Surface::Anthropic, &[]), "x-api-key: sk-secret-1");
        assert_eq!(credential(Surface::OpenAi, &[]), "authorization: Bearer sk-secret-1");
        assert_eq!(
            credential(Surface::OpenAi, &[bearer, api_key]),
            "authorization: Bearer sk-secret-1, x-api-key: sk-secret-1"
        );
        assert_eq!(
            credential(Surface::OpenAi, &[api_key]),
            "authorization: Bearer sk-secret-1, x-api-key: sk-secret-1",
            "OpenAI's surface does not read x-api-key"
        );
    }
}
