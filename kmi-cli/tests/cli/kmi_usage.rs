//! `kmi usage`: sums that were made by hand.

use jiff::Timestamp;
use kmi_core::{
    state::Mode,
    trace::{ModeChange, Record},
};
use kmi_proxy::{
    demo::{Act, Scenario, When, errors},
    ledger::Ledger,
    settings::TraceSettings,
};

use crate::{
    kmi::User,
    proxy::{Proxy, Upstream},
};

/// The stand-in reports 1200 prompt tokens, 1000 of them cached, and 34 of an answer.
fn used() -> User {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "50"));
    let scenario = Scenario::healthy(3).with_fault(1, When::Always, refused);
    let upstream = Upstream::start(scenario);
    let user = upstream.user();
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    let mut client = proxy.client();
    let mut say = |model: &str| {
        let body = serde_json::json!({ "model": model, "messages": [], "prompt_cache_key": "s" });
        assert_eq!(client.post(&body.to_string()).unwrap().status, 200);
    };
    // k1; k2 refuses and k3 serves; k1; k3.
    for model in ["kimi-for-coding", "kimi-for-coding", "=HYPERLINK(\"x\")", "kimi-for-coding"] {
        say(model);
    }
    user.run("stop").good();
    user
}

#[test]
fn usage_is_summed_by_key_model_and_day() {
    let user = used();
    insta::assert_snapshot!(user.run("usage").told(), @"
    0
    --- out
    key  tokens                    requests  errors  prompt  cached  answers  lost
    k1   ██████████████████  2.4k         2       0    2.4k    83 %       68  ≤200
    k2                          0         1       1       0       -        0     0
    k3   ██████████████████  2.4k         2       0    2.4k    83 %       68  ≤400
    all                      4.9k         5       1    4.8k    83 %      136  ≤600

    What the rotation gave up in cached tokens cannot be estimated: 20 requests after one of their
    session on the same key are needed to know what staying keeps, and there are 0. 3 came after one on
    another key, and 83 % of their prompts was cached. At most 600 tokens can have been lost: no more of
    a prompt can be cached than the request before it had.
    --- err
    ");
    let json = user.run("usage --json").good().json();
    let rows: Vec<_> = json["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let number = |name: &str| row[name].as_u64().unwrap();
            let name = row["name"].as_str().unwrap();
            (name, number("requests"), number("retries"), number("errors"), number("prompt_tokens"))
        })
        .collect();
    assert_eq!(rows, [("k1", 2, 0, 0, 2400), ("k2", 1, 0, 1, 0), ("k3", 2, 1, 0, 2400)]);
    // Three moves; each found 1000 of the 1200 that the request before had.
    assert_eq!(json["cache"]["moved"]["requests"], 3);
    assert_eq!(json["cache"]["lost_at_most"], 600);
    assert!(json["cache"]["lost_cached_tokens"].is_null(), "nothing stayed, so nobody knows");

    let days = user.run("usage --by day --json").good().json();
    assert_eq!(days["total"]["requests"], 5);
    assert_eq!(user.run("usage --since 1h --json").good().json()["total"]["requests"], 5);
    let none = user.run("usage --since 2100-01-01").good();
    assert_eq!(none.out, "no requests in this time\n");
}

/// The stored order of lines never goes back in time, so every line after a clock that was ahead
/// is found by that time; what counts is when an attempt ended itself.
#[test]
fn a_clock_that_was_ahead_once_moves_no_request_into_another_time() {
    let upstream = Upstream::start(Scenario::healthy(2));
    let user = upstream.user();
    let ahead: Timestamp = "2100-01-01T00:00:00Z".parse().unwrap();
    let state = user.path(".kmi/state");
    let (ledger, _) = Ledger::open(&state, &TraceSettings::default(), ahead).unwrap();
    let mode = ModeChange { ts: ahead, mode: Mode::Auto, key: None, by: "user".into() };
    ledger.sink().push(Record::Mode(mode));
    ledger.close().unwrap();
    let proxy = Proxy::start(&user);
    let body = serde_json::json!({ "model": "m", "messages": [] }).to_string();
    assert_eq!(proxy.client().post(&body).unwrap().status, 200);
    user.run("stop").good();
    assert_eq!(user.run("usage --since 1h --json").good().json()["total"]["requests"], 1);
    let none = user.run("usage --since 2099-01-01").good();
    assert_eq!(none.out, "no requests in this time\n");
}

#[test]
fn cells_for_spreadsheets_are_inert() {
    let user = used();
    insta::assert_snapshot!(user.run("usage --by model --csv").good().out, @r#"
    model,upstream,key,requests,retries,errors,prompt_tokens,completion_tokens,cached_tokens,lost_cached_tokens,lost_at_most
    "'=HYPERLINK(""x"")",,,1,0,0,1200,34,1000,,200
    kimi-for-coding,,,4,1,1,3600,102,3000,,400
    "#);
    assert_eq!(user.run("usage --csv --json").code, 2);
    assert_eq!(user.run("usage --by moon").code, 2);
}

#[test]
fn before_the_first_start_nothing_was_used() {
    assert_eq!(User::new().run("usage").good().out, "no requests in this time\n");
}

/// What a client, a provider or a key file says may be made to fool who reads it.
#[test]
fn hostile_names_are_visible_and_inert() {
    let hostile = "bell\u{7} c1\u{9b}31m bidi\u{202e}live\u{2066} \u{1b}[2J\u{1b}]0;owned\u{7}";
    let refused = Act::Error(errors::WEEK_SPENT);
    let upstream = Upstream::start(Scenario::healthy(2).with_fault(0, When::Always, refused));
    let user = upstream.user();
    // A key file with such a name is refused, and said to be.
    let bad = serde_json::json!({ "api_key": "sk-not-a-key-0001", "label": hostile });
    user.file(".kmi/_auths/bad.json", &bad.to_string());
    user.run("-q auto on").good();
    let proxy = Proxy::start(&user);
    for model in [hostile.to_owned(), "x".repeat(10_000)] {
        let body = serde_json::json!({ "model": model, "messages": [], "prompt_cache_key": model });
        assert_eq!(proxy.client().post(&body.to_string()).unwrap().status, 200);
    }
    let inert = |c: char| {
        let bidi = ['\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
        "\r\n".contains(c) || !(c.is_control() || bidi.iter().any(|range| range.contains(&c)))
    };
    let commands = ["status", "usage", "usage --by model", "usage --by model --csv", "keys list"];
    for args in
        commands.into_iter().chain(["trace export", "auto", "rotate", "keys test", "doctor"])
    {
        let run = user.run(args);
        let told = run.told();
        assert!(told.chars().all(inert), "{args}: {}", told.escape_debug());
        assert!(told.len() < 20_000, "{args}: {} bytes", told.len());
    }
    let models = user.run("usage --by model").good().out;
    assert!(models.contains("bell\\u{7} c1\\u{9b}3…"), "{models}");
}
