//! The page at `/kmi-rotor/trace`: what `kmi trace` shows in a terminal, in a browser.
//!
//! The page itself is a handful of files inside of kmi and says nothing about anybody, so it needs
//! no token. Everything that it shows comes from the data endpoints below it, which do; the token
//! reaches the page behind the `#` of its address, which browsers send to nobody.

mod data;
mod files;
mod stream;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{Either, Full};

pub(crate) use self::stream::Stream;
use self::{data::Data, files::FILES};
use crate::{
    gate,
    proxy::Proxy,
    reply::{Refusal, private},
};

/// The body of an answer: a file or a bit of JSON, or the feed.
pub(crate) type Body = Either<Full<Bytes>, Stream>;

/// What the page may do: load its own files, talk to its own origin, and nothing else. Text can
/// never become markup (trusted types without any policy), and nobody can frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Answers what lies at the page's path and below; `rest` is what follows `…/trace`.
pub(crate) async fn answer(
    proxy: &Proxy,
    method: &Method,
    headers: &HeaderMap,
    rest: &str,
) -> Response<Body> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if let Some(file) = FILES.iter().find(|file| file.path == path) {
        if ![Method::GET, Method::HEAD].contains(method) {
            return refused(&Refusal::only_reading());
        }
        return dressed(Response::new(Full::from(file.text)), file.kind).map(Either::Left);
    }
    let base = &proxy.live().settings.proxy.base_path;
    let Some(data) = Data::at(path) else { return refused(&Refusal::not_found(base)) };
    // Also where the method or the query is wrong: a stranger learns nothing here.
    if !gate::has_token(headers, &proxy.token) {
        return refused(&Refusal::token_required());
    }
    if method != Method::GET {
        return refused(&Refusal::only_reading());
    }
    match data.answer(&proxy.feed, query).await {
        Ok(response) => dressed(response, "application/json"),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Response<Body> {
    dressed(refusal.response(), "application/json").map(Either::Left)
}

/// Puts on everything that tells a browser to keep this to itself.
fn dressed<B>(mut response: Response<B>, kind: &'static str) -> Response<B> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    private(headers);
    response
}

/// `GET …/metrics` for Prometheus.
pub(crate) async fn metrics(
    proxy: &Proxy,
    method: &Method,
    headers: &HeaderMap,
) -> Response<Full<Bytes>> {
    if !gate::has_token(headers, &proxy.token) {
        return Refusal::token_required().response();
    }
    if ![Method::GET, Method::HEAD].contains(method) {
        return Refusal::only_reading().response();
    }
    let Some(source) = proxy.feed.source() else { return Refusal::not_now().response() };
    let now = jiff::Timestamp::now();
    let writing = tokio::task::spawn_blocking(move || crate::metrics::text(&source.status(now)));
    let Ok(text) = writing.await else { return Refusal::not_now().response() };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(crate::metrics::CONTENT_TYPE));
    private(headers);
    response
}
