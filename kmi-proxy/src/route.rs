//! Where a path leads below the base path (CONTRACT section 4).

use http::{Method, Uri};

use crate::{home::Token, upstream::Surface};

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// To an upstream.
    Upstream {
        /// Its name; `None` for the default one.
        name: Option<&'a str>,
        /// Which API it speaks.
        surface: Surface,
        /// Path and query below `/v1`, beginning with `/`.
        rest: &'a str,
        /// Whether the path carried the token.
        token: bool,
    },
    /// `HEAD` on a bare prefix: clients look whether somebody is there.
    Bare,
    /// `healthz`.
    Health,
    /// `metrics`.
    Metrics,
    /// The page that shows the trace, and what belongs to it.
    Page {
        /// What follows `…/trace`: nothing, a path, or a query.
        rest: &'a str,
    },
    /// Nowhere.
    Nowhere,
}

/// Finds the way. `base` is the base path without a `/` at its end.
pub(crate) fn route<'a>(method: &Method, uri: &'a Uri, base: &str, token: &Token) -> Route<'a> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let Some(rest) = below(target, base) else { return Route::Nowhere };
    if method == Method::HEAD && bare(rest) {
        return Route::Bare;
    }
    if rest == "/healthz" {
        return Route::Health;
    }
    if below(rest, "/metrics").is_some_and(|rest| !rest.starts_with('/')) {
        return Route::Metrics;
    }
    if let Some(rest) = below(rest, "/trace") {
        return Route::Page { rest };
    }
    let (rest, token) = match rest.strip_prefix("/t/") {
        None => (rest, false),
        Some(after) => {
            let (given, rest) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
            if !token.matches(given.as_bytes()) {
                // Like a request without any token: it goes nowhere, and does not say why.
                return upstream(rest, false);
            }
            if method == Method::HEAD && bare(rest) {
                return Route::Bare;
            }
            (rest, true)
        }
    };
    upstream(rest, token)
}

fn upstream(rest: &str, token: bool) -> Route<'_> {
    let (name, rest) = match rest.strip_prefix("/u/").and_then(|rest| rest.split_once('/')) {
        Some((name, after)) => (Some(name), &rest[rest.len() - after.len() - 1..]),
        None => (None, rest),
    };
    let found = match below(rest, "/anthropic/v1") {
        Some(rest) => Some((Surface::Anthropic, rest)),
        None => below(rest, "/v1").map(|rest| (surface(rest), rest)),
    };
    match found {
        Some((surface, rest)) if rest.starts_with('/') => {
            Route::Upstream { name, surface, rest, token }
        }
        _ => Route::Nowhere,
    }
}

fn surface(rest: &str) -> Surface {
    let messages = below(rest, "/messages").is_some();
    if messages { Surface::Anthropic } else { Surface::OpenAi }
}

/// What follows a prefix, when the prefix ends where a segment ends.
fn below<'a>(target: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = target.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
}

fn bare(rest: &str) -> bool {
    let path = rest.split('?').next().unwrap_or(rest);
    matches!(path, "" | "/" | "/v1" | "/v1/" | "/anthropic" | "/anthropic/")
        || path.strip_prefix("/t/").is_some_and(|t| !t.trim_end_matches('/').contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tok` in a target stands for the right token.
    fn go(method: &Method, target: &str) -> String {
        let target = target.replace("/tok", &format!("/{}", "ab".repeat(32)));
        let uri: Uri = target.parse().unwrap();
        match route(method, &uri, "/kmi-rotor", &Token::new(&[0xab; 32])) {
            Route::Upstream { name, surface, rest, token } => {
                format!("{} {surface:?} {rest} {token}", name.unwrap_or("-"))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_lead_where_the_contract_says() {
        for (target, way) in [
            ("/kmi-rotor/v1/models", "- OpenAi /models false"),
            ("/kmi-rotor/v1/chat/completions?a=b", "- OpenAi /chat/completions?a=b false"),
            ("/kmi-rotor/v1/messages?beta=true", "- Anthropic /messages?beta=true false"),
            ("/kmi-rotor/v1/messages/count_tokens", "- Anthropic /messages/count_tokens false"),
            ("/kmi-rotor/v1/messagesx", "- OpenAi /messagesx false"),
            ("/kmi-rotor/anthropic/v1/messages", "- Anthropic /messages false"),
            ("/kmi-rotor/anthropic/v1/models", "- Anthropic /models false"),
            ("/kmi-rotor/u/open/v1/models", "open OpenAi /models false"),
            ("/kmi-rotor/t/tok/v1/models", "- OpenAi /models true"),
            ("/kmi-rotor/t/tok/u/open/v1/messages", "open Anthropic /messages true"),
            ("/kmi-rotor/t/tok/anthropic/v1/messages", "- Anthropic /messages true"),
            ("/kmi-rotor/t/bad/v1/models", "- OpenAi /models false"),
            ("/kmi-rotor/v1//evil", "- OpenAi //evil false"),
            ("/kmi-rotor/healthz", "Health"),
            ("/kmi-rotor/metrics", "Metrics"),
            ("/kmi-rotor/metrics?x=1", "Metrics"),
            ("/kmi-rotor/metrics/x", "Nowhere"),
            ("/kmi-rotor/trace", "Page { rest: \"\" }"),
            ("/kmi-rotor/trace/feed?after=3", "Page { rest: \"/feed?after=3\" }"),
            ("/kmi-rotor/tracer", "Nowhere"),
            ("/kmi-rotor/t/tok/trace", "Nowhere"),
            ("/kmi-rotor/t/tok/metrics", "Nowhere"),
            ("/kmi-rotor/v1", "Nowhere"),
            ("/kmi-rotor/v1?x=/", "Nowhere"),
            ("/kmi-rotor/v2/models", "Nowhere"),
            ("/kmi-rotorx/v1/models", "Nowhere"),
            ("/", "Nowhere"),
        ] {
            assert_eq!(go(&Method::GET, target), way, "{target}");
        }
    }

    #[test]
    fn a_look_at_the_prefix_is_answered_here() {
        for target in
            ["/kmi-rotor", "/kmi-rotor/", "/kmi-rotor/v1", "/kmi-rotor/t/tok", "/kmi-rotor/t/x/"]
        {
            assert_eq!(go(&Method::HEAD, target), "Bare", "{target}");
            assert_ne!(go(&Method::GET, target), "Bare", "{target}");
        }
        assert_eq!(go(&Method::HEAD, "/kmi-rotor/v1/models"), "- OpenAi /models false");
    }
}
