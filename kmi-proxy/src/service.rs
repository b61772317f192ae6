//! One request in, one answer out: the gate, the router, then kmi's own answer or the upstream.

use std::{sync::Arc, time::Instant};

use http::{Method, Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;

use crate::{
    client_socket::HeadTap,
    forward::{self, Destination, ReplyBody},
    gate::{self, Names},
    proxy::Proxy,
    quota_poll,
    reply::{self, Refusal},
    route::{Route, route},
};

/// Answers a request. Every failure is an answer; there is no other error.
pub(crate) async fn serve(
    proxy: Arc<Proxy>,
    names: Arc<Names>,
    head: Arc<HeadTap>,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let arrived = Instant::now();
    let own = |response: Response<_>| response.map(Either::Left);
    let checked = gate::check(&request, &names);
    if let Err(refusal) = checked.and_then(|()| gate::on_the_wire(request.headers(), &head)) {
        return own(refusal.response());
    }
    if request.method() == Method::OPTIONS {
        return own(reply::options());
    }
    let live = proxy.live();
    let base = &live.settings.proxy.base_path;
    let uri = request.uri().clone();
    match route(request.method(), &uri, base, &proxy.token) {
        Route::Health | Route::Bare => own(reply::empty(StatusCode::OK)),
        Route::Nowhere => own(Refusal::not_found(base).response()),
        Route::Upstream { token, .. }
            if !token && !gate::has_token(request.headers(), &proxy.token) =>
        {
            own(Refusal::token_required().response())
        }
        Route::Upstream { name, surface, rest, .. } => match live.pool(name) {
            Some(pool) => {
                if request.method() == Method::GET && rest == quota_poll::USAGES {
                    // The quota of one key would tell nothing of what the pool can do.
                    let limit = live.settings.health.quota_timeout;
                    if let Some(usages) = quota_poll::usages(pool, limit).await {
                        return own(reply::json_text(StatusCode::OK, usages));
                    }
                }
                let to = Destination { pool, surface, rest };
                forward::forward(&proxy, &live, to, request, arrived).await
            }
            None => own(Refusal::not_found(base).response()),
        },
    }
}
