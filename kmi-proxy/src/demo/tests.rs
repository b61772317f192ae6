mod connection;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

const KEY: &str = "sk-demo-key-0001";

struct Ask {
    stand_in: StandIn,
    client: Client<HttpConnector, Full<Bytes>>,
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Ask {
    async fn of(scenario: Scenario) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { stand_in: StandIn::start(scenario).await.unwrap(), client }
    }

    async fn send(&self, method: &str, path: &str, key: &str, body: &str) -> Result<Got, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.stand_in.origin()))
            .header("authorization", format!("Bearer {key}"))
            .body(Full::from(body.to_owned()))
            .unwrap();
        let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Ok(Got { status: parts.status, headers: parts.headers, body })
    }

    async fn chat(&self, key: &str, body: &Value) -> Result<Got, String> {
        self.send("POST", "/coding/v1/chat/completions", key, &body.to_string()).await
    }

    async fn statuses(&self, requests: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..requests {
            statuses.push(self.chat(KEY, &json!({})).await.unwrap().status.as_u16());
        }
        statuses
    }
}

fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn a_stream_has_reasoning_text_and_usage_in_both_places() {
    let ask = Ask::of(Scenario::healthy(1)).await;
    let got = ask.chat(KEY, &json!({"stream": true})).await.unwrap();
    assert_eq!(got.headers["content-type"], "text/event-stream; charset=utf-8");
    assert!(got.body.ends_with("\n\ndata: [DONE]\n\n"));
    let events = events(&got.body);
    let deltas = events.iter().map(|event| &event["choices"][0]["delta"]);
    let text: String = deltas.clone().filter_map(|delta| delta["content"].as_str()).collect();
    assert_eq!(text, "pong from the stand-in");
    assert!(deltas.clone().any(|delta| delta["reasoning_content"].is_string()));
    let [.., finish, usage] = &events[..] else { panic!("{events:?}") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish["choices"][0]["usage"]["cached_tokens"], 1000);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["prompt_tokens"], 1200);
}

#[tokio::test]
async fn without_a_stream_the_answer_has_a_length() {
    let ask = Ask::of(Scenario::healthy(1)).await;
    let got = ask.chat(KEY, &json!({"stream": false})).await.unwrap();
    assert_eq!(got.headers["content-length"], got.body.len().to_string());
    assert_eq!(got.json()["choices"][0]["message"]["content"], "pong from the stand-in");
    assert_eq!(got.json()["usage"]["completion_tokens"], 34);
}

#[tokio::test]
async fn messages_answer_below_both_bases_and_take_either_credential() {
    let ask = Ask::of(Scenario::healthy(1)).await;
    for path in ["/coding/v1/messages?beta=true", "/anthropic/v1/messages"] {
        let request = Request::post(format!("{}{path}", ask.stand_in.origin()))
            .header("x-api-key", KEY)
            .body(Full::from(r#"{"stream":true}"#))
            .unwrap();
        let answer = ask.client.request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let events = events(std::str::from_utf8(&body).unwrap());
        assert_eq!(events[0]["message"]["usage"]["input_tokens"], 200);
        assert_eq!(events[0]["message"]["usage"]["cache_read_input_tokens"], 1000);
        assert_eq!(events.last().unwrap()["type"], "message_stop");
        let whole = ask.send("POST", path, KEY, "{}").await.unwrap().json();
        assert_eq!(whole["content"][1]["text"], "pong from the stand-in");
    }
}

#[tokio::test]
async fn every_endpoint_answers_and_others_do_not() {
    let ask = Ask::of(Scenario::healthy(1)).await;
    for (method, path, field) in [
        ("GET", "/coding/v1/models", "/data/0/context_length"),
        ("GET", "/v1/models", "/data/0/id"),
        ("GET", "/coding/v1/usages", "/limits/0/detail/resetTime"),
        ("GET", "/coding/v1/usages", "/usages/limit_5h/used_ratio"),
        ("GET", "/v1/users/me/balance", "/data/available_balance"),
        ("GET", "/coding/v1/me", "/user_level_name"),
        ("POST", "/coding/v1/files", "/id"),
        ("POST", "/coding/v1/search", "/search_results/0/snippet"),
        ("POST", "/v1/embeddings", "/data/0/embedding/2"),
        ("POST", "/v1/tokenizers/estimate-token-count", "/data/total_tokens"),
        ("POST", "/coding/v1/responses", "/output/0/content/0/text"),
    ] {
        let got = ask.send(method, path, KEY, "{}").await.unwrap();
        assert_eq!(got.status, StatusCode::OK, "{path}");
        assert!(got.json().pointer(field).is_some(), "{path}: {}", got.body);
    }
    let fetched = ask.send("POST", "/coding/v1/fetch", KEY, "{}").await.unwrap();
    assert_eq!(fetched.headers["content-type"], "text/markdown; charset=utf-8");
    for path in ["/chat/completions", "/v1/messages", "/coding/v1/v1/models", "/coding/v1/nothing"]
    {
        let got = ask.send("POST", path, KEY, "{}").await.unwrap();
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn unknown_keys_are_refused_in_kimis_words() {
    let ask = Ask::of(Scenario::healthy(1)).await;
    let got = ask.chat("sk-something-else", &json!({})).await.unwrap();
    assert_eq!(got.status, StatusCode::UNAUTHORIZED);
    assert_eq!(got.json()["error"]["type"], "invalid_authentication_error");
    assert_eq!(got.json()["error"]["message"], &*errors::KEY_INVALID.message);
    let got = ask.send("POST", "/coding/v1/messages", "sk-something-else", "{}").await.unwrap();
    assert_eq!(got.json()["error"]["type"], "authentication_error");
    let request = Request::post(format!("{}/chat/completions", ask.stand_in.base_url()));
    let answer = ask.client.request(request.body(Full::from("{}")).unwrap()).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, errors::AUTHENTICATION_INVALID.openai_body());
}

#[tokio::test]
async fn pauses_hold_an_answer_up_but_change_nothing() {
    let pause = Duration::from_millis(3);
    let slow = Act::Answer(Shape::sized(100, 5, pause));
    let stalled = Act::StallAfter(2, 5 * pause);
    for (act, text, least) in [
        // Two events before the text and three after it.
        (slow, 100, 9 * pause),
        (Act::SlowHead(5 * pause), 22, 5 * pause),
        (stalled, 22, 5 * pause),
    ] {
        let ask = Ask::of(Scenario::healthy(1).with_fault(0, When::Always, act.clone())).await;
        let begun = std::time::Instant::now();
        let got = ask.chat(KEY, &json!({"stream": true})).await.unwrap();
        assert!(begun.elapsed() >= least, "{act:?}");
        let events = events(&got.body);
        let deltas = events.iter().map(|event| &event["choices"][0]["delta"]["content"]);
        let said: String = deltas.filter_map(|content| content.as_str()).collect();
        assert_eq!(said.len(), text, "{act:?}");
        assert!(got.body.ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn faults_are_active_at_their_requests_only() {
    let refused = errors::TOO_MANY_REQUESTS.with_header("retry-after", "1");
    let when = When::Requests(2..4);
    let ask = Ask::of(Scenario::healthy(2).with_fault(0, when, Act::Error(refused))).await;
    // Quota polls do not count for a fault of inference requests.
    ask.send("GET", "/coding/v1/usages", KEY, "").await.unwrap();
    assert_eq!(ask.statuses(1).await, [200]);
    let got = ask.chat(KEY, &json!({})).await.unwrap();
    assert_eq!((got.status.as_u16(), &got.headers["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(ask.statuses(3).await, [429, 200, 200]);
    assert_eq!(ask.stand_in.requests_per_key(), [6, 0]);
    ask.stand_in.reset();
    assert_eq!(ask.statuses(3).await, [200, 429, 429]);
}

#[tokio::test]
async fn a_spent_quota_comes_back_after_its_time_and_shows_in_usages() {
    let when = When::Span { from: 2, lasts: Duration::from_millis(150) };
    let scenario = Scenario::healthy(1).with_fault(0, when, Act::Error(errors::PERIOD_SPENT));
    let ask = Ask::of(scenario).await;
    assert_eq!(ask.statuses(2).await, [200, 429]);
    let usages = ask.send("GET", "/coding/v1/usages", KEY, "").await.unwrap().json();
    assert_eq!(usages["usages"]["limit_5h"]["used_ratio"], 1.0);
    assert!(usages["limits"][0]["detail"].get("remaining").is_none());
    let mut tries = 0;
    while ask.statuses(1).await == [429] {
        tries += 1;
        assert!(tries < 10_000, "the quota never came back");
    }
    let usages = ask.send("GET", "/coding/v1/usages", KEY, "").await.unwrap().json();
    assert_eq!(usages["usages"]["limit_5h"]["used_ratio"], 0.15);
}

#[tokio::test]
async fn the_hook_decides_before_the_faults() {
    let scenario = Scenario::healthy(1)
        .with_fault(0, When::Always, Act::Error(errors::UNAVAILABLE))
        .deciding(|asked| (asked.model == Some("k3")).then(|| Act::Error(errors::MODEL_NOT_FOUND)));
    let ask = Ask::of(scenario).await;
    assert_eq!(ask.chat(KEY, &json!({"model": "k3"})).await.unwrap().status, 404);
    assert_eq!(ask.chat(KEY, &json!({"model": "k2"})).await.unwrap().status, 503);
}

#[tokio::test]
async fn the_log_is_bounded() {
    let ask = Ask::of(Scenario { remembered: 2, ..Scenario::healthy(1) }).await;
    ask.statuses(5).await;
    let seqs: Vec<_> = ask.stand_in.records().iter().map(|record| record.seq).collect();
    assert_eq!(seqs, [4, 5]);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let stall = Act::StallAfter(1, Duration::from_hours(1));
    let ask = Ask::of(Scenario::healthy(1).with_fault(0, When::Always, stall)).await;
    let mut stream = TcpStream::connect(ask.stand_in.address()).await.unwrap();
    let body = r#"{"stream":true}"#;
    let head = format!(
        "POST /coding/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_u8().await.unwrap();
    drop(stream);
    let mut polls = 0;
    while ask.stand_in.records()[0].end != End::ClientGone {
        tokio::task::yield_now().await;
        polls += 1;
        assert!(polls < 10_000_000, "{:?}", ask.stand_in.records()[0].end);
    }
}

#[tokio::test]
async fn an_account_that_is_too_busy_is_refused() {
    let mut scenario = Scenario::healthy(2);
    scenario.keys[1].account = scenario.keys[0].account.clone();
    let scenario = scenario
        .with_fault(0, When::Always, Act::StallAfter(0, Duration::from_hours(1)))
        .with_fault(1, When::Busy(1), Act::Error(errors::CONCURRENCY));
    let ask = Ask::of(scenario).await;
    assert_eq!(ask.chat("sk-demo-key-0002", &json!({})).await.unwrap().status, 200);
    let request = Request::post(format!("{}/chat/completions", ask.stand_in.base_url()))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::from("{}"))
        .unwrap();
    let held = ask.client.request(request).await.unwrap();
    let got = ask.chat("sk-demo-key-0002", &json!({})).await.unwrap();
    assert_eq!(got.json()["error"]["type"], "access_terminated_error");
    drop(held);
}

#[tokio::test]
async fn files_belong_to_the_account_that_uploaded_them() {
    let ask = Ask::of(Scenario::healthy(2)).await;
    let file = ask.send("POST", "/coding/v1/files", KEY, "x").await.unwrap().json();
    let id = file["id"].as_str().unwrap();
    let with_file = json!({"messages": [{"role": "user", "content": [
        {"type": "video_url", "video_url": {"url": format!("ms://{id}")}}]}]});
    assert_eq!(ask.chat(KEY, &with_file).await.unwrap().status, 200);
    assert_eq!(ask.chat("sk-demo-key-0002", &with_file).await.unwrap().status, 400);
    let path = format!("/coding/v1/files/{id}");
    assert_eq!(ask.send("GET", &path, KEY, "").await.unwrap().status, 200);
    assert_eq!(ask.send("GET", &path, "sk-demo-key-0002", "").await.unwrap().status, 404);
}

#[tokio::test]
async fn a_tool_round_trip() {
    let ask = Ask::of(Scenario::healthy(1)).await;
    let prompt = json!({"role": "user", "content": "[call Shell {\"command\":\"echo seven\"}]"});
    let tools = json!([{"type": "function", "function": {"name": "Shell"}}]);
    let body = json!({"stream": true, "messages": [prompt], "tools": tools});
    let first = events(&ask.chat(KEY, &body).await.unwrap().body);
    let calls = first.iter().filter_map(|e| e["choices"][0]["delta"]["tool_calls"][0].as_object());
    let arguments: String =
        calls.clone().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, r#"{"command":"echo seven"}"#);
    assert!(calls.count() > 2, "arguments come in pieces");
    let result = json!({"role": "tool", "tool_call_id": "call_standin_0", "content": "seven"});
    let body = json!({"messages": [prompt, {"role": "assistant"}, result], "tools": tools});
    let second = ask.chat(KEY, &body).await.unwrap().json();
    assert_eq!(second["choices"][0]["message"]["content"], "The tool answered: seven");
}

#[tokio::test]
async fn a_stopped_stand_in_is_gone() {
    let ask = Ask::of(Scenario::healthy(1)).await;
    ask.statuses(1).await;
    let address = ask.stand_in.address();
    ask.stand_in.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[test]
fn the_demo_has_seven_keys_and_two_kinds_of_trouble() {
    let demo = Scenario::demo();
    assert_eq!(demo.keys.len(), 7);
    let faults: Vec<_> = demo.keys.iter().map(|key| key.faults.len()).collect();
    assert_eq!(faults, [0, 0, 1, 0, 1, 0, 0]);
}

#[test]
fn only_spent_quota_counts_as_quota() {
    let quota: Vec<_> =
        errors::ALL.iter().filter(|(_, error)| error.is_quota()).map(|(name, _)| *name).collect();
    assert_eq!(
        quota,
        [
            "CYCLE_SPENT",
            "WEEK_SPENT",
            "MONTH_SPENT",
            "PERIOD_SPENT",
            "KIMI_MONTH_SPENT",
            "OPEN_INACTIVE",
            "OPEN_SUSPENDED",
            "OPEN_TOKENS_SPENT"
        ]
    );
}
