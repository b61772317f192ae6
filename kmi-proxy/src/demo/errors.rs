//! Kimi's refusals, word for word as WIRE.md section 3 has them: one constant a row.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::json;

/// An error of Kimi's, without the shape of the surface that it is sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// The status.
    pub status: u16,
    /// `error.type` on the OpenAI-style surface.
    pub kind: Cow<'static, str>,
    /// `error.message`.
    pub message: Cow<'static, str>,
    /// Further headers; live 429s have no `Retry-After`.
    pub headers: Vec<(String, String)>,
}

impl ErrorAnswer {
    /// An error with a fixed text.
    pub const fn new(status: u16, kind: &'static str, message: &'static str) -> Self {
        let (kind, message) = (Cow::Borrowed(kind), Cow::Borrowed(message));
        Self { status, kind, message, headers: Vec::new() }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with another message, for texts that name a number or a model.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Cow::Owned(message.into());
        self
    }

    /// Whether it says that the account's quota or money is spent.
    pub fn is_quota(&self) -> bool {
        self.kind == "exceeded_current_quota_error" || self.message.contains("usage limit")
    }

    /// The body on the OpenAI-style surface.
    pub fn openai_body(&self) -> Bytes {
        json!({"error": {"message": self.message, "type": self.kind}}).to_string().into()
    }

    /// The body on the Anthropic surface, which has its own names for types.
    pub fn anthropic_body(&self) -> Bytes {
        let kind = match self.status {
            400 | 402 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            _ => "api_error",
        };
        json!({"type": "error", "error": {"type": kind, "message": self.message}})
            .to_string()
            .into()
    }
}

/// One constant: its documentation says when Kimi sends it.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $kind:literal, $message:literal;)*) => {
        $($(#[$doc])* pub const $name: ErrorAnswer = ErrorAnswer::new($status, $kind, $message);)*

        /// Every error, by the name of its constant.
        pub const ALL: &[(&str, ErrorAnswer)] = &[$((stringify!($name), $name)),*];
    };
}

errors! {
    // Kimi Code (WIRE section 3.1)
    /// The key is revoked or mistyped.
    KEY_INVALID = 401, "invalid_authentication_error",
        "The API Key appears to be invalid or may have expired. Please verify your credentials and try again.";
    /// No credential, or one of another site.
    AUTHENTICATION_INVALID = 401, "invalid_authentication_error", "Invalid Authentication";
    /// Usually passes by itself; may be a lapsed membership.
    MEMBERSHIP_UNVERIFIED = 402, "invalid_request_error",
        "We're unable to verify your membership benefits at this time. Please ensure your membership is active.";
    /// The billing cycle's quota is spent.
    CYCLE_SPENT = 403, "access_terminated_error",
        "You've reached your usage limit for this billing cycle. Your quota will be refreshed in the next cycle.";
    /// The week's quota is spent.
    WEEK_SPENT = 403, "access_terminated_error",
        "You've reached your weekly (7-day) usage limit. Your quota will be refreshed in the next cycle.";
    /// The month's quota is spent.
    MONTH_SPENT = 403, "access_terminated_error",
        "You've reached your monthly usage limit. Your quota will be refreshed in the next cycle.";
    /// Too many requests of the account at once.
    CONCURRENCY = 403, "access_terminated_error",
        "You've reached your concurrent request limit. Please wait for your ongoing requests to finish and try again.";
    /// The client's User-Agent is not on the list; no key can help.
    CLIENT_NOT_ALLOWED = 403, "access_terminated_error",
        "Kimi For Coding is currently only available for Coding Agents such as Kimi CLI, Claude Code, Roo Code, Kilo Code, etc.";
    /// The account is banned.
    TERMINATED = 403, "access_terminated_error", "Access terminated";
    /// The engine is busy; says nothing about the key.
    ENGINE_OVERLOADED = 429, "engine_overloaded_error",
        "The engine is currently overloaded, please try again later";
    /// A burst of the account.
    TOO_MANY_REQUESTS = 429, "rate_limit_reached_error",
        "We're receiving too many requests at the moment. Please wait a moment and try again.";
    /// The 5-hour window is spent.
    PERIOD_SPENT = 429, "rate_limit_reached_error",
        "You've reached your usage limit for this period. Your quota will be refreshed in the next cycle.";
    /// The month's quota of all Kimi products is spent.
    KIMI_MONTH_SPENT = 429, "exceeded_current_quota_error",
        "You've reached kimi monthly usage limit for this billing cycle.";
    /// The request is too large.
    MESSAGE_TOO_LARGE = 400, "invalid_request_error",
        "total message size 2097153 exceeds limit 2097152";
    /// The prompt has too many tokens.
    CONTEXT_TOO_LONG = 400, "invalid_request_error",
        "Invalid request: Your request exceeded model token limit: 262144";
    /// A later turn came without the thinking before it.
    REASONING_MISSING = 400, "invalid_request_error",
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2";
    /// The content filter refused.
    HIGH_RISK = 400, "content_filter",
        "The request was rejected because it was considered high risk";
    /// The plan of this key lacks the model, or there is none of that name.
    MODEL_NOT_FOUND = 404, "resource_not_found_error",
        "Not found the model k3 or Permission denied";
    /// The path does not exist.
    METHOD_NOT_FOUND = 404, "resource_not_found_error", "method not found";
    /// A file of another account, or none at all.
    FILE_NOT_FOUND = 400, "invalid_request_error", "Invalid request: file not found";
    /// A banned account, hidden in a 500.
    ACCOUNT_BANNED = 500, "server_error",
        "unauthenticated: failed_precondition: 账号已被暂时禁用";
    /// An account that does not exist, hidden in a 500.
    ACCOUNT_UNKNOWN = 500, "server_error", "not_found: 未找到该账号";
    /// The membership database did not answer.
    DATABASE_TIMEOUT = 500, "server_error",
        "failed to connect to `user=membership database=membership_prod`: i/o timeout";
    /// The gateway has no server.
    UNAVAILABLE = 503, "server_error", "The service is temporarily unavailable";

    // Open Platform (WIRE section 3.2)
    /// A dead key, or one of the other site.
    OPEN_KEY_INCORRECT = 401, "incorrect_api_key_error", "Incorrect API key provided";
    /// The API is not open to this key.
    OPEN_NOT_OPEN = 403, "permission_denied_error", "The API you are accessing is not open";
    /// The organization allows other addresses only.
    OPEN_ADDRESS_REFUSED = 403, "permission_denied_error",
        "Your IP is not allowed to access this organization";
    /// Out of money.
    OPEN_INACTIVE = 403, "exceeded_current_quota_error",
        "Your account org-standin<ak-standin> is not active, current state: suspended, please check your plan and billing details";
    /// Out of money.
    OPEN_SUSPENDED = 429, "exceeded_current_quota_error",
        "Your account org-standin<ak-standin> is suspended due to insufficient balance, please recharge your account";
    /// The account's tokens are spent.
    OPEN_TOKENS_SPENT = 429, "exceeded_current_quota_error",
        "You exceeded your current token quota: <org-standin> 500000, please check your account balance";
    /// Too many requests at once.
    OPEN_CONCURRENCY = 429, "rate_limit_reached_error",
        "Your account org-standin<ak-standin> request reached organization max concurrency: 1, please try again after 1 seconds";
    /// Too many requests in a minute.
    OPEN_RPM = 429, "rate_limit_reached_error",
        "Your account org-standin<ak-standin> request reached organization max RPM: 3, please try again after 1 seconds";
    /// Too many tokens in a minute.
    OPEN_TPM = 429, "rate_limit_reached_error",
        "Your account org-standin<ak-standin> request reached organization TPM rate limit, current:500001, limit:500000";
    /// Too many tokens in a day.
    OPEN_TPD = 429, "rate_limit_reached_error",
        "Your account org-standin<ak-standin> request reached organization TPD rate limit, current:1500001, limit:1500000";
    /// Something broke.
    OPEN_SERVER_ERROR = 500, "server_error", "The server had an error while processing your request";
    /// The model said something that could not be read.
    OPEN_UNEXPECTED_OUTPUT = 500, "unexpected_output", "invalid state transition";
}
