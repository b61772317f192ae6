//! A request's way: body in, key chosen, sent on, judged, relayed or tried again.
//!
//! Straight down: `intake` → `pick` (the pool) → `rewrite` → upstream → `judge` → `relay`, or once
//! more with the tried keys left out. Only the attempt's guard reports back.

mod attempt;
mod exhausted;
mod facts;
mod files;
mod intake;
pub(crate) mod judge;
pub(crate) mod redact;
mod relay;
mod retry;
pub(crate) mod rewrite;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Request, Response, header, request::Parts};
use http_body_util::{Either, Full};
use hyper::body::Body as _;
use jiff::Timestamp;
use kmi_core::outcome::Outcome;
use kmi_health::{
    board::Exhausted,
    classify::{Effect, Verdict},
};

use self::{
    attempt::{Attempt, Begin},
    facts::Facts,
    files::UploadScan,
    intake::Intake,
    judge::End,
    retry::is_the_upstreams,
    rewrite::Template,
};
pub(crate) use self::{intake::ReplayBudget, relay::Observer};
use crate::{
    body::{Idle, Relay},
    h1::Incoming,
    peek::{Peek, peek},
    pool::{Affinity, NoKey, Pool, Retry, Tried, Wait},
    proxy::{Live, Proxy},
    reply::{self, Refusal},
    settings::OnExhausted,
    upstream::{Sent, Surface, Upstream},
};

/// The body of an answer: kmi's own, or one that is relayed.
pub(crate) type ReplyBody = Either<Full<Bytes>, Relay<Observer>>;

/// Where a request is to go.
#[derive(Debug)]
pub(crate) struct Destination<'a> {
    pub(crate) pool: &'a Arc<Pool>,
    pub(crate) surface: Surface,
    /// Path and query below `/v1`.
    pub(crate) rest: &'a str,
}

/// Sends a request on, and answers it.
pub(crate) async fn forward(
    proxy: &Proxy,
    live: &Live,
    to: Destination<'_>,
    request: Request<Incoming>,
    arrived: Instant,
) -> Response<ReplyBody> {
    match Journey::begin(proxy, live, to, request, arrived).await {
        Ok(mut journey) => journey.travel().await,
        Err(refusal) => refusal.response().map(Either::Left),
    }
}

/// One request on its way, attempt after attempt.
struct Journey<'a> {
    proxy: &'a Proxy,
    live: &'a Live,
    pool: &'a Arc<Pool>,
    surface: Surface,
    upstream: Arc<Upstream>,
    facts: Arc<Facts>,
    intake: Intake<'a>,
    template: Template,
    affinity: Affinity,
    tried: Tried,
    /// Whether it had the one more try that an overloaded engine, a 503 or a failed connection gets.
    had_once_more: bool,
    /// The leave to try again after a failure of the upstream; given back when the request ends.
    leave: Option<Retry>,
    /// What the client is told should no key be left, where the last attempt was refused for no
    /// clear reason.
    unclear: Option<Refusal>,
}

/// What follows from an attempt.
enum Next {
    Answer(Response<ReplyBody>),
    /// Another attempt; the answer is for the case that none can be made.
    Again(Option<Fallback>),
}

/// What the upstream said, kept while another attempt is sought.
struct Fallback {
    answer: Response<ReplyBody>,
    /// It is that the key lacks the model, which holds for that key only.
    lacks_model: bool,
}

impl<'a> Journey<'a> {
    async fn begin(
        proxy: &'a Proxy,
        live: &'a Live,
        to: Destination<'a>,
        request: Request<Incoming>,
        arrived: Instant,
    ) -> Result<Self, Refusal> {
        if live.settings.trace.required && !proxy.sink.is_recording() {
            let refusal = Refusal::cannot_be_recorded();
            let unread = !request.body().is_end_stream();
            return Err(if unread { refusal.closing() } else { refusal });
        }
        let (parts, body) = request.into_parts();
        let intake = Intake::read(body, &proxy.replay, live.settings.proxy.stall_timeout).await?;
        let mut peek = if is_json(&parts) { peek(intake.head()) } else { Peek::default() };
        let named = std::mem::take(&mut peek.files);
        let policy = live.settings.rotation.policy;
        let facts = Facts::new(&parts.method, to.rest, &parts.headers, peek, policy, arrived);
        let affinity = files::affinity(to.pool, &facts, &named)?;
        let upstream = to.pool.upstream();
        let target = upstream
            .target(to.surface, to.rest)
            .ok_or_else(|| Refusal::bad("target_not_allowed", "The target is not a valid path."))?;
        let template = Template::new(parts, to.surface, target, upstream.origin(to.surface).host());
        Ok(Self {
            proxy,
            live,
            pool: to.pool,
            surface: to.surface,
            upstream,
            facts: Arc::new(facts),
            intake,
            template,
            affinity,
            tried: Tried::default(),
            had_once_more: false,
            leave: None,
            unclear: None,
        })
    }

    async fn travel(&mut self) -> Response<ReplyBody> {
        let mut fallback = None;
        loop {
            let attempt = match self.pick().await {
                Ok(attempt) => attempt,
                Err(none) => return self.give_up(none, fallback),
            };
            match self.send(attempt).await {
                Next::Answer(response) => return response,
                Next::Again(answer) => fallback = answer,
            }
            self.pause().await;
        }
    }

    /// No further attempt can be made. A key that lacks the model has not the last word while
    /// another one, which may have it, only rests.
    fn give_up(&self, none: NoKey, fallback: Option<Fallback>) -> Response<ReplyBody> {
        let all_were_tried =
            matches!(none.why, Exhausted::ShortWait { at } if at <= Timestamp::now());
        match (fallback, &self.unclear) {
            (Some(it), _) if !(it.lacks_model && none.model_rests) => it.answer,
            (_, Some(refusal)) if all_were_tried => self.own(refusal),
            _ => self.answer_exhausted(none.why),
        }
    }

    /// The next attempt's key: at once, or after a wait where the settings allow one.
    async fn pick(&self) -> Result<Attempt, NoKey> {
        let rotation = &self.live.settings.rotation;
        let model = self.facts.model.as_deref();
        let pick = |now| self.pool.pick(&self.tried, model, &self.affinity, now);
        let picked = match rotation.on_exhausted {
            OnExhausted::Fail => pick(Timestamp::now())?,
            OnExhausted::Wait => {
                let any_key = self.tried.is_empty() && !matches!(self.affinity, Affinity::File(_));
                let place = if any_key { Wait::InLine } else { Wait::Beside };
                let deadline = (self.facts.arrived + rotation.max_wait).into();
                // Boxed: hardly any request ever waits, and each has room for it otherwise.
                Box::pin(self.pool.waiting().pick(place, deadline, pick)).await?
            }
        };
        let begin = Begin {
            pool: Arc::clone(self.pool),
            sink: self.proxy.sink.clone(),
            phase: self.proxy.phase.clone(),
            facts: Arc::clone(&self.facts),
            picked,
            number: u32::try_from(self.tried.len()).unwrap_or(u32::MAX).saturating_add(1),
        };
        Ok(Attempt::begin(begin))
    }

    async fn send(&mut self, mut attempt: Attempt) -> Next {
        self.tried.add(attempt.picked());
        #[cfg(test)]
        tests::panic_if_asked(&attempt);
        let Some((body, sent)) = self.intake.outgoing() else {
            // `may_go_on` asked for the body before this attempt was made.
            return Next::Answer(
                self.own(&Refusal::bad("body_gone", "The body was already sent.")),
            );
        };
        attempt.sends(sent);
        let request = self.template.with(&attempt.picked().key.secret, body);
        match self.upstream.origin(self.surface).send(request).await {
            Err(error) => self.failed(attempt, judge::failure(&error)),
            Ok(mut sent) => {
                // Before anything else looks at them; an error's are searched for all keys below.
                redact::redact_headers(sent.response.headers_mut(), &attempt.picked().key.secret);
                attempt.seen.connect = sent.connect;
                attempt.seen.status = Some(sent.response.status().as_u16());
                attempt.seen.account = judge::account(sent.response.headers());
                if judge::is_good(sent.response.status()) {
                    self.pool.answered(attempt.picked());
                    return Next::Answer(self.relay(
                        attempt,
                        sent,
                        Bytes::new(),
                        Verdict::of(Outcome::Ok),
                    ));
                }
                // In a box, as are other rare ways: every request's future would have room for it.
                Box::pin(self.refused(attempt, sent)).await
            }
        }
    }

    /// The upstream answered with an error: its body is read (a bounded part of it) and judged.
    async fn refused(&mut self, mut attempt: Attempt, mut sent: Sent) -> Next {
        let (kind, idle) = (self.upstream.settings().kind, self.upstream.settings().idle_timeout);
        if sent.response.status().is_informational() {
            return self.failed(attempt, judge::upgraded());
        }
        let judge::Read { body: head, end } = judge::read(&mut sent.response, idle).await;
        let (bytes, complete) = (head.len() as u64, matches!(end, End::Whole));
        // Before anything else looks at it: its message goes into the trace.
        let key = &attempt.picked().key;
        let pools = self.live.pools.iter().map(|pool| &**pool);
        let clean = redact::redact(sent.response.headers_mut(), head, complete, key, pools);
        let (head, headers) = (clean.body, sent.response.headers());
        attempt.seen.account = judge::account(headers);
        let (status, now) = (sent.response.status(), Timestamp::now());
        let verdict = judge::answer(status, headers, &clean.text, kind, now);
        // A refusal of the key is one as soon as its head is there, whatever becomes of its body.
        if let End::Broken(failure) = end
            && !judge::is_about_the_key(&verdict)
        {
            return self.failed(attempt, *failure);
        }
        let again = self.may_go_on(&verdict);
        let answers_here = complete || judge::is_about_the_key(&verdict);
        if !answers_here && !again {
            // Too long to hold: relayed as it comes.
            return Next::Answer(self.relay(attempt, sent, head, verdict));
        }
        attempt.first_byte();
        attempt.seen.bytes = bytes;
        let (mut parts, rest) = sent.response.into_parts();
        relay::rebuild(&mut parts, &attempt);
        let everybodys = attempt.end(&verdict);
        let verdict = if everybodys { judge::as_everybodys(verdict) } else { verdict };
        let body = if answers_here {
            Either::Left(Full::new(head))
        } else {
            // It waits, for the case that no further attempt can be made.
            let rest = Idle::new(rest, idle);
            Either::Right(Relay::new(head, rest, Observer::of_rest()))
        };
        self.after(&verdict, Response::from_parts(parts, body))
    }

    /// No answer, or none that can be passed on.
    fn failed(&mut self, attempt: Attempt, (verdict, refusal): (Verdict, Refusal)) -> Next {
        attempt.end(&verdict);
        self.after(&verdict, self.own(&refusal))
    }

    /// What follows from a verdict when `answer` is at hand for the client.
    fn after(&mut self, verdict: &Verdict, answer: Response<ReplyBody>) -> Next {
        let about_the_key = judge::is_about_the_key(verdict);
        let lacks_model = verdict.effect == Effect::LacksModel;
        let everybodys = about_the_key && is_the_upstreams(verdict);
        self.unclear = (everybodys || verdict.effect == Effect::Suspect)
            .then(|| Refusal::refused_everywhere(verdict.message.as_deref()));
        if self.may_go_on(verdict) && self.has_leave(verdict) {
            return Next::Again((!about_the_key).then_some(Fallback { answer, lacks_model }));
        }
        if let Some(refusal) = self.unclear.as_ref().filter(|_| everybodys) {
            return Next::Answer(self.own(refusal));
        }
        if about_the_key {
            // A refusal of the pool's key is not the client's business (CONTRACT section 4).
            let (model, now) = (self.facts.model.as_deref(), Timestamp::now());
            let exhausted = self.pool.exhausted_for(&self.affinity, model, now);
            return Next::Answer(self.answer_exhausted(exhausted));
        }
        let others = lacks_model && self.live.settings.rotation.failover;
        if let Some(model) = self.facts.model.as_deref().filter(|_| others)
            && let Some(exhausted) = self.pool.model_rests(model, Timestamp::now())
        {
            return Next::Answer(self.answer_exhausted(exhausted));
        }
        Next::Answer(answer)
    }

    fn relay(
        &self,
        attempt: Attempt,
        sent: Sent,
        head: Bytes,
        verdict: Verdict,
    ) -> Response<ReplyBody> {
        let (parts, body) = sent.response.into_parts();
        let scan = relay::scan_for(&parts.headers).filter(|_| parts.status.is_success());
        files::answered(self.pool, &self.facts, &parts);
        let upload = UploadScan::of(self.pool, &attempt, &parts);
        let observer = Observer::new(attempt, verdict, scan, upload);
        let body = Idle::new(body, self.upstream.settings().idle_timeout);
        relay::relay(parts, head, body, observer)
    }

    fn answer_exhausted(&self, exhausted: Exhausted) -> Response<ReplyBody> {
        let now = Timestamp::now();
        self.own(&match &self.affinity {
            Affinity::File(owner) => files::refusal(self.pool, owner, exhausted, now),
            Affinity::None | Affinity::Session(_) => match self.pool.alone() {
                Some(key) => exhausted::refusal_of_one(key.label.as_str(), exhausted, now),
                None => exhausted::refusal(exhausted, now),
            },
        })
    }

    /// An answer of kmi's own, with the request's id.
    fn own(&self, refusal: &Refusal) -> Response<ReplyBody> {
        let mut response = refusal.response();
        let headers = response.headers_mut();
        if let Ok(id) = self.facts.request_id.parse() {
            headers.insert(reply::X_KMI_REQUEST_ID, id);
        }
        headers.insert(reply::X_KMI_ATTEMPTS, self.tried.len().into());
        response.map(Either::Left)
    }
}

fn is_json(parts: &Parts) -> bool {
    parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().get(..16).is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/json"))
    })
}
