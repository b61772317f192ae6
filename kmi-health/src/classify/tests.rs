use super::{Meaning::*, QuotaWindow::*, table::TABLE, *};
use crate::UpstreamKind::{KimiCode, OpenAi, OpenPlatform};

const NOW: &str = "2026-05-03T11:00:48Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn judge(kind: UpstreamKind, status: u16, body: &str) -> Verdict {
    let answer = Answer { kind, status, retry: RetryHeaders::default(), body: body.as_bytes() };
    classify(&answer, now())
}

fn openai(kind: &str, message: &str) -> String {
    serde_json::json!({ "error": { "message": message, "type": kind } }).to_string()
}

fn anthropic(kind: &str, message: &str) -> String {
    serde_json::json!({ "type": "error", "error": { "type": kind, "message": message } })
        .to_string()
}

/// Real bodies, row by row in the order of WIRE section 3.
#[rustfmt::skip]
const CASES: &[(UpstreamKind, u16, &str, &str, Meaning)] = &[
    // 3.1 Kimi Code
    (KimiCode, 401, "invalid_authentication_error", "The API Key appears to be invalid or may have expired. Please verify your credentials and try again.", UnknownKey),
    (KimiCode, 401, "invalid_authentication_error", "Invalid Authentication", UnknownKey),
    (KimiCode, 401, "authentication_error", "The API Key appears to be invalid or may have expired.", UnknownKey),
    (KimiCode, 402, "invalid_request_error", "We're unable to verify your membership benefits at this time. Please ensure your membership is active.", Membership),
    (KimiCode, 403, "access_terminated_error", "You've reached your usage limit for this billing cycle. Your quota will be refreshed in the next cycle. Upgrade to get more: https://www.kimi.com/code", Spent(Unnamed)),
    (KimiCode, 403, "access_terminated_error", "You've reached your weekly (7-day) usage limit.", Spent(Week)),
    (KimiCode, 403, "permission_error", "You've reached your monthly usage limit.", Spent(Month)),
    (KimiCode, 403, "access_terminated_error", "You've reached your concurrent request limit. Please wait for your ongoing requests to finish", TooManyAtOnce),
    (KimiCode, 403, "access_terminated_error", "Kimi For Coding is currently only available for Coding Agents such as Kimi CLI, Claude Code, Roo Code, Kilo Code, etc.", Request),
    (KimiCode, 403, "permission_error", "Kimi For Coding is currently only available for Coding Agents such as Kimi CLI, Claude Code, Roo Code, Kilo Code, etc.", Request),
    (KimiCode, 403, "access_terminated_error", "Access terminated", AccountClosed),
    (KimiCode, 403, "", "(security_risk) the requested URL poses a security risk", Request),
    (KimiCode, 429, "engine_overloaded_error", "The engine is currently overloaded, please try again later", Engine),
    (KimiCode, 429, "rate_limit_error", "The engine is currently overloaded, please try again later", Engine),
    (KimiCode, 429, "rate_limit_reached_error", "We're receiving too many requests at the moment. Please wait a moment and try again.", TooFast),
    (KimiCode, 429, "rate_limit_error", "We're receiving too many requests at the moment.", TooFast),
    (KimiCode, 429, "", "You've reached your usage limit for this period. Your quota will be reset soon.", Spent(FiveHours)),
    (KimiCode, 429, "exceeded_current_quota_error", "You've reached kimi monthly usage limit for this billing cycle", Spent(Month)),
    (KimiCode, 400, "invalid_request_error", "total message size 3145728 exceeds limit 2097152", Request),
    (KimiCode, 400, "invalid_request_error", "Invalid request: Your request exceeded model token limit: 262144", Request),
    (KimiCode, 400, "invalid_request_error", "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2", Request),
    (KimiCode, 400, "invalid_request_error", "unsupported image url", Request),
    (KimiCode, 400, "invalid_request_error", "function name plan is duplicated", Request),
    (KimiCode, 400, "content_filter", "The request was rejected because it was considered high risk", Request),
    (KimiCode, 404, "resource_not_found_error", "Not found the model k3 or Permission denied", NoSuchModel),
    (KimiCode, 404, "not_found_error", "Not found the model kimi-highspeed or Permission denied", NoSuchModel),
    (KimiCode, 404, "", "method not found", Request),
    (KimiCode, 499, "", "context canceled", ClientLeft),
    (KimiCode, 500, "", "unauthenticated: failed_precondition: 您的账号已被禁用", AccountClosed),
    (KimiCode, 500, "", "unauthenticated: failed_precondition: 您的账号已被暂时禁用", AccountPaused),
    (KimiCode, 500, "", "unauthenticated: failed_precondition: 您的账号已被禁言", AccountClosed),
    (KimiCode, 500, "", "unauthenticated: failed_precondition: 您的账号已被暂时禁言", AccountPaused),
    (KimiCode, 500, "", "not_found: 未找到该账号", AccountClosed),
    (KimiCode, 500, "", "database=membership_benefit: query failed", Server),
    (KimiCode, 500, "", "read tcp 10.0.0.1:443: i/o timeout", Server),
    (KimiCode, 502, "", "driver: bad connection", Server),
    (KimiCode, 503, "", "service unavailable", Unavailable),
    (KimiCode, 504, "", "gateway timeout", Server),
    (KimiCode, 529, "overloaded_error", "Overloaded", Engine),
    // 3.2 Open Platform
    (OpenPlatform, 400, "content_filter", "The request was rejected because it was considered high risk", Request),
    (OpenPlatform, 400, "invalid_request_error", "Input token length too long", Request),
    (OpenPlatform, 401, "invalid_authentication_error", "Invalid Authentication", UnknownKey),
    (OpenPlatform, 401, "incorrect_api_key_error", "Incorrect API key provided", UnknownKey),
    (OpenPlatform, 403, "permission_denied_error", "The API you are accessing is not open", Request),
    (OpenPlatform, 403, "permission_denied_error", "You are not allowed to get other user info", Request),
    (OpenPlatform, 403, "permission_denied_error", "Your IP is not allowed to access this organization", NotFromHere),
    (OpenPlatform, 403, "exceeded_current_quota_error", "Your account org-0123456789 is not active, current state: suspended, please check your plan and billing details", NoMoney),
    (OpenPlatform, 404, "resource_not_found_error", "Not found the model kimi-k9 or Permission denied", NoSuchModel),
    (OpenPlatform, 429, "engine_overloaded_error", "The engine is currently overloaded, please try again later", Engine),
    (OpenPlatform, 429, "exceeded_current_quota_error", "Your account org-0123456789<ak-0123456789> is suspended due to insufficient balance, please recharge your account or check your plan and billing details", NoMoney),
    (OpenPlatform, 429, "exceeded_current_quota_error", "You exceeded your current token quota: <org-0123456789> 0, please check your account balance", NoMoney),
    (OpenPlatform, 429, "rate_limit_reached_error", "Your account org-0123456789<ak-0123456789> request reached organization max concurrency: 3, please try again after 1 seconds", TooManyAtOnce),
    (OpenPlatform, 429, "rate_limit_reached_error", "Your account org-0123456789<ak-0123456789> request reached organization max RPM: 3, please try again after 1 seconds", TooFast),
    (OpenPlatform, 429, "rate_limit_reached_error", "Your account org-0123456789<ak-0123456789> request reached organization TPM rate limit, current:70000, limit:64000", TokensPerMinute),
    (OpenPlatform, 429, "rate_limit_reached_error", "Your account org-0123456789<ak-0123456789> request reached project TPD rate limit, current:1500001, limit:1500000", Spent(Day)),
    (OpenPlatform, 500, "server_error", "The server had an error while processing your request", Server),
    (OpenPlatform, 500, "unexpected_output", "invalid state transition", Server),
    // The same words in places where WIRE did not see them
    (KimiCode, 402, "", "Insufficient balance, please recharge", NoMoney),
    (KimiCode, 429, "overloaded_error", "Overloaded", Engine),
    (KimiCode, 429, "rate_limit_error", "You've reached your weekly usage limit", Spent(Week)),
    (KimiCode, 429, "rate_limit_error", "You've reached your usage limit.", Spent(Unnamed)),
    // Generic OpenAI
    (OpenAi, 401, "invalid_request_error", "Incorrect API key provided: sk-abcde***wxyz.", UnknownKey),
    (OpenAi, 401, "account_deactivated", "The OpenAI account associated with this API key has been deactivated.", AccountClosed),
    (OpenAi, 402, "", "Payment Required", NoMoney),
    (OpenAi, 403, "unsupported_country_region_territory", "Country, region, or territory not supported", Request),
    (OpenAi, 404, "model_not_found", "The model `gpt-9` does not exist or you do not have access to it.", NoSuchModel),
    (OpenAi, 429, "insufficient_quota", "You exceeded your current quota, please check your plan and billing details.", NoMoney),
    (OpenAi, 429, "requests", "Rate limit reached for gpt-4o in organization org-0123456789 on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.", TooFast),
    (OpenAi, 429, "tokens", "Rate limit reached for gpt-4o in organization org-0123456789 on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.", TokensPerMinute),
    (OpenAi, 503, "server_error", "The engine is currently overloaded, please try again later", Engine),
    // Words nobody knows: by type, then by status, never to an end that only the user can undo
    (KimiCode, 401, "invalid_authentication_error", "Nope", UnknownKey),
    (KimiCode, 401, "", "what is this", UnclearRefusal),
    (KimiCode, 402, "", "", Membership),
    (KimiCode, 403, "access_terminated_error", "a new sentence", OddRefusal),
    (KimiCode, 403, "", "a new sentence", Request),
    (KimiCode, 403, "", "Access terminated", OddRefusal),
    (KimiCode, 404, "", "", Request),
    (KimiCode, 418, "", "", Request),
    (KimiCode, 429, "", "", TooFast),
    (KimiCode, 429, "exceeded_current_quota_error", "a new sentence", Spent(Unnamed)),
    (OpenPlatform, 429, "exceeded_current_quota_error", "a new sentence", NoMoney),
    (OpenPlatform, 403, "exceeded_current_quota_error", "a new sentence", NoMoney),
    (KimiCode, 403, "exceeded_current_quota_error", "a new sentence", Spent(Unnamed)),
    (KimiCode, 500, "", "", Server),
    (KimiCode, 999, "", "", Server),
];

#[test]
fn each_row_means_what_wire_says() {
    assert!(CASES.len() >= 40);
    for (kind, status, ty, message, meaning) in CASES {
        for body in [openai(ty, message), anthropic(ty, message)] {
            let expected = meaning.verdict(retry_after::in_text(message), now());
            let verdict = judge(*kind, *status, &body);
            assert_eq!(
                (verdict.outcome, verdict.effect, verdict.action),
                (expected.outcome, expected.effect, expected.action),
                "{status} {ty} {message} should mean {meaning:?}"
            );
        }
    }
}

/// A row that no case reaches is either dead or untested.
#[test]
fn each_row_of_the_table_is_reached() {
    let fits = |case: &(UpstreamKind, u16, &str, &str, Meaning)| {
        let error = KimiError { kind: case.2.into(), code: String::new(), message: case.3.into() };
        table::row(case.0, case.1, &error)
    };
    let mut reached: Vec<_> = CASES.iter().filter_map(fits).collect();
    reached.sort_unstable();
    reached.dedup();
    let missing: Vec<_> = (0..TABLE.len()).filter(|row| !reached.contains(row)).collect();
    assert_eq!(missing, Vec::<usize>::new(), "rows without a case");
}

#[test]
fn codes_count_as_types() {
    let body =
        r#"{"error":{"message":"?","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    assert_eq!(judge(OpenAi, 401, body).effect, UnknownKey.verdict(None, now()).effect);
}

#[test]
fn what_becomes_of_the_request() {
    let action = |status, message| judge(KimiCode, status, &openai("", message)).action;
    assert_eq!(action(401, ""), Action::NextKey);
    assert_eq!(action(429, ""), Action::NextKey);
    assert_eq!(action(403, "reached your concurrent request limit"), Action::NextKey);
    assert_eq!(action(503, ""), Action::RetryOnce);
    assert_eq!(action(429, "The engine is currently overloaded"), Action::RetryOnce);
    for status in [400, 404, 408, 409, 413, 422, 499, 500, 502, 504, 599, 999] {
        assert_eq!(action(status, ""), Action::PassThrough, "{status}");
    }
}

#[test]
fn good_answers_are_not_read() {
    let body = openai("access_terminated_error", "Access terminated");
    for status in [200, 201, 204, 302, 304] {
        assert_eq!(judge(KimiCode, status, &body), Verdict::of(Outcome::Ok));
    }
}

#[test]
fn words_of_a_prompt_in_an_error_are_no_refusal() {
    for words in ["plan", "quota", "Access terminated", "insufficient balance", "账号已被禁用"]
    {
        for status in [400, 413, 422] {
            let body = openai("invalid_request_error", &format!("bad tool name: {words}"));
            assert_eq!(judge(KimiCode, status, &body).effect, Effect::None, "{status} {words}");
        }
        let page = format!("<html><title>403 Forbidden</title><body>{words}</body></html>");
        assert_eq!(judge(KimiCode, 403, &page).effect, Effect::None, "{words}");
    }
}

#[test]
fn the_stated_wait_comes_along() {
    let body = openai("rate_limit_reached_error", "max RPM: 3, please try again after 7 seconds");
    let wait = |header: Option<&str>| {
        let retry = RetryHeaders { retry_after: header.map(str::as_bytes), retry_after_ms: None };
        let answer = Answer { kind: OpenPlatform, status: 429, retry, body: body.as_bytes() };
        match classify(&answer, now()).effect {
            Effect::Block(block) => block.wait,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wait(None), Some(Duration::from_secs(7)));
    assert_eq!(wait(Some("9")), Some(Duration::from_secs(9)), "the header is meant for programs");
    assert_eq!(wait(Some("soon")), Some(Duration::from_secs(7)));
    let tpm = openai("rate_limit_reached_error", "TPM rate limit, current:9, limit:8");
    let Effect::Block(block) = judge(OpenPlatform, 429, &tpm).effect else { panic!() };
    assert_eq!(block.wait, Some(Duration::from_secs(12)), "to the end of the minute");
}

#[test]
fn messages_are_safe_and_name_no_account() {
    let body = openai("", "account org-0123456789 \u{1b}[2J is suspended");
    let message = judge(OpenPlatform, 429, &body).message.unwrap();
    assert_eq!(&*message, "account org-01… \\u{1b}[2J is suspended");
    assert_eq!(judge(OpenPlatform, 429, "").message, None);
}

#[test]
fn transport_failures_block_no_key() {
    for outcome in Outcome::ALL {
        let verdict = Verdict::of(outcome);
        assert_eq!(verdict.outcome, outcome);
        assert!(!matches!(verdict.effect, Effect::Block(_) | Effect::Suspect), "{outcome:?}");
    }
    assert_eq!(Verdict::of(Outcome::UpstreamTimeout).action, Action::PassThrough);
    assert_eq!(Verdict::of(Outcome::ConnectFailed).action, Action::RetryOnce);
}

#[test]
fn nothing_unknown_is_for_ever() {
    for kind in [KimiCode, OpenPlatform, OpenAi] {
        for status in 0..=1023 {
            for body in ["", "?", "<html>", "{}", "{\"error\":{\"type\":\"new_error\"}}"] {
                if let Effect::Block(block) = judge(kind, status, body).effect {
                    assert!(!block.reason.needs_the_user(), "{kind:?} {status} {body}");
                }
            }
        }
    }
}
