//! One request from its head to the answer's: who asks, what its key's faults say, and what an
//! untroubled Kimi would have said.

use std::{str::FromStr, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request,
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;

use super::{
    account, chat,
    errors::{self, ErrorAnswer},
    messages,
    playback::{BrokenOff, Course, Pieces, Playback},
    record::End,
    route::Endpoint,
    scenario::{Act, Asked, Reply},
    state::{Matched, Prepared, Serving, Shared},
    tool_call,
    wire_tap::Wire,
};

/// Larger requests are refused.
const BODY_LIMIT: usize = 128 << 20;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const SSE: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

type Answer = Result<Response<Playback>, BrokenOff>;

/// Answers one request.
pub(super) async fn answer(
    shared: Arc<Shared>,
    wire: Arc<Wire>,
    request: Request<Incoming>,
) -> Answer {
    let head = wire.take_head();
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        let too_large = errors::MESSAGE_TOO_LARGE.openai_body();
        return Ok(respond(
            413,
            JSON,
            Playback::new(Pieces::One(too_large), Course::default(), None),
        ));
    };
    let body = body.to_bytes();
    wire.expect_head();

    if let Some(own) = about_itself(&shared, &parts) {
        return Ok(own);
    }
    let endpoint = Endpoint::of(&parts.method, parts.uri.path());
    let key = credential(&parts.headers, endpoint).and_then(|secret| shared.key(secret));
    let head = if head.is_empty() { rebuilt(&parts) } else { head };
    let secret = key.map(|key| Arc::clone(&shared.scenario.keys[key].secret));
    let place = shared.log.begin(secret, head, body.clone());
    let serving = shared.serve(key, place);

    let Some(key) = key else {
        let given = credential(&parts.headers, endpoint).is_some();
        let error = if given { errors::KEY_INVALID } else { errors::AUTHENTICATION_INVALID };
        return Ok(refuse(endpoint, &error, serving));
    };
    let said = BodySays::read(endpoint, &body);
    let asked = Asked {
        seq: place.seq,
        key: &shared.scenario.keys[key],
        key_requests: shared.count(key),
        method: parts.method.as_str(),
        path: parts.uri.path(),
        model: said.model.as_deref(),
        stream: said.stream,
        headers: &parts.headers,
        body: &body,
    };
    let decided = shared.scenario.decide.as_ref().and_then(|decide| (decide.0)(&asked));
    let matched = Matched { endpoint, path: asked.path, model: asked.model };
    let fault = shared.fault(key, &matched);
    let work = Work { shared: &shared, key, endpoint, stream: said.stream, body: &body, serving };
    match decided.as_ref().or(fault) {
        Some(act) => work.act(act, &wire).await,
        None => Ok(work.ordinary(&shared.prepared, Course::default())),
    }
}

/// `/__requests` and `/__reset`, which need no key and are not remembered.
fn about_itself(shared: &Shared, parts: &request::Parts) -> Option<Response<Playback>> {
    let value = match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/__requests") => shared.log.to_json(),
        (&Method::POST, "/__reset") => {
            shared.reset();
            serde_json::json!({})
        }
        _ => return None,
    };
    let body = Pieces::One(value.to_string().into());
    Some(respond(200, JSON, Playback::new(body, Course::default(), None)))
}

/// `Authorization: Bearer`, and on the Anthropic surface `x-api-key` as well.
fn credential<'a>(headers: &'a HeaderMap, endpoint: Endpoint<'_>) -> Option<&'a str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let own = if endpoint == Endpoint::Messages { headers.get("x-api-key") } else { None };
    bearer.or_else(|| own.and_then(|value| value.to_str().ok()))
}

/// What the wire tap could not see on its own, from what hyper understood.
fn rebuilt(parts: &request::Parts) -> Bytes {
    let mut head = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri).into_bytes();
    for (name, value) in &parts.headers {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(piece);
        }
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// The two fields of a body that an answer depends on.
#[derive(Debug, Default, Deserialize)]
struct BodySays {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    stream: bool,
}

impl BodySays {
    fn read(endpoint: Endpoint<'_>, body: &[u8]) -> Self {
        if !endpoint.is_inference() {
            return Self::default();
        }
        serde_json::from_slice(body).unwrap_or_default()
    }
}

/// A request with a known key, ready to be answered.
struct Work<'a> {
    shared: &'a Shared,
    key: usize,
    endpoint: Endpoint<'a>,
    stream: bool,
    body: &'a Bytes,
    serving: Serving,
}

impl Work<'_> {
    async fn act(self, act: &Act, wire: &Wire) -> Answer {
        let shared = self.shared;
        let course = match act {
            Act::Answer(shape) => {
                return Ok(self.ordinary(&Prepared::new(shape), Course::default()));
            }
            Act::Close => return self.break_off(),
            Act::Error(error) => return Ok(refuse(self.endpoint, error, self.serving)),
            Act::Reply(reply) => return Ok(spell_out(reply.clone(), self.serving)),
            Act::Reset => {
                wire.reset_at_end();
                return self.break_off();
            }
            Act::CutAfter(pieces) => Course { cut_after: Some(*pieces), ..Course::default() },
            Act::ResetAfter(pieces) => {
                wire.reset_at_end();
                Course { cut_after: Some(*pieces), ..Course::default() }
            }
            Act::SlowHead(wait) => {
                tokio::time::sleep(*wait).await;
                Course::default()
            }
            Act::StallAfter(pieces, lasts) => {
                Course { stall: Some((*pieces, *lasts)), ..Course::default() }
            }
        };
        Ok(self.ordinary(&shared.prepared, course))
    }

    fn break_off(self) -> Answer {
        self.serving.finish(End::Broken);
        Err(BrokenOff)
    }

    fn ordinary(self, prepared: &Prepared, course: Course) -> Response<Playback> {
        let account = &self.shared.scenario.keys[self.key].account;
        if self.endpoint.is_inference() && account::names_foreign_file(self.body, account) {
            return refuse(self.endpoint, &errors::FILE_NOT_FOUND, self.serving);
        }
        let Some(pieces) = self.inference(prepared) else {
            return match account::answer(self.shared, self.key, self.endpoint, self.body) {
                Ok(reply) => spell_out(reply, self.serving),
                Err(error) => refuse(self.endpoint, &error, self.serving),
            };
        };
        let kind = if matches!(pieces, Pieces::Many(_)) { SSE } else { JSON };
        let course = Course { pace: prepared.pace, ..course };
        self.serving.status(200);
        respond(200, kind, Playback::new(pieces, course, Some(self.serving)))
    }

    fn inference(&self, prepared: &Prepared) -> Option<Pieces> {
        let shape = &self.shared.scenario.shape;
        let said = match self.endpoint {
            Endpoint::Chat | Endpoint::Messages => tool_call::said(self.body),
            _ => None,
        };
        Some(match (self.endpoint, self.stream, said) {
            (Endpoint::Chat, true, Some(said)) => chat::stream(shape, &said),
            (Endpoint::Chat, false, Some(said)) => chat::whole(shape, &said),
            (Endpoint::Chat, true, None) => prepared.chat_stream.clone(),
            (Endpoint::Chat, false, None) => prepared.chat.clone(),
            (Endpoint::Messages, true, Some(said)) => messages::stream(shape, &said),
            (Endpoint::Messages, false, Some(said)) => messages::whole(shape, &said),
            (Endpoint::Messages, true, None) => prepared.messages_stream.clone(),
            (Endpoint::Messages, false, None) => prepared.messages.clone(),
            (Endpoint::Responses, true, _) => prepared.responses_stream.clone(),
            (Endpoint::Responses, false, _) => prepared.responses.clone(),
            _ => return None,
        })
    }
}

/// An error in the shape of the surface that was asked.
fn refuse(endpoint: Endpoint<'_>, error: &ErrorAnswer, serving: Serving) -> Response<Playback> {
    let anthropic = endpoint == Endpoint::Messages;
    let body = if anthropic { error.anthropic_body() } else { error.openai_body() };
    let headers = std::iter::once(("content-type".to_owned(), "application/json".to_owned()))
        .chain(error.headers.iter().cloned())
        .collect();
    spell_out(Reply { status: error.status, headers, body }, serving)
}

fn spell_out(reply: Reply, serving: Serving) -> Response<Playback> {
    serving.status(reply.status);
    let body = Playback::new(Pieces::One(reply.body), Course::default(), Some(serving));
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &reply.headers {
        let parsed = (HeaderName::from_str(name), HeaderValue::from_str(value));
        if let (Ok(name), Ok(value)) = parsed {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn respond(status: u16, kind: HeaderValue, body: Playback) -> Response<Playback> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
