use std::collections::HashSet;

use super::{
    Meaning::*,
    QuotaWindow::*,
    table::{Row, TABLE},
    *,
};
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

/// Family, status, type, message, meaning.
type Case = (UpstreamKind, u16, &'static str, &'static str, Meaning);

/// Real bodies, row by row in the order of WIRE section 3.
#[rustfmt::skip]
const CASES: &[Case] = &[
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
    (KimiCode, 401, "", "The API Key appears to be invalid or may have expired.", UnknownKey),
    (KimiCode, 401, "", "Invalid Authentication", UnknownKey),
    (KimiCode, 401, "", "invalid x-api-key", UnknownKey),
    (KimiCode, 401, "authentication_error", "Nope", UnknownKey),
    (OpenPlatform, 401, "incorrect_api_key_error", "Nope", UnknownKey),
    (KimiCode, 402, "", "Insufficient credit", NoMoney),
    (KimiCode, 402, "", "Your account is in arrears", NoMoney),
    (KimiCode, 403, "permission_error", "You've reached your weekly usage limit.", Spent(Week)),
    (KimiCode, 403, "permission_error", "You've reached your 7-day usage limit.", Spent(Week)),
    (KimiCode, 403, "permission_error", "Access terminated", AccountClosed),
    (KimiCode, 403, "permission_error", "the requested URL poses a security risk", Request),
    (OpenPlatform, 403, "permission_denied_error", "Your account org-0123456789 is not active", NoMoney),
    (OpenPlatform, 403, "", "insufficient balance", NoMoney),
    (KimiCode, 429, "", "engine_overloaded_error: The engine is currently overloaded", Engine),
    (KimiCode, 429, "engine_overloaded_error", "Busy", Engine),
    (KimiCode, 429, "rate_limit_error", "You've reached your weekly (7-day) usage limit", Spent(Week)),
    (KimiCode, 429, "rate_limit_error", "You've reached your concurrent request limit", TooManyAtOnce),
    (OpenPlatform, 429, "rate_limit_reached_error", "Your account is in arrears", NoMoney),
    (OpenPlatform, 429, "exceeded_current_quota_error", "request reached organization max RPM: 3", TooFast),
    // Generic OpenAI
    (OpenAi, 401, "", "Invalid API key", UnknownKey),
    (OpenAi, 401, "invalid_api_key", "Nope", UnknownKey),
    (OpenAi, 403, "insufficient_quota", "You exceeded your current quota", NoMoney),
    (OpenAi, 429, "insufficient_quota", "Nope", NoMoney),
    (OpenAi, 429, "requests", "Rate limit reached on tokens per day (TPD): Limit 200000, Used 200000", Spent(Day)),
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
    (KimiCode, 403, "permission_error", "a new sentence", OddRefusal),
    (OpenPlatform, 403, "permission_denied_error", "a new sentence", OddRefusal),
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

/// CONTRACT section 6: no prompt is ever stored.
#[test]
fn what_may_quote_a_request_is_named_and_not_repeated() {
    let said = |status, kind, message| {
        judge(KimiCode, status, &openai(kind, message)).message.unwrap_or_default()
    };
    let quotation = "Invalid request: function name launch_code is duplicated";
    for status in [400, 403, 404, 413, 422, 418] {
        assert_eq!(&*said(status, "invalid_request_error", quotation), "invalid_request_error");
        assert_eq!(&*said(status, "", quotation), "", "{status}");
    }
    let known = "Kimi For Coding is currently only available for Coding Agents";
    assert_eq!(&*said(403, "access_terminated_error", known), known);
}

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

/// The second half of the table spelled out once more, so that no slip in it goes unnoticed.
#[test]
fn what_each_meaning_does() {
    let mut seen = HashSet::new();
    let meanings = TABLE.iter().map(|row| row.4).chain([Server]).filter(|it| seen.insert(*it));
    let told: Vec<_> = meanings
        .map(|meaning| {
            let Verdict { outcome, effect, action, .. } = meaning.verdict(None, now());
            let effect = match effect {
                Effect::Block(Block { reason, scope, wait, window }) => {
                    let wait = wait.map(|wait| format!(" for {wait:?}")).unwrap_or_default();
                    let window =
                        window.map(|it| format!(" until {it:?} resets")).unwrap_or_default();
                    format!("{scope:?} rests{wait}{window} ({})", reason.as_str())
                }
                other => format!("{other:?}"),
            };
            format!("{meaning:?}: {}, {effect}, {action:?}", outcome.as_str())
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    Request: client_error, None, PassThrough
    ClientLeft: client_gone, None, PassThrough
    UnknownKey: auth, Key rests (auth_failed), NextKey
    AccountClosed: auth, Account rests (account_terminated), NextKey
    UnclearRefusal: auth, Key rests (failing), NextKey
    NoMoney: quota, Account rests (balance_exhausted), NextKey
    Membership: auth, Account rests (membership_lapsed), NextKey
    NotFromHere: auth, Account rests (failing), NextKey
    TooManyAtOnce: rate_limited, Account rests (concurrency_limited), NextKey
    Spent(Week): quota, Account rests until Week resets (quota_exhausted), NextKey
    Spent(Month): quota, Account rests until Month resets (quota_exhausted), NextKey
    Spent(Unnamed): quota, Account rests until Unnamed resets (quota_exhausted), NextKey
    OddRefusal: auth, Suspect, NextKey
    NoSuchModel: client_error, LacksModel, NextKey
    Engine: upstream_error, Upstream(Engine), RetryOnce
    Spent(FiveHours): quota, Account rests until FiveHours resets (quota_exhausted), NextKey
    Spent(Day): quota, Account rests until Day resets (quota_exhausted), NextKey
    TokensPerMinute: rate_limited, Account rests for 12s (rate_limited), NextKey
    TooFast: rate_limited, Account rests (rate_limited), NextKey
    AccountPaused: auth, Account rests (membership_lapsed), NextKey
    Unavailable: upstream_error, Upstream(Server), RetryOnce
    Server: upstream_error, Upstream(Server), PassThrough
    ");
}

fn error_of(case: &Case) -> KimiError {
    KimiError { kind: case.2.into(), code: String::new(), message: case.3.into() }
}

/// What no case reaches, be it a row, one of its words or one of its types, is dead or untested.
#[test]
fn each_word_of_the_table_is_reached() {
    let reached = |number| {
        CASES.iter().filter(move |it| table::row(TABLE, it.0, it.1, &error_of(it)) == Some(number))
    };
    let mut missing = Vec::new();
    for (number, Row(_, _, types, words, meaning)) in TABLE.iter().enumerate() {
        let by_type = |word: &&&str| reached(number).all(|it| !error_of(it).is(word));
        let by_word =
            |word: &&&str| reached(number).all(|it| !it.3.to_lowercase().contains(**word));
        missing.extend(types.iter().filter(by_type).chain(words.iter().filter(by_word)).copied());
        if reached(number).next().is_none() {
            missing.push("any");
            println!("no case of row {number}, {meaning:?}");
        }
    }
    assert_eq!(missing, Vec::<&str>::new(), "types and words without a case");
}

/// Without any one row some case would mean something else, unless the row only spells out what
/// an unknown text means anyway.
#[test]
fn each_row_of_the_table_is_needed() {
    let mut idle = Vec::new();
    for (gone, Row(_, statuses, _, _, meaning)) in TABLE.iter().enumerate() {
        let rest: Vec<Row> =
            TABLE.iter().enumerate().filter(|it| it.0 != gone).map(|it| *it.1).collect();
        let changes = |case: &Case| {
            let row = table::row(&rest, case.0, case.1, &error_of(case));
            table::meaning(&rest, row, case.1) != case.4
        };
        let plain = statuses.iter().all(|status| table::meaning(&[], None, *status) == *meaning);
        if !plain && !CASES.iter().any(changes) {
            idle.push((gone, *meaning));
        }
    }
    assert_eq!(idle, [], "rows that no case needs");
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
