//! What is known of a request from its start; its attempts share it.

use std::{
    fmt::Write as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use http::{HeaderMap, HeaderName, Method};
use kmi_core::{display, state::Policy};

use crate::{peek::Peek, pool::Affinity};

/// What is known of a request from its start.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) request_id: Arc<str>,
    pub(crate) session_id: Option<Arc<str>>,
    pub(crate) method: Arc<str>,
    /// Below the upstream's base, without the query, made safe to show.
    pub(crate) path: Arc<str>,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) stream: Option<bool>,
    pub(crate) policy: Policy,
    pub(crate) arrived: Instant,
}

impl Facts {
    pub(crate) fn new(
        method: &Method,
        rest: &str,
        headers: &HeaderMap,
        peek: Peek,
        policy: Policy,
        arrived: Instant,
    ) -> Self {
        let shown = |text: &str| Arc::from(&*display::visible(text));
        let path = rest.split('?').next().unwrap_or(rest);
        let session = peek.session.or_else(|| session_header(headers));
        Self {
            request_id: request_id(),
            session_id: session.as_deref().map(shown),
            method: method_name(method),
            path: shown(path),
            model: peek.model.as_deref().map(shown),
            stream: peek.stream,
            policy,
            arrived,
        }
    }

    /// What ties the request to a key under the policy in force.
    pub(crate) fn session_affinity(&self) -> Affinity {
        match (self.policy, &self.session_id) {
            (Policy::Session, Some(session)) => Affinity::Session(Arc::clone(session)),
            _ => Affinity::None,
        }
    }
}

const SESSION_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("x-claude-code-session-id"),
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("x-session-affinity"),
    HeaderName::from_static("session-id"),
];

/// The session that a client names in a header, in the order of WIRE section 5, item 11.
fn session_header(headers: &HeaderMap) -> Option<String> {
    SESSION_HEADERS.iter().find_map(|name| headers.get(name)?.to_str().ok()).map(str::to_owned)
}

fn method_name(method: &Method) -> Arc<str> {
    static POST: OnceLock<Arc<str>> = OnceLock::new();
    if method == Method::POST {
        return Arc::clone(POST.get_or_init(|| "POST".into()));
    }
    method.as_str().into()
}

/// Unique over restarts: random bits of this process, then a count.
fn request_id() -> Arc<str> {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| getrandom::u32().unwrap_or_else(|_| std::process::id()));
    let mut id = String::with_capacity(24);
    // Writing to a String cannot fail.
    let _ = write!(id, "req-{process:08x}-{:x}", COUNT.fetch_add(1, Ordering::Relaxed) + 1);
    id.into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_body_names_the_session_before_headers_do() {
        let mut headers = HeaderMap::new();
        headers.insert("session-id", HeaderValue::from_static("codex"));
        headers.insert("x-session-id", HeaderValue::from_bytes(b"opencode\xff").unwrap());
        let facts = |peek| {
            let (policy, now) = (Policy::RoundRobin, Instant::now());
            Facts::new(&Method::POST, "/chat/completions?key=secret", &headers, peek, policy, now)
        };
        let named = facts(Peek { session: Some("body\u{1b}".into()), ..Peek::default() });
        assert_eq!(named.session_id.as_deref(), Some("body\\u{1b}"));
        assert_eq!(&*named.path, "/chat/completions", "a query is never stored");
        let header = facts(Peek::default());
        assert_eq!(header.session_id.as_deref(), Some("codex"), "0xff is no ASCII");
        assert_ne!(named.request_id, header.request_id);
    }
}
