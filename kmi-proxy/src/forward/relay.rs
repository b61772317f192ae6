//! The upstream's answer on its way to the client: its head rebuilt, its body observed.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header, response::Parts};
use http_body_util::Either;
use hyper::Response;
use kmi_core::outcome::Outcome;
use kmi_health::classify::Verdict;

use super::{ReplyBody, attempt::Attempt, files::UploadScan, rewrite::strip_hop_by_hop};
use crate::{
    body::{Coding, Idle, IdleError, Relay, RelayEnd},
    reply,
    upstream::Answer,
    usage_scan::UsageScan,
};

/// Everything that watches one relayed body.
#[derive(Debug)]
pub(crate) struct Observer {
    /// `None` once the attempt has ended.
    attempt: Option<Attempt>,
    /// What the answer means if it comes to its end.
    verdict: Verdict,
    scan: Option<UsageScan>,
    upload: Option<UploadScan>,
}

impl Observer {
    pub(crate) fn new(
        attempt: Attempt,
        verdict: Verdict,
        scan: Option<UsageScan>,
        upload: Option<UploadScan>,
    ) -> Self {
        Self { attempt: Some(attempt), verdict, scan, upload }
    }

    /// For the rest of an answer whose attempt has ended.
    pub(crate) fn of_rest() -> Self {
        let verdict = Verdict::of(Outcome::UpstreamError);
        Self { attempt: None, verdict, scan: None, upload: None }
    }

    fn end(&mut self, verdict: &Verdict) {
        if let Some(mut attempt) = self.attempt.take() {
            attempt.seen.usage = self.scan.as_mut().and_then(UsageScan::finish);
            attempt.end(verdict);
        }
    }
}

impl RelayEnd for Observer {
    fn piece(&mut self, data: &[u8]) {
        if let Some(attempt) = &mut self.attempt {
            attempt.piece(data.len());
        }
        if let Some(scan) = &mut self.scan {
            scan.feed(data);
        }
        if let Some(upload) = &mut self.upload {
            upload.feed(data);
        }
    }

    fn ended(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.first_byte();
        }
        // Before the client has the last byte and can name its file.
        if let Some(upload) = self.upload.take() {
            upload.finish();
        }
        let verdict = self.verdict.clone();
        self.end(&verdict);
    }

    fn broke(&mut self, error: &IdleError) {
        let outcome = match error {
            IdleError::StoodStill(_) => Outcome::UpstreamTimeout,
            IdleError::Broken(_) => Outcome::UpstreamCut,
        };
        let message = Some(error.to_string().into());
        self.end(&Verdict { message, ..Verdict::of(outcome) });
    }
}

impl Drop for Observer {
    /// The client went away, or kmi was stopped: what was counted so far still goes on record.
    fn drop(&mut self) {
        if let (Some(attempt), Some(scan)) = (&mut self.attempt, &mut self.scan) {
            attempt.seen.usage = scan.finish();
        }
    }
}

/// The answer to the client: the upstream's head, rebuilt, and its body as it comes.
pub(crate) fn relay(
    mut parts: Parts,
    head: Bytes,
    body: Idle<Answer>,
    observer: Observer,
) -> Response<ReplyBody> {
    if let Some(attempt) = &observer.attempt {
        rebuild(&mut parts, attempt);
    }
    Response::from_parts(parts, Either::Right(Relay::new(head, body, observer)))
}

/// Takes out what belongs to the upstream's connection or would open kmi to web pages, and adds
/// kmi's own headers.
pub(crate) fn rebuild(parts: &mut Parts, attempt: &Attempt) {
    // An HTTP/1.0 answer would go on as such, and its end could not be told from a cut.
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    strip_hop_by_hop(headers);
    let cors: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in cors {
        headers.remove(name);
    }
    stamp(headers, attempt);
}

/// kmi's own headers.
fn stamp(headers: &mut HeaderMap, attempt: &Attempt) {
    let picked = attempt.picked();
    let text = |text: &str| HeaderValue::from_bytes(text.as_bytes()).ok();
    if let Some(id) = text(&attempt.facts().request_id) {
        headers.insert(reply::X_KMI_REQUEST_ID, id);
    }
    if let Some(label) = text(picked.key.label.as_str()) {
        headers.insert(reply::X_KMI_KEY, label);
    }
    match picked.turn {
        Some(place) => headers.insert(reply::X_KMI_TURN, HeaderValue::from(place.number)),
        None => headers.remove(reply::X_KMI_TURN),
    };
    headers.insert(reply::X_KMI_ATTEMPTS, HeaderValue::from(attempt.number()));
    headers.remove(reply::X_KMI_ERROR);
}

/// Reads an answer's body for token counts: JSON or an event stream, plain or compressed.
pub(crate) fn scan_for(headers: &HeaderMap) -> Option<UsageScan> {
    UsageScan::new(headers.get(header::CONTENT_TYPE)?.as_bytes(), Coding::of(headers)?)
}
