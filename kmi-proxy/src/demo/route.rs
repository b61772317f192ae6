//! Which endpoint a request means: Kimi Code lives below `/coding/v1`, Open Platform below `/v1`,
//! its Anthropic surface below `/anthropic/v1`. Any other path is no endpoint, so that a proxy
//! that maps paths wrongly is found out.

use http::Method;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    Balance,
    Chat,
    Embeddings,
    EstimateTokens,
    Fetch,
    File(&'a str),
    Files,
    Me,
    Messages,
    Models,
    Other,
    Responses,
    Search,
    Unknown,
    Upload,
    Usages,
}

impl<'a> Endpoint<'a> {
    pub(super) fn of(method: &Method, path: &'a str) -> Self {
        let (base, rest) = if let Some(rest) = path.strip_prefix("/coding/v1/") {
            (Base::Coding, rest)
        } else if let Some(rest) = path.strip_prefix("/anthropic/v1/") {
            (Base::Anthropic, rest)
        } else if let Some(rest) = path.strip_prefix("/v1/") {
            (Base::Open, rest)
        } else {
            return Self::Unknown;
        };
        let coding = base == Base::Coding;
        match (method.as_str(), rest) {
            ("POST", "messages") if base != Base::Open => Self::Messages,
            _ if base == Base::Anthropic => Self::Unknown,
            ("POST", "chat/completions") => Self::Chat,
            ("POST", "embeddings") => Self::Embeddings,
            ("POST", "files") => Self::Upload,
            ("POST", "responses") => Self::Responses,
            ("POST", "tokenizers/estimate-token-count") => Self::EstimateTokens,
            ("POST", "fetch") if coding => Self::Fetch,
            ("POST", "search") if coding => Self::Search,
            ("POST", "client_configs" | "resource_configs" | "feedback" | "tools") if coding => {
                Self::Other
            }
            ("GET" | "HEAD", "models") => Self::Models,
            ("GET", "me") if coding => Self::Me,
            ("GET", "usages") if coding => Self::Usages,
            ("GET", "users/me/balance") if base == Base::Open => Self::Balance,
            ("GET", "files") => Self::Files,
            ("GET" | "DELETE", _) => match rest.strip_prefix("files/") {
                Some(id) => Self::File(id),
                None => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// Whether an answer costs tokens.
    pub(super) fn is_inference(self) -> bool {
        matches!(self, Self::Chat | Self::Embeddings | Self::Messages | Self::Responses)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Anthropic,
    Coding,
    Open,
}
