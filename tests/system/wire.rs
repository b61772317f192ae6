//! What a client sends arrives as it was, but for the credential; what comes back does too.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use kmi_core::state::KeyState;
use kmi_proxy::{
    demo::{Act, Record, Reply, Scenario, When},
    settings::{UpstreamKind, UpstreamSettings},
};
use kmi_tests::{Client, TestProxy, chat_body};

const KEY: &str = "sk-demo-key-0001";

/// Sends one raw request (`{host}`, `{token}` filled in) and gives what the upstream got, and the
/// head of the answer.
async fn passed(proxy: &TestProxy, text: &str) -> anyhow::Result<(Record, String)> {
    let mut raw = proxy.raw().await?;
    let host = proxy.engine.address().to_string();
    raw.send(text.replace("{host}", &host).replace("{token}", proxy.token()?.expose())).await?;
    let (_, head) = raw.head().await?;
    let record = proxy.upstream.records().pop();
    Ok((record.ok_or_else(|| anyhow::anyhow!("nothing arrived: {head}"))?, head))
}

/// One key whose every request is answered with exactly this.
fn replying(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Scenario {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let reply = Act::Reply(Reply { status, headers, body: Bytes::copy_from_slice(body) });
    Scenario::healthy(1).deciding(move |_| Some(reply.clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_keep_case_and_order() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let body = r#"{"model":"kimi-for-coding" ,"messages":[],  "x":"\u00e9"}"#;
    // What kimi-cli sends (WIRE section 1.1), and what no proxy may pass on.
    let text = format!(
        "POST /kmi-rotor/v1/chat/completions?a=%2F&b=%20+c&&d HTTP/1.1\r\nHost: {{host}}\r\n\
         Accept-Encoding: gzip, deflate\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
         Accept: application/json\r\nContent-Type: application/json\r\n\
         User-Agent: KimiCLI/1.51.0\r\nKeep-Alive: timeout=5\r\nX-Stainless-Lang: python\r\n\
         Cookie: a=b\r\nAuthorization: Bearer {{token}}\r\nX-Msh-Platform: kimi_cli\r\n\
         TE: trailers\r\nX-Msh-Device-Id: 0123\r\nX-Twice: 1\r\nX-Twice: 2\r\n\
         Proxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\
         api-key: mine\r\nx-stainless-retry-count: 0\r\nContent-Length: {}\r\n\
         Forwarded: for=x\r\n\r\n{body}",
        body.len()
    );
    let (record, _) = passed(&proxy, &text).await?;
    let upstream = proxy.upstream.address().to_string();
    let length = body.len().to_string();
    let expected = [
        ("Host", upstream.as_str()),
        ("Accept-Encoding", "gzip, deflate"),
        ("Accept", "application/json"),
        ("Content-Type", "application/json"),
        ("User-Agent", "KimiCLI/1.51.0"),
        ("X-Stainless-Lang", "python"),
        ("Authorization", "Bearer sk-demo-key-0001"),
        ("X-Msh-Platform", "kimi_cli"),
        ("X-Msh-Device-Id", "0123"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("x-stainless-retry-count", "0"),
        ("Content-Length", &length),
        ("Forwarded", "for=x"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(record.headers(), expected);
    assert_eq!(record.target(), "/coding/v1/chat/completions?a=%2F&b=%20+c&&d");
    assert_eq!(record.body, body);
    Ok(())
}

/// Kimi's OpenAI surface reads bearers only: a client's habit must not cost a good key its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_x_api_key_alone_kills_no_key() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let mut client = Client::connect(proxy.engine.address(), None).await?;
    for _ in 0..4 {
        let request = client
            .request(Method::POST, "/v1/chat/completions")
            .header("x-api-key", proxy.token()?.expose())
            .header("content-type", "application/json");
        let answer = client.fetch(request, chat_body(false)).await?;
        assert_eq!((answer.status.as_u16(), answer.header("x-kmi-attempts")), (200, "1"));
    }
    let keys = proxy.engine.rotor().snapshot(Timestamp::now()).keys;
    assert!(keys.iter().all(|key| key.state == KeyState::Healthy), "{keys:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_goes_where_the_token_was() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let bearer = format!("Authorization: Bearer {KEY}");
    let api_key = format!("x-api-key: {KEY}");
    for (target, header, target_there, there) in [
        ("/v1/models", "Authorization: Bearer {token}\r\n", "/models", vec![&bearer]),
        ("/v1/models", "X-API-Key: {token}\r\n", "/models", vec![&bearer, &api_key]),
        ("/v1/messages", "X-API-Key: {token}\r\n", "/messages", vec![&api_key]),
        ("/v1/messages", "Authorization: Bearer {token}\r\n", "/messages", vec![&bearer]),
        (
            "/anthropic/v1/messages?beta=true",
            "x-api-key: {token}\r\n",
            "/messages?beta=true",
            vec![&api_key],
        ),
        ("/t/{token}/v1/models", "", "/models", vec![&bearer]),
        ("/t/{token}/v1/models", "authorization: Bearer a-login\r\n", "/models", vec![&bearer]),
        ("/t/{token}/anthropic/v1/messages", "", "/messages", vec![&api_key]),
        (
            "/t/{token}/v1/messages",
            "x-api-key: a\r\nAuthorization: Bearer b\r\n",
            "/messages",
            vec![&bearer, &api_key],
        ),
    ] {
        let text = format!(
            "POST /kmi-rotor{target} HTTP/1.1\r\nHost: {{host}}\r\n{header}Content-Length: 2\r\n\r\n{{}}"
        );
        let (record, _) = passed(&proxy, &text).await?;
        assert_eq!(record.target(), format!("/coding/v1{target_there}"));
        let mut credentials: Vec<_> = record
            .headers()
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), value))
            .filter(|(name, _)| name.contains("auth") || name.contains("key"))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        credentials.sort();
        let there: Vec<_> =
            there.iter().map(|it| it.replace("Authorization", "authorization")).collect();
        assert_eq!(credentials, there, "{target} {header}");
        let token = proxy.token()?;
        assert!(!String::from_utf8_lossy(&record.head).contains(token.expose()), "{target}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_platform_has_its_own_anthropic_base() -> anyhow::Result<()> {
    let proxy = TestProxy::start_with(Scenario::healthy(1), |settings| {
        let UpstreamSettings { base_url, kind, .. } = &mut settings.upstreams[0];
        *base_url = base_url.replace("/coding/v1", "/v1");
        *kind = UpstreamKind::OpenPlatform;
    })
    .await?;
    for (target, there) in [
        ("/v1/users/me/balance", "/v1/users/me/balance"),
        ("/v1/messages", "/anthropic/v1/messages"),
        ("/anthropic/v1/messages", "/anthropic/v1/messages"),
    ] {
        let text = format!(
            "POST /kmi-rotor{target} HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer {{token}}\r\nContent-Length: 0\r\n\r\n"
        );
        let (record, _) = passed(&proxy, &text).await?;
        assert_eq!(record.target(), there);
        assert_eq!(record.header("content-length").as_deref(), Some("0"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_no_length_gets_none() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    for method in ["GET", "HEAD", "DELETE"] {
        let text = format!(
            "{method} /kmi-rotor/v1/models HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer {{token}}\r\n\r\n"
        );
        let (record, _) = passed(&proxy, &text).await?;
        assert_eq!(record.method(), method);
        assert_eq!(record.header("content-length"), None, "{method}");
        assert_eq!(record.header("transfer-encoding"), None, "{method}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_framed_anew_and_its_trailers_go() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let text = "POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n\
        Authorization: Bearer {token}\r\nTransfer-Encoding: Chunked\r\n\
        Trailer: Authorization, X-Late\r\n\r\n\
        2;ext=1\r\n{\"\r\n5\r\na\": 1\r\n1\r\n}\r\n0\r\nAuthorization: Bearer evil\r\nX-Late: 1\r\n\r\n";
    let (record, head) = passed(&proxy, text).await?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(record.body, r#"{"a": 1}"#);
    let head = String::from_utf8_lossy(&record.head).to_lowercase();
    assert!(
        head.contains("content-length: 8\r\n") && !head.contains("transfer-encoding"),
        "{head}"
    );
    assert!(
        !head.contains("late") && !head.contains("evil") && !head.contains("trailer"),
        "{head}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_gets_it_from_kmi() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let host = proxy.engine.address();
    let token = proxy.token()?.expose().to_owned();
    let mut raw = proxy.raw().await?;
    let head = |token: &str| {
        format!(
            "POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n\
             Authorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
    };
    raw.send(head(&token)).await?;
    assert_eq!(raw.head().await?.0, 100);
    raw.send("{}").await?;
    assert_eq!(raw.head().await?.0, 200);
    let record = proxy.upstream.records().remove(0);
    assert_eq!((record.body.as_ref(), record.header("expect")), (&b"{}"[..], None));

    let mut raw = proxy.raw().await?;
    raw.send(head("wrong")).await?;
    assert_eq!(raw.head().await?.0, 401, "refused before the body is asked for");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let host = proxy.engine.address();
    let token = proxy.token()?.expose().to_owned();
    let mut raw = proxy.raw().await?;
    let request = |n: usize| {
        let body = format!("{{\"n\": {n}}}");
        format!(
            "POST /kmi-rotor/v1/embeddings HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    raw.send((1..=6).map(request).collect::<String>()).await?;
    for turn in 1..=6 {
        let (status, head) = raw.head().await?;
        assert_eq!(status, 200);
        assert!(head.contains(&format!("x-kmi-turn: {turn}\r\n")), "{head}");
        raw.until("}}").await?;
    }
    let bodies: Vec<_> = proxy.upstream.records().into_iter().map(|it| it.body).collect();
    assert_eq!(bodies, (1..=6).map(|n| format!("{{\"n\": {n}}}")).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_lose_only_what_belongs_to_the_connection_and_cors() -> anyhow::Result<()> {
    let body = b"\x1f\x8b\x08\x00 no proxy looks into this";
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("x-trace-id", "t-1"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("x-kmi-turn", "999"),
        ("x-kmi-error", "made_up"),
        ("location", "http://evil.example/"),
    ];
    for status in [200, 302, 400, 500] {
        let proxy = TestProxy::start(replying(status, &headers, body)).await?;
        let answer = proxy.client().await?.chat(false).await?;
        assert_eq!(answer.status, status);
        assert_eq!(answer.body, &body[..], "{status}");
        let mut names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "content-encoding",
                "content-length",
                "content-type",
                "date",
                "location",
                "set-cookie",
                "x-kmi-attempts",
                "x-kmi-key",
                "x-kmi-request-id",
                "x-kmi-turn",
                "x-trace-id"
            ]
        );
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(answer.header("x-kmi-turn"), "1");
        assert_eq!(proxy.upstream.records().len(), 1, "a redirect is not followed");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_an_error_echoes_is_masked() -> anyhow::Result<()> {
    let other: Arc<str> = "sk-demo-key-0002".into();
    let text = format!("{{\"error\":{{\"message\":\"bad key {KEY}, {KEY} and {other}\"}}}}");
    let long = format!("{{\"error\":{{\"message\":\"{KEY} {}\"}}}}", "x".repeat(100_000));
    for (status, body) in [(400, &text), (400, &long), (502, &text)] {
        let headers = [("content-type", "application/json"), ("x-echo", KEY)];
        let mut scenario = replying(status, &headers, body.as_bytes());
        scenario.keys.push(kmi_proxy::demo::StandInKey::numbered(2));
        let proxy = TestProxy::start(scenario).await?;
        let answer = proxy.client().await?.chat(false).await?;
        assert_eq!(answer.status, status);
        let masked = body.replace(KEY, "sk-…0001").replace(&*other, "sk-…0002");
        assert!(answer.text() == masked, "{:.200}", answer.text());
        let echoed = answer.headers["x-echo"].as_bytes();
        assert_eq!(String::from_utf8_lossy(echoed), "sk-…0001");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_keep_their_heads() -> anyhow::Result<()> {
    let body = br#"{"object":"list"}"#;
    let json = [("content-type", "application/json"), ("etag", "\"1\"")];
    let head = "HEAD /kmi-rotor/v1/models HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n";
    let get = head.replacen("HEAD", "GET", 1);
    for (status, headers, body, request, length) in [
        (200, &json, &body[..], head, Some("17")),
        (304, &json, b"", &get, None),
        (204, &json, b"", &get, None),
    ] {
        let proxy = TestProxy::start(replying(status, headers, body)).await?;
        let (_, answer) = passed(&proxy, request).await?;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("etag: \"1\"\r\n"), "{answer}");
        let found = answer.split("content-length: ").nth(1).and_then(|it| it.split("\r\n").next());
        assert_eq!(found, length, "{answer}");
        assert!(!answer.contains("transfer-encoding"), "{answer}");
        let line = proxy.attempts_when(1).await?.remove(0);
        assert_eq!((line.outcome.as_str(), line.response_bytes), ("ok", 0));
        assert!(line.ttfb_ms.is_some());
    }
    // The connection is still good for more after each of them.
    let proxy = TestProxy::start(replying(200, &json, body)).await?;
    let mut client = proxy.client().await?;
    for method in [Method::HEAD, Method::GET, Method::HEAD, Method::GET] {
        let request = client.request(method.clone(), "/v1/models");
        let answer = client.fetch(request, "").await?;
        let expected = if method == Method::HEAD { &b""[..] } else { body };
        assert_eq!(answer.body, expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_one_key_is_seen_in_its_own_header_kind() -> anyhow::Result<()> {
    // On the Anthropic surface a refusal has other words; the next key serves all the same.
    let refused = Act::Error(kmi_proxy::demo::errors::KEY_INVALID);
    let proxy = TestProxy::start(Scenario::healthy(2).with_fault(0, When::Always, refused)).await?;
    let text = "POST /kmi-rotor/v1/messages HTTP/1.1\r\nHost: {host}\r\nx-api-key: {token}\r\n\
        Content-Length: 2\r\n\r\n{}";
    let (record, head) = passed(&proxy, text).await?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(record.header("x-api-key").as_deref(), Some("sk-demo-key-0002"));
    Ok(())
}
