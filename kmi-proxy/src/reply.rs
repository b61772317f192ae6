//! Every answer that kmi itself gives, in the shape that Kimi's clients read.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use kmi_core::display::visible;

/// The code of an answer of kmi's own.
pub const X_KMI_ERROR: HeaderName = HeaderName::from_static("x-kmi-error");
/// The request's id.
pub const X_KMI_REQUEST_ID: HeaderName = HeaderName::from_static("x-kmi-request-id");
/// The label of the key that served.
pub const X_KMI_KEY: HeaderName = HeaderName::from_static("x-kmi-key");
/// The turn that served.
pub const X_KMI_TURN: HeaderName = HeaderName::from_static("x-kmi-turn");
/// How many attempts the request took.
pub const X_KMI_ATTEMPTS: HeaderName = HeaderName::from_static("x-kmi-attempts");

/// An answer of kmi's own that is an error: a status, a code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    kind: &'static str,
    message: String,
    retry_after: Option<u64>,
    should_retry: Option<bool>,
    close: bool,
    allow: &'static str,
}

impl Refusal {
    /// A refusal whose type follows from its status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let kind = match status.as_u16() {
            401 => "invalid_authentication_error",
            403 => "permission_denied_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let message = message.into();
        let (retry_after, should_retry, close) = (None, None, false);
        Self { status, code, kind, message, retry_after, should_retry, close, allow: ALLOW }
    }

    /// 400, and the connection is closed: what follows on it cannot be trusted.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message).closing()
    }

    /// Closes the connection after the answer.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The request carries no token, or a wrong one.
    pub fn token_required() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "token_required",
            "kmi needs its client token as the API key: run the client by `kmi run -- CMD`, or set what `kmi env` prints.",
        )
    }

    /// Nothing of kmi's is at this path.
    pub fn not_found(base: &str) -> Self {
        let message = format!("Nothing is here; the API is below {base}/v1/.");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// No upstream has this name.
    pub fn unknown_upstream(name: &str) -> Self {
        let name = visible(name);
        let message = format!("No upstream is called `{name}`; `kmi config show` lists them.");
        Self::new(StatusCode::NOT_FOUND, "unknown_upstream", message)
    }

    /// What is here can be read and nothing else.
    pub fn only_reading() -> Self {
        let message = "This can only be read (GET).";
        let mut refusal =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).closing();
        refusal.allow = "GET, HEAD";
        refusal
    }

    /// The proxy is starting or stopping, or its ledger cannot be read.
    pub fn not_now() -> Self {
        let message = "kmi cannot tell this now; try again in a moment, or look at `kmi status`.";
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_now", message);
        refusal.retry_after = Some(1);
        refusal
    }

    /// There are enough watchers.
    pub(crate) fn cannot_watch(refused: crate::feed::Refused) -> Self {
        let message = format!("The trace cannot be watched: {refused}.");
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "cannot_watch", message);
        refusal.retry_after = Some(5);
        refusal
    }

    /// The trace has no such attempt, or not any more.
    pub fn not_in_the_trace() -> Self {
        let message = "The trace has no such attempt, or not any more.";
        Self::new(StatusCode::NOT_FOUND, "not_in_the_trace", message)
    }

    /// No key is left for this request; the soonest will be usable in `seconds`, 0 for one that was
    /// not tried because enough others were.
    pub fn all_must_wait(seconds: u64) -> Self {
        let message = if seconds == 0 {
            "The Kimi keys that were tried refuse this request; another one is usable, so send it again. `rotation.failover` and `rotation.max_attempts` say how many are tried; of a request over 16 MiB (4 MiB in chunks) it is one.".to_owned()
        } else {
            format!(
                "All Kimi keys are at their rate limit; the next one is free in {seconds} s. `kmi status` shows them."
            )
        };
        let mut refusal =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "all_keys_rate_limited", message);
        refusal.kind = "rate_limit_reached_error";
        refusal.retry_after = Some(seconds.max(1));
        refusal
    }

    /// Every key's quota or balance is spent. Clients stop at once at this type (WIRE section 2.1).
    pub fn quota_spent(until: Option<jiff::Timestamp>) -> Self {
        let when = until
            .map_or_else(String::new, |until| format!(" The first is tried again at {until:.0}."));
        let message = format!(
            "The quota of all Kimi keys is spent.{when} Add a key with `kmi keys add`, or see `kmi status`."
        );
        let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "all_keys_exhausted", message);
        refusal.kind = "exceeded_current_quota_error";
        refusal.should_retry = Some(false);
        refusal
    }

    /// The account of the files that a request names must wait; no other account has them.
    pub fn file_account_must_wait(key: &str, seconds: u64) -> Self {
        let message = format!(
            "The uploaded file that this request names is with the account of key `{key}`, which is at its limit for {seconds} s more."
        );
        let mut refusal =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "file_account_unavailable", message);
        refusal.kind = "rate_limit_reached_error";
        refusal.retry_after = Some(seconds.max(1));
        refusal
    }

    /// The account of the files that a request names cannot serve; no other account has them.
    pub fn file_account_unavailable(key: &str, until: Option<jiff::Timestamp>) -> Self {
        let when = until.map_or_else(String::new, |until| format!(" before {until:.0}"));
        let message = format!(
            "The uploaded file that this request names is with the account of key `{key}`, and no key of that account can serve it{when}. See `kmi status`, or upload the file again in a new conversation."
        );
        let mut refusal = Self::new(StatusCode::CONFLICT, "file_account_unavailable", message);
        refusal.should_retry = Some(false);
        refusal
    }

    /// A request names files of several accounts, and no account has them all.
    pub fn files_of_several_accounts() -> Self {
        let mut refusal = Self::new(
            StatusCode::CONFLICT,
            "files_of_several_accounts",
            "This request names files that were uploaded to different accounts, and none has them all. Upload them again in a new conversation with one key (`kmi rotate`).",
        );
        refusal.should_retry = Some(false);
        refusal
    }

    /// The provider refuses every key alike, in words that are no key's fault.
    pub fn refused_everywhere(words: Option<&str>) -> Self {
        let said = words.map_or_else(|| "none".to_owned(), |words| format!("“{words}”"));
        Self::no_key(format!(
            "Kimi refuses every key alike, so kmi blocks none for it, and the next request tries again. Its words: {said}."
        ))
    }

    /// No key works; `until`: not before then.
    pub fn none_working(until: Option<jiff::Timestamp>) -> Self {
        let when = until.map_or_else(String::new, |until| format!(" before {until:.0}"));
        Self::no_key(format!(
            "No Kimi key works{when}. `kmi status` shows why; add one with `kmi keys add`."
        ))
    }

    /// The trace cannot be written, and without it nothing is to be served (`trace.required`).
    pub fn cannot_be_recorded() -> Self {
        let message = "The trace cannot be written (disk full?) and `trace.required` is set; see `kmi status`.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "cannot_be_recorded", message)
    }

    /// No key can serve, whatever the reason.
    fn no_key(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_usable_key", message)
    }

    /// The same in other words.
    #[must_use]
    pub fn with_message(self, message: String) -> Self {
        Self { message, ..self }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code for programs.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The answer as it goes to the client.
    pub fn response(&self) -> Response<Full<Bytes>> {
        // Anthropic's clients look for the outer type, OpenAI's for the rest.
        let error = serde_json::json!({
            "type": "error",
            "error": { "message": self.message, "type": self.kind, "code": self.code }
        });
        let mut response = json(self.status, &error);
        let headers = response.headers_mut();
        headers.insert(X_KMI_ERROR, HeaderValue::from_static(self.code));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(retry) = self.should_retry {
            let value = HeaderValue::from_static(if retry { "true" } else { "false" });
            headers.insert(HeaderName::from_static("x-should-retry"), value);
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static(self.allow));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Tells browsers and caches to keep an answer to themselves: not stored, not guessed at, not
/// shown to other sites, and no word of where it was.
pub(crate) fn private(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The answer to OPTIONS: what may be sent, and nothing that would let a web page send it.
pub fn options() -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOW));
    response
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A JSON answer.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    json_text(status, value.to_string())
}

/// A JSON answer that is written already.
pub fn json_text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(refusal: &Refusal) -> String {
        let (parts, body) = refusal.response().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut headers: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        format!("{}\n{}\n{}", parts.status, headers.join("\n"), String::from_utf8_lossy(&body))
    }

    #[tokio::test]
    async fn an_exhausted_pool_stops_the_storm() {
        insta::assert_snapshot!(text(&Refusal::all_must_wait(7)).await, @r#"
        429 Too Many Requests
        cache-control: no-store
        content-type: application/json
        retry-after: 7
        x-kmi-error: all_keys_rate_limited
        {"error":{"code":"all_keys_rate_limited","message":"All Kimi keys are at their rate limit; the next one is free in 7 s. `kmi status` shows them.","type":"rate_limit_reached_error"},"type":"error"}
        "#);
        let until = jiff::Timestamp::from_second(1_795_000_000).unwrap();
        insta::assert_snapshot!(text(&Refusal::quota_spent(Some(until))).await, @r#"
        429 Too Many Requests
        cache-control: no-store
        content-type: application/json
        x-kmi-error: all_keys_exhausted
        x-should-retry: false
        {"error":{"code":"all_keys_exhausted","message":"The quota of all Kimi keys is spent. The first is tried again at 2026-11-18T11:06:40Z. Add a key with `kmi keys add`, or see `kmi status`.","type":"exceeded_current_quota_error"},"type":"error"}
        "#);
    }

    #[tokio::test]
    async fn what_cannot_be_trusted_closes_the_connection() {
        insta::assert_snapshot!(text(&Refusal::bad("ambiguous_framing", "No.")).await, @r#"
        400 Bad Request
        cache-control: no-store
        connection: close
        content-type: application/json
        x-kmi-error: ambiguous_framing
        {"error":{"code":"ambiguous_framing","message":"No.","type":"invalid_request_error"},"type":"error"}
        "#);
    }
}
