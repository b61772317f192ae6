//! What the end of an attempt means, and what the client is told when nothing better follows.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use jiff::Timestamp;
use kmi_core::{
    display,
    outcome::{Fault, Outcome},
};
use kmi_health::{
    UpstreamKind,
    account::AccountId,
    classify::{Action, Answer, Effect, Trouble, Verdict, classify},
    kimi_error::MAX_BODY,
    retry_after::RetryHeaders,
};

use crate::{
    h1,
    reply::Refusal,
    upstream::{self, SendError},
};

/// How long an error's body may take; it is small.
const ERROR_BODY_TIME: Duration = Duration::from_secs(10);

/// Whether an answer is relayed without being read. A 101 is not: kmi asked for no upgrade.
pub(crate) fn is_good(status: StatusCode) -> bool {
    let status = status.as_u16();
    (200..400).contains(&status)
}

/// The account that an answer's headers name: the organization where there is one, else the user
/// (WIRE section 3).
pub(crate) fn account(headers: &HeaderMap) -> Option<AccountId> {
    let organization = || AccountId::of_organization(headers.get("msh-org-id")?.as_bytes());
    let user = || AccountId::of_user(headers.get("msh-uid")?.as_bytes());
    organization().or_else(user)
}

/// Whether another key might have done better.
pub(crate) fn is_about_the_key(verdict: &Verdict) -> bool {
    verdict.outcome.fault() == Some(Fault::Key)
}

/// A refusal that every key gets alike is the upstream's failure: no key does better, so the
/// request is tried again as after one, and no more than once.
pub(crate) fn as_everybodys(verdict: Verdict) -> Verdict {
    let effect = Effect::Upstream(Trouble::Server);
    Verdict { effect, action: Action::RetryOnce, ..verdict }
}

/// Whether the request was sent and its fate is unknown, or the server failed over it.
pub(crate) fn may_have_been_carried_out(verdict: &Verdict) -> bool {
    matches!(
        verdict.outcome,
        Outcome::UpstreamError
            | Outcome::UpstreamTimeout
            | Outcome::UpstreamCut
            | Outcome::UpstreamProtocol
    )
}

/// What came of an error's body.
#[derive(Debug)]
pub(crate) struct Read {
    /// At most 64 KiB, and the rest of the last piece.
    pub(crate) body: Bytes,
    pub(crate) end: End,
}

/// Where reading an error's body ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With the body.
    Whole,
    /// More of it comes.
    More,
    /// Before its end: what that means, should what came not say enough.
    Broken(Box<(Verdict, Refusal)>),
}

/// Reads an error's body, up to 64 KiB of it.
pub(crate) async fn read(response: &mut Response<upstream::Answer>, idle: Duration) -> Read {
    let mut body = BytesMut::new();
    let limit = idle.min(ERROR_BODY_TIME);
    let reading = beginning(response.body_mut(), &mut body);
    let end = match tokio::time::timeout(limit, reading).await {
        Ok(Ok(end)) => end,
        Ok(Err(error)) => End::Broken(Box::new(cut(&error))),
        Err(_) => End::Broken(Box::new(failure(&SendError::Timeout(limit)))),
    };
    Read { body: body.freeze(), end }
}

/// What an answer that is none means: an upgrade, for which nobody asked.
pub(crate) fn upgraded() -> (Verdict, Refusal) {
    failure(&SendError::Protocol("it switches protocols though nobody asked".to_owned()))
}

/// Judges an error answer by its status, its headers and the plain text of its body.
pub(crate) fn answer(
    status: StatusCode,
    headers: &HeaderMap,
    text: &[u8],
    kind: UpstreamKind,
    now: Timestamp,
) -> Verdict {
    let value = |name| headers.get(name).map(http::HeaderValue::as_bytes);
    let retry = RetryHeaders {
        retry_after: value(header::RETRY_AFTER.as_str()),
        retry_after_ms: value("retry-after-ms"),
    };
    classify(&Answer { kind, status: status.as_u16(), retry, body: text }, now)
}

async fn beginning(body: &mut upstream::Answer, all: &mut BytesMut) -> Result<End, h1::Error> {
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
        if all.len() > MAX_BODY {
            return Ok(End::More);
        }
    }
    Ok(End::Whole)
}

/// What a failed sending means: the verdict on the attempt, and the answer to the client.
pub(crate) fn failure(error: &SendError) -> (Verdict, Refusal) {
    let (outcome, status, code) = match error {
        SendError::Connect(_) | SendError::NoRoom(_) => {
            (Outcome::ConnectFailed, StatusCode::BAD_GATEWAY, "connect_failed")
        }
        SendError::RequestBody => (Outcome::ClientGone, StatusCode::BAD_REQUEST, "body_broken"),
        SendError::Closed(_) => (Outcome::UpstreamCut, StatusCode::BAD_GATEWAY, "upstream_closed"),
        SendError::Protocol(_) => {
            (Outcome::UpstreamProtocol, StatusCode::BAD_GATEWAY, "upstream_protocol")
        }
        SendError::Timeout(_) => {
            (Outcome::UpstreamTimeout, StatusCode::GATEWAY_TIMEOUT, "upstream_timeout")
        }
    };
    let (mut verdict, refusal) = verdict(outcome, status, code, &error.to_string());
    if let SendError::NoRoom(_) = error {
        // Nobody else is to blame, and others may be served at once.
        verdict.effect = Effect::None;
    }
    (verdict, refusal)
}

fn cut(error: &h1::Error) -> (Verdict, Refusal) {
    let text = format!("the upstream's answer broke off: {error}");
    verdict(Outcome::UpstreamCut, StatusCode::BAD_GATEWAY, "upstream_cut", &text)
}

fn verdict(
    outcome: Outcome,
    status: StatusCode,
    code: &'static str,
    text: &str,
) -> (Verdict, Refusal) {
    let text = display::visible(text);
    let verdict = Verdict { message: Some((*text).into()), ..Verdict::of(outcome) };
    (verdict, Refusal::new(status, code, format!("kmi: {text}.")))
}
