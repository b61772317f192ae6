//! What an upstream says is read however it is packed, and what it says badly misleads nobody.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http::Method;
use jiff::Timestamp;
use kmi_core::{
    outcome::Outcome,
    snapshot::KeyRow,
    state::{KeyState, Reason},
};
use kmi_proxy::{
    control::Request,
    demo::{Act, Reply, Scenario, errors},
};
use kmi_tests::{Client, TestProxy, chat_body};

fn gzip(plain: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut coder = GzEncoder::new(Vec::new(), Compression::fast());
    coder.write_all(plain)?;
    Ok(coder.finish()?)
}

fn zlib(plain: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut coder = ZlibEncoder::new(Vec::new(), Compression::fast());
    coder.write_all(plain)?;
    Ok(coder.finish()?)
}

/// `errors::WEEK_SPENT` as Node's zlib packs it.
const BROTLI: &str = "1b9700608dd315f32384750fc46da9afa8a0d9944de7f0078b826890a78e5d9f9e2ce4ee2ae16f\
    2612924c77787de999111369a520b9088207c67e29174740ec4aebe6de4c7f5130d8840e12adb242bb553a7e4b15e77\
    224896fe91415961bf091321532d74d60f001";
const ZSTD: &str = "28b52ffd2098ed030042081b1c608b730dc6e2ca4963bb78ec409e10cf5b140d826e2b08b2832085\
    075184ca54af2cdf7454a35fa5b5a7948ab738c0e32bbde46ddcf199b5a3daf560f05aea712e738bc4c7aa462d3b0b5\
    e2e8442c06f25fec7ead8f37226e5d567001c4b10c123b2b5370821a84cf50805050401b0318290bf4a449d740a0a";

fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Act {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Act::Reply(Reply { status, headers, body: body.into() })
}

/// `keys` keys of which the first one's inference is answered so.
async fn first_key(keys: usize, act: Act) -> anyhow::Result<TestProxy> {
    let first = Scenario::healthy(1).keys[0].secret.clone();
    let scenario = Scenario::healthy(keys).deciding(move |asked| {
        (asked.key.secret == first && asked.method == "POST").then(|| act.clone())
    });
    TestProxy::start(scenario).await
}

fn key_1(proxy: &TestProxy) -> KeyRow {
    proxy.engine.rotor().snapshot(Timestamp::now()).keys[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_refusal_is_read() -> anyhow::Result<()> {
    let said = errors::WEEK_SPENT.openai_body();
    for (coding, body) in [
        ("gzip", gzip(&said)?),
        ("deflate", zlib(&said)?),
        ("br", hex::decode(BROTLI)?),
        ("zstd", hex::decode(ZSTD)?),
    ] {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        let proxy = first_key(2, reply(403, &headers, body)).await?;
        let answer = proxy.client().await?.chat(false).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-kmi-key")),
            (200, "key-2"),
            "{coding}"
        );
        let row = key_1(&proxy);
        assert_eq!((row.state, row.reason), (KeyState::Blocked, Some(Reason::QuotaExhausted)));
        let words = proxy.attempts()?[0].error.clone();
        assert!(words.is_some_and(|words| words.starts_with("You've reached your weekly")));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_compressed_error_is_masked_and_another_one_passes_as_it_is()
-> anyhow::Result<()> {
    let echo = b"{\"error\":{\"message\":\"what is sk-demo-key-0001?\"}}";
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let proxy = first_key(1, reply(500, &headers, gzip(echo)?)).await?;
    let answer = proxy.client().await?.chat(false).await?;
    assert_eq!(answer.text(), "{\"error\":{\"message\":\"what is sk-…0001?\"}}");
    assert!(!answer.headers.contains_key("content-encoding"));
    let words = proxy.attempts()?[0].error.clone();
    assert_eq!(words.as_deref(), Some("what is sk-…0001?"));

    // A decoder reads all members, and JSON undoes its escapes: so do clients.
    let parts = [gzip(&echo[..30])?, gzip(&echo[30..])?].concat();
    let escaped = br#"{"error":{"message":"what is sk\u002ddemo-key-0001?"}}"#;
    for (headers, body) in [(&headers[..], parts), (&headers[..1], escaped.to_vec())] {
        let proxy = first_key(1, reply(500, headers, body)).await?;
        let answer = proxy.client().await?.chat(false).await?;
        assert_eq!(answer.text(), "{\"error\":{\"message\":\"what is sk-…0001?\"}}");
        let words = proxy.attempts()?[0].error.clone();
        assert_eq!(words.as_deref(), Some("what is sk-…0001?"));
    }

    let harmless = gzip(b"{\"error\":{\"message\":\"no\"}}")?;
    let proxy = first_key(1, reply(400, &headers, harmless.clone())).await?;
    let answer = proxy.client().await?.chat(false).await?;
    assert_eq!((answer.body.as_ref(), answer.header("content-encoding")), (&harmless[..], "gzip"));

    // Few bytes that say very much: nobody has looked at what stands behind the limit.
    let long = [vec![b' '; 100_000], echo.to_vec()].concat();
    let proxy = first_key(1, reply(400, &headers, gzip(&long)?)).await?;
    let answer = proxy.client().await?.chat(false).await?;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (400, 65_536));
    assert!(!answer.headers.contains_key("content-encoding"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_compressed_answer_are_counted() -> anyhow::Result<()> {
    let usage = "{\"prompt_tokens\":10,\"completion_tokens\":3,\"cached_tokens\":4}";
    let json = format!("{{\"choices\":[],\"usage\":{usage}}}");
    let events = format!("data: {json}\n\ndata: [DONE]\n\n");
    for (kind, body) in [("application/json", json), ("text/event-stream", events)] {
        let headers = [("content-type", kind), ("content-encoding", "gzip")];
        let body = gzip(body.as_bytes())?;
        let proxy = first_key(1, reply(200, &headers, body.clone())).await?;
        let answer = proxy.client().await?.chat(false).await?;
        assert_eq!(answer.body, body, "untouched");
        let line = proxy.attempts_when(1).await?.remove(0);
        let counted = (line.prompt_tokens, line.completion_tokens, line.cached_tokens);
        assert_eq!(counted, (Some(10), Some(3), Some(4)), "{kind}");
    }
    Ok(())
}

/// No JSON, wrong types, too much, broken codings, pages, statuses of no standard: each is answered
/// or passed on, nothing dies of it, and no key is blocked for good.
#[tokio::test(flavor = "multi_thread")]
async fn bad_answers_mislead_nobody() -> anyhow::Result<()> {
    let statuses = [400, 401, 402, 403, 404, 418, 429, 500, 502, 503, 529, 599, 999];
    let mebibyte = format!("{{\"error\":{{\"message\":\"{}\"}}}}", "a".repeat(1 << 20));
    let page = "<html><head><title>Attention Required!</title></head><body>Your plan, your quota, \
        Access terminated, insufficient balance</body></html>";
    let bodies: Vec<(&str, Bytes)> = vec![
        ("", Bytes::new()),
        ("", "not JSON at all".into()),
        ("", "{\"error\":{\"message\":".into()),
        ("", "{\"error\":[[[]]],\"message\":{},\"type\":7}".into()),
        (
            "",
            "{\"error\":{\"message\":[\"Access terminated\"],\"type\":{\"a\":1},\"code\":1e400}}"
                .into(),
        ),
        ("", format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000)).into()),
        ("", mebibyte.clone().into()),
        ("", page.into()),
        ("", vec![0xff; 1000].into()),
        ("gzip", gzip(mebibyte.as_bytes())?.into()),
        ("gzip", gzip(&vec![b' '; 4 << 20])?.into()),
        ("gzip", "this is no gzip".into()),
        ("br", vec![0x1b, 0x05, 0x00, 0xff].into()),
        ("gzip, gzip", gzip(&gzip(page.as_bytes())?)?.into()),
    ];
    let cases: Vec<(u16, &str, Bytes)> = statuses
        .iter()
        .flat_map(|status| bodies.iter().map(|(coding, body)| (*status, *coding, body.clone())))
        .collect();
    let acts: Vec<Act> = cases
        .iter()
        .map(|(status, coding, body)| {
            let headers: &[_] =
                if coding.is_empty() { &[] } else { &[("content-encoding", *coding)] };
            reply(*status, headers, body.clone())
        })
        .collect();
    let scenario = Scenario::healthy(2).deciding(move |asked| {
        let case: usize = asked.headers.get("x-case")?.to_str().ok()?.parse().ok()?;
        acts.get(case).cloned()
    });
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.health.outage_backoff = std::time::Duration::from_millis(1);
        settings.health.outage_max_backoff = std::time::Duration::from_millis(1);
    })
    .await?;
    let mut client = proxy.client().await?;
    for (number, (status, coding, body)) in cases.iter().enumerate() {
        let case = format!("{status} {coding} {:.60}", String::from_utf8_lossy(body));
        let request = chat(&client).header("x-case", number.to_string());
        let answer = client.fetch(request, chat_body(false)).await?;
        let own = !answer.header("x-kmi-error").is_empty();
        // Two of them say more than is looked at.
        let is_cut = *coding == "gzip" && answer.body.len() == 64 << 10;
        let passed = answer.status == *status && (is_cut || answer.body == *body);
        assert!(own || passed, "{case}: {answer:.300?}");
        assert_ne!(answer.status, 401, "{case}: a refusal of the pool's key");
        for (at, key) in proxy.engine.rotor().snapshot(Timestamp::now()).keys.iter().enumerate() {
            let for_ever = key.state == KeyState::Blocked && key.until.is_none();
            assert!(!for_ever, "{case}: {key:#?}");
            let on = Request::Switch { key: format!("key-{}", at + 1), on: true };
            proxy.control(on).await?;
        }
    }
    let request = chat(&client);
    assert_eq!(client.fetch(request, chat_body(false)).await?.status, 200, "all is well after it");
    let attempts = proxy.attempts()?;
    assert!(attempts.iter().rev().skip(1).all(|attempt| attempt.outcome != Outcome::Ok));
    Ok(())
}

fn chat(client: &Client) -> http::request::Builder {
    client.request(Method::POST, "/v1/chat/completions").header("content-type", "application/json")
}
