//! Asks the provider what is left of each key's quota: now and then while serving, as soon as a key
//! is refused for it, and when the user wants to know.
//!
//! These requests are no turns: they go to the quota endpoint of the key that is meant, with an
//! honest User-Agent.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Limited};
use jiff::{SignedDuration, Timestamp};
use kmi_core::{display::visible, inventory::Key};
use kmi_health::{
    classify::{Effect, Verdict},
    kimi_error::MAX_BODY,
    quota::Quota,
};
use tokio::task::JoinSet;

use crate::{
    body::Outgoing,
    control::Tested,
    forward::{judge, redact::redact},
    pool::Pool,
    proxy::Proxy,
    settings::UpstreamKind,
    upstream::Surface,
};

/// Where Kimi Code tells what is left.
pub(crate) const USAGES: &str = "/usages";
/// Keys that are asked at the same time, when somebody waits for the answer.
const ASKED_AT_ONCE: usize = 32;
/// The first poll comes this long after the start, and up to twice as long: a short `kmi run`
/// asks nothing.
const FIRST: Duration = Duration::from_secs(5);
/// Between two keys of one round.
const BETWEEN_KEYS: Duration = Duration::from_millis(250);

/// After a refusal an account is asked again only if what is known of it is older than this.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// What asking with one key brought.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The key works; its quota, where the endpoint names one.
    Works(Option<Box<Quota>>),
    /// The provider refused the key.
    Refused(Box<Verdict>),
    /// No usable answer.
    Failed(String),
}

/// Polls for as long as the proxy serves.
pub(crate) async fn run(proxy: Arc<Proxy>) {
    let mut pause = jittered(FIRST, 1.0);
    loop {
        ask_refused(&proxy, pause).await;
        for pool in &proxy.live().pools {
            round(pool, proxy.live().settings.health.quota_timeout).await;
            // Otherwise connections leave only when others come.
            pool.upstream().sweep();
        }
        // Ten percent of jitter keeps many machines from asking at the same moment.
        pause = jittered(proxy.live().settings.health.quota_poll, 0.1);
    }
}

/// Until the next round: asks with those keys that are refused for their quota meanwhile.
async fn ask_refused(proxy: &Proxy, pause: Duration) {
    let mut over = pin!(tokio::time::sleep(pause));
    loop {
        // Taken anew each time: keys are read again, and an upstream may have come.
        let live = proxy.live();
        let mut refused: Vec<_> =
            live.pools.iter().map(|pool| Box::pin(pool.quota_refused())).collect();
        let any_refused = poll_fn(|cx| {
            let is_news = refused.iter_mut().any(|pool| pool.as_mut().poll(cx).is_ready());
            if is_news { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = &mut over => return,
            () = any_refused => {}
        }
        for pool in &live.pools {
            after_refusals(pool, live.settings.health.quota_timeout).await;
        }
    }
}

/// Asks for the quota of keys that were refused for it, where somebody tells it.
async fn after_refusals(pool: &Pool, limit: Duration) {
    // Taken in any case, so that they do not gather.
    let refused = pool.take_quota_refused();
    if endpoint(pool.upstream().settings().kind).is_none() {
        return;
    }
    for key in refused {
        let fresh = Timestamp::now() - AGAIN;
        // A key of the same account, or the last round, may just have asked.
        if pool.quota_row(key.id).checked_at.is_none_or(|at| at < fresh) {
            poll(pool, &key, limit).await;
        }
    }
}

/// The quota of a pool as one answer of `/usages`: what is known, else what its keys say now.
/// `None` where the provider has no such thing, or no key gets an answer.
pub(crate) async fn usages(pool: &Arc<Pool>, limit: Duration) -> Option<String> {
    if pool.upstream().settings().kind != UpstreamKind::KimiCode {
        return None;
    }
    if let Some(known) = pool.usages() {
        return Some(known);
    }
    let mut asking = JoinSet::new();
    for key in pool.keys_to_ask().into_iter().take(ASKED_AT_ONCE) {
        let pool = Arc::clone(pool);
        asking.spawn(async move { poll(&pool, &key, limit).await });
    }
    asking.join_all().await;
    pool.usages()
}

async fn round(pool: &Pool, limit: Duration) {
    if endpoint(pool.upstream().settings().kind).is_none() {
        return;
    }
    for key in pool.keys_to_ask() {
        poll(pool, &key, limit).await;
        tokio::time::sleep(BETWEEN_KEYS).await;
    }
}

async fn poll(pool: &Pool, key: &Key, limit: Duration) {
    let asked = ask(pool, key, limit).await;
    let now = Timestamp::now();
    match asked {
        Asked::Works(Some(quota)) => pool.set_quota(key.id, *quota, now),
        Asked::Works(None) => {}
        // Only a request's own refusal blocks a key; a failing poll is merely shown.
        Asked::Refused(_) | Asked::Failed(_) => pool.quota_failed(key.id, now),
    }
}

/// Asks with keys because the user wants to know, and gives what that brought in their order.
pub(crate) async fn test(keys: Vec<(Arc<Pool>, Arc<Key>)>, limit: Duration) -> Vec<Tested> {
    let (mut asking, mut tested) = (JoinSet::new(), Vec::new());
    for (place, (pool, key)) in keys.into_iter().enumerate() {
        if asking.len() >= ASKED_AT_ONCE {
            tested.extend(asking.join_next().await.and_then(Result::ok));
        }
        asking.spawn(async move {
            let asked = test_one(&pool, &key, limit).await;
            let quota = pool.quota_row(key.id);
            let (label, masked) = (key.label.to_string(), key.secret.masked());
            (place, Tested { label, masked, ok: asked.is_ok(), error: asked.err(), quota })
        });
    }
    tested.extend(asking.join_all().await);
    tested.sort_by_key(|(place, _)| *place);
    tested.into_iter().map(|(_, tested)| tested).collect()
}

/// Asks with one key: its health follows.
async fn test_one(pool: &Pool, key: &Key, limit: Duration) -> Result<(), String> {
    let asked = ask(pool, key, limit).await;
    let now = Timestamp::now();
    match asked {
        Asked::Works(quota) => {
            pool.forgive(key.id, now);
            let Some(quota) = quota else { return Ok(()) };
            let has_money = quota.balance.is_none_or(|left| left > 0.0);
            pool.set_quota(key.id, *quota, now);
            // The provider answers the question, and no other (WIRE section 1).
            if has_money { Ok(()) } else { Err("no money is left: requests are refused".into()) }
        }
        Asked::Refused(verdict) => {
            pool.judge(key.id, &verdict, now);
            let words = verdict.message.as_deref().unwrap_or("the provider gives no reason");
            Err(format!("refused: {words}"))
        }
        Asked::Failed(why) => {
            pool.quota_failed(key.id, now);
            Err(why)
        }
    }
}

/// Where an upstream tells what is left; a generic one does not, but its models prove a key.
fn endpoint(kind: UpstreamKind) -> Option<&'static str> {
    match kind {
        UpstreamKind::KimiCode => Some(USAGES),
        UpstreamKind::OpenPlatform => Some("/users/me/balance"),
        UpstreamKind::OpenAi => None,
    }
}

async fn ask(pool: &Pool, key: &Key, limit: Duration) -> Asked {
    match tokio::time::timeout(limit, answer(pool, key)).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(why)) => Asked::Failed(visible(&why).into_owned()),
        Err(_) => Asked::Failed(format!("no answer within {limit:?}")),
    }
}

async fn answer(pool: &Pool, key: &Key) -> Result<Asked, String> {
    let upstream = pool.upstream();
    let kind = upstream.settings().kind;
    let path = endpoint(kind).unwrap_or("/models");
    let origin = upstream.origin(Surface::OpenAi);
    let target = upstream.target(Surface::OpenAi, path).ok_or("the base URL makes no target")?;
    let mut credential = HeaderValue::try_from(format!("Bearer {}", key.secret.expose()))
        .map_err(|_| "the key makes no header")?;
    credential.set_sensitive(true);
    let request = Request::get(http::Uri::from(target))
        .header(header::HOST, origin.host())
        .header(header::USER_AGENT, concat!("kmi/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json")
        .header(header::AUTHORIZATION, credential)
        .body(Outgoing::Whole(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let sent = origin.send(request).await.map_err(|error| error.to_string())?;
    let (mut parts, body) = sent.response.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| error.to_string())?;
    // Its words are shown, and what it says of limits is stored.
    let said = redact(&mut parts.headers, body.to_bytes(), true, key, [pool]).text;

    let now = Timestamp::now();
    if parts.status.is_success() {
        let quota = match kind {
            UpstreamKind::KimiCode => Quota::of_usages(&said, now),
            UpstreamKind::OpenPlatform => Quota::of_balance(&said, now),
            UpstreamKind::OpenAi => return Ok(Asked::Works(None)),
        };
        let mut quota = quota.map_err(|error| error.to_string())?;
        // A balance names no account; an organization in a header says more than a user.
        quota.account = judge::account(&parts.headers).or(quota.account);
        return Ok(Asked::Works(Some(Box::new(quota))));
    }
    let verdict = judge::answer(parts.status, &parts.headers, &said, kind, now);
    Ok(match verdict.effect {
        Effect::Block(_) | Effect::Suspect => Asked::Refused(Box::new(verdict)),
        _ => Asked::Failed(format!("the quota endpoint answers {}", parts.status.as_u16())),
    })
}

/// A time with up to `part` of it added at random.
fn jittered(time: Duration, part: f64) -> Duration {
    let random = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
    time.mul_f64(1.0 + part * random)
}
