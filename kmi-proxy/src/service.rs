//! One request in, one answer out: the gate, the router, then kmi's own answer or the upstream.

use std::{sync::Arc, time::Instant};

use http::{Method, Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Body as _;

use crate::{
    forward::{self, Destination, ReplyBody},
    gate::{self, Names},
    h1::Incoming,
    page,
    proxy::Proxy,
    quota_poll,
    reply::{self, Refusal},
    route::{Route, route},
};

/// The body of an answer: a client's request answered, or the page.
pub(crate) type Body = Either<ReplyBody, page::Body>;

/// Answers a request. Every failure is an answer; there is no other error.
pub(crate) async fn serve(
    proxy: &Arc<Proxy>,
    names: &Names,
    request: Request<Incoming>,
) -> Response<Body> {
    let arrived = Instant::now();
    let own = |response: Response<_>| response.map(|body| Either::Left(Either::Left(body)));
    let unread = !request.body().is_end_stream();
    let refuse = |refusal: Refusal| {
        // A connection with a body that nobody reads is closed; that must not come as a surprise.
        own(if unread { refusal.closing() } else { refusal }.response())
    };
    if let Err(refusal) = gate::check(&request, names) {
        return refuse(refusal);
    }
    if request.method() == Method::OPTIONS {
        return own(reply::options());
    }
    let live = proxy.live();
    let base = &live.settings.proxy.base_path;
    let uri = request.uri().clone();
    match route(request.method(), &uri, base, &proxy.token) {
        Route::Health | Route::Bare => own(reply::empty(StatusCode::OK)),
        // In boxes is what is rare: every request's future would have room for it otherwise.
        Route::Metrics => {
            let answer = page::metrics(proxy, request.method(), request.headers());
            own(Box::pin(answer).await)
        }
        Route::Page { rest } => {
            let answer = page::answer(proxy, request.method(), request.headers(), rest);
            Box::pin(answer).await.map(Either::Right)
        }
        Route::Nowhere => refuse(Refusal::not_found(base)),
        Route::Upstream { token, .. }
            if !token && !gate::has_token(request.headers(), &proxy.token) =>
        {
            refuse(Refusal::token_required())
        }
        Route::Upstream { name, surface, rest, .. } => match live.pool(name) {
            Some(pool) => {
                if request.method() == Method::GET && path(rest) == quota_poll::USAGES {
                    // The quota of one key would tell nothing of what the pool can do.
                    let limit = live.settings.health.quota_timeout;
                    if let Some(usages) = Box::pin(quota_poll::usages(pool, limit)).await {
                        return own(reply::json_text(StatusCode::OK, usages));
                    }
                }
                let to = Destination { pool, surface, rest };
                forward::forward(proxy, &live, to, request, arrived).await.map(Either::Left)
            }
            None => {
                refuse(name.map_or_else(|| Refusal::not_found(base), Refusal::unknown_upstream))
            }
        },
    }
}

/// What stands before the query.
fn path(rest: &str) -> &str {
    rest.split('?').next().unwrap_or(rest)
}
