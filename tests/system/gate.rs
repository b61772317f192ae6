//! What no honest client sends is refused at the gate, byte for byte, and reaches no upstream.

use kmi_proxy::demo::{Record, Scenario};
use kmi_tests::TestProxy;

/// A request's head; `{host}` and `{token}` are filled in.
fn filled(proxy: &TestProxy, text: &str) -> anyhow::Result<String> {
    let host = proxy.engine.address().to_string();
    Ok(text.replace("{host}", &host).replace("{token}", proxy.token()?.expose()))
}

/// The status of the answer to raw bytes and, when the proxy closed the connection, 0 extra
/// answers after it.
async fn status(proxy: &TestProxy, text: &str) -> anyhow::Result<u16> {
    let mut raw = proxy.raw().await?;
    raw.send(filled(proxy, text)?).await?;
    Ok(raw.head().await?.0)
}

const OPEN: &str = "Host: {host}\r\nAuthorization: Bearer {token}\r\n";

fn get(target: &str, more: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n{OPEN}{more}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_our_own_hosts_are_answered() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let port = proxy.engine.address().port();
    let with = |host: &str| {
        format!(
            "GET /kmi-rotor/healthz HTTP/1.1\r\n{}\r\n",
            host.replace("PORT", &port.to_string())
        )
    };
    for (host, expected) in [
        ("Host: 127.0.0.1:PORT\r\n", 200),
        ("host: LocalHost:PORT\r\n", 200),
        ("Host: [::1]:PORT\r\n", 200),
        ("", 400),
        ("Host: 127.0.0.1:PORT\r\nHost: 127.0.0.1:PORT\r\n", 400),
        ("Host:\r\n", 403),
        ("Host: 127.0.0.1\r\n", 403),
        ("Host: 127.0.0.1:1\r\n", 403),
        ("Host: 127.0.0.1:0PORT\r\n", 403),
        ("Host: 127.0.0.1:+PORT\r\n", 403),
        ("Host: 0.0.0.0:PORT\r\n", 403),
        ("Host: evil.example:PORT\r\n", 403),
        ("Host: localhost.evil.example:PORT\r\n", 403),
        ("Host: evil@localhost:PORT\r\n", 403),
        ("Host: a/b@c\r\n", 403),
        ("Host: [::ffff:127.0.0.1]:PORT\r\n", 403),
    ] {
        assert_eq!(status(&proxy, &with(host)).await?, expected, "{host:?}");
    }
    assert!(proxy.upstream.records().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_are_refused_and_kimi_code_is_not() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    for (more, expected) in [
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Origin: http://{host}\r\nOrigin: http://evil.example\r\n", 403),
        ("sec-fetch-mode: cors\r\naccept-language: *\r\n", 200),
        ("Origin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n", 200),
    ] {
        let before = proxy.upstream.records().len();
        assert_eq!(status(&proxy, &get("/kmi-rotor/v1/models", more)).await?, expected, "{more:?}");
        let passed = proxy.upstream.records().len() - before;
        assert_eq!(passed, usize::from(expected == 200), "{more:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_with_two_meanings_are_refused() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    for (target, expected) in [
        ("/kmi-rotor/v1/../admin", 400),
        ("/kmi-rotor/v1/./models", 400),
        ("/kmi-rotor/v1/%2e%2E/admin", 400),
        ("/kmi-rotor/v1/.%2e/admin", 400),
        ("/kmi-rotor/v1/a%2fb", 400),
        ("/kmi-rotor/v1/a%5Cb", 400),
        ("/kmi-rotor/v1/a%00b", 400),
        ("/kmi-rotor/v1/a\\b", 400),
        ("/kmi-rotor/v1/\u{fc}", 400),
        ("/kmi-rotor/v1/models?q=\u{fc}", 400),
        ("http://evil.example/kmi-rotor/v1/models", 400),
        ("http://u:p@{host}/kmi-rotor/v1/models", 400),
        ("https://evil.example/", 400),
        ("*", 404),
        ("kmi-rotor/v1/models", 400),
        ("/", 404),
        ("/kmi-rotor/v2/models", 404),
        ("/kmi-rotor/v1", 404),
        ("//evil.example/v1/models", 404),
    ] {
        let target = filled(&proxy, target)?;
        assert_eq!(status(&proxy, &get(&target, "")).await?, expected, "{target}");
    }
    let long = format!("/kmi-rotor/v1/{}", "a".repeat(16 << 10));
    assert_eq!(status(&proxy, &get(&long, "")).await?, 414);
    assert!(proxy.upstream.records().is_empty());

    // Odd, but with one meaning only: passed as it is.
    for target in ["//evil.example/x", "/%2", "/...", "/a?b=../%2f&c=d", "/;a=b/@"] {
        let at = format!("/kmi-rotor/v1{target}");
        assert_eq!(status(&proxy, &get(&at, "")).await?, 404, "{target}");
        let records = proxy.upstream.records();
        assert_eq!(records.last().map(Record::target), Some(format!("/coding/v1{target}")));
    }
    assert_eq!(status(&proxy, &get("http://{host}/kmi-rotor/v1/models", "")).await?, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_methods_and_versions_are_refused() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    for method in ["TRACE", "get", "PROPFIND", "X"] {
        let mut raw = proxy.raw().await?;
        let text = format!("{method} /kmi-rotor/v1/models HTTP/1.1\r\n{OPEN}\r\n");
        raw.send(filled(&proxy, &text)?).await?;
        let (status, head) = raw.head().await?;
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: GET, HEAD, POST"), "{head}");
    }
    let mut raw = proxy.raw().await?;
    raw.send(filled(&proxy, &format!("CONNECT {{host}} HTTP/1.1\r\n{OPEN}\r\n"))?).await?;
    assert_eq!(raw.head().await?.0, 405);
    assert!(!raw.to_end().await?.contains("HTTP/1.1"), "no tunnel: the connection ends");

    let old = format!("GET /kmi-rotor/v1/models HTTP/1.0\r\n{OPEN}\r\n");
    assert_eq!(status(&proxy, &old).await?, 505);
    let mut raw = proxy.raw().await?;
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    let answer = raw.to_end().await?;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(proxy.upstream.records().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_framing_is_refused_and_ends_the_connection() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let smuggled = format!("GET /kmi-rotor/v1/smuggled HTTP/1.1\r\n{OPEN}\r\n");
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "transfer-encoding:chunked\r\nCONTENT-LENGTH :5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: \r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\r\n folded\r\n",
        "X: a\x1bb\r\n",
        "X: a\0b\r\n",
        "Authorization: Bearer other\r\n",
    ] {
        let text = format!(
            "POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\n{OPEN}{framing}\r\n0\r\n\r\n{smuggled}"
        );
        let mut raw = proxy.raw().await?;
        raw.send(filled(&proxy, &text)?).await?;
        let answers = raw.to_end().await?;
        assert!(answers.starts_with("HTTP/1.1 400"), "{framing:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{framing:?}: {answers}");
    }
    assert!(proxy.upstream.records().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_that_is_broken_is_refused() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    for body in [
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "+5\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcdeX",
        "fffffffffffffffff\r\n",
        "zz\r\n",
        "-1\r\n",
    ] {
        let mut raw = proxy.raw().await?;
        let text = format!(
            "POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\n{OPEN}Transfer-Encoding: chunked\r\n\r\n{body}"
        );
        raw.send(filled(&proxy, &text)?).await?;
        let answers = raw.to_end().await?;
        assert!(answers.starts_with("HTTP/1.1 400"), "{body:?}: {answers}");
    }
    assert!(proxy.upstream.records().is_empty());
    Ok(())
}

/// `n` header lines.
fn lines(n: usize, value: &str) -> String {
    (0..n).fold(String::new(), |lines, n| lines + &format!("X-{n}: {value}\r\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_are_refused() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let many = lines(99, "1");
    assert_eq!(status(&proxy, &get("/kmi-rotor/v1/models", &many)).await?, 431);
    let large = format!("X: {}\r\n", "a".repeat(66_000));
    assert_eq!(status(&proxy, &get("/kmi-rotor/v1/models", &large)).await?, 431);
    assert!(proxy.upstream.records().is_empty());
    let fits = lines(98, &"a".repeat(500));
    assert_eq!(status(&proxy, &get("/kmi-rotor/v1/models", &fits)).await?, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_goes_upstream() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let token = proxy.token()?.expose().to_owned();
    let wrong = "ab".repeat(32);
    for (target, header, expected) in [
        ("/v1/messages", String::new(), 401),
        ("/v1/messages", format!("Authorization: Bearer {wrong}\r\n"), 401),
        ("/v1/messages", format!("Authorization: Bearer {}\r\n", &token[..63]), 401),
        ("/v1/messages", format!("Authorization: Basic {token}\r\n"), 401),
        ("/v1/messages", format!("Cookie: token={token}\r\n"), 401),
        ("/t/{wrong}/v1/messages", String::new(), 401),
        ("/t//v1/messages", String::new(), 401),
        ("/v1/messages?token={token}", String::new(), 401),
        ("/v1/messages", format!("authorization: bearer {token}\r\n"), 200),
        ("/v1/messages", format!("X-API-Key: {token}\r\n"), 200),
        ("/t/{token}/v1/messages", String::new(), 200),
        ("/t/{token}/v1/messages", "Authorization: Bearer a-login\r\n".to_owned(), 200),
    ] {
        let before = proxy.upstream.records().len();
        let target = target.replace("{wrong}", &wrong).replace("{token}", &token);
        let text = format!(
            "POST /kmi-rotor{target} HTTP/1.1\r\nHost: {{host}}\r\n{header}Content-Length: 0\r\n\r\n"
        );
        let mut raw = proxy.raw().await?;
        raw.send(filled(&proxy, &text)?).await?;
        let (status, head) = raw.head().await?;
        assert_eq!(status, expected, "{target} {header}");
        assert_eq!(head.contains("x-kmi-error: token_required"), expected == 401, "{head}");
        assert_eq!(proxy.upstream.records().len() - before, usize::from(expected != 401));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn some_things_are_answered_here_without_a_token() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let token = proxy.token()?.expose().to_owned();
    let with_token = format!("/kmi-rotor/t/{token}");
    for (method, target, expected) in [
        ("GET", "/kmi-rotor/healthz", 200),
        ("HEAD", "/kmi-rotor", 200),
        ("HEAD", "/kmi-rotor/v1", 200),
        ("HEAD", "/kmi-rotor/anthropic", 200),
        ("HEAD", with_token.as_str(), 200),
        ("OPTIONS", "/kmi-rotor/v1/chat/completions", 204),
        ("OPTIONS", "*", 204),
    ] {
        let mut raw = proxy.raw().await?;
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {{host}}\r\n\r\n");
        raw.send(filled(&proxy, &text)?).await?;
        let (status, head) = raw.head().await?;
        assert_eq!(status, expected, "{method} {target}");
        assert!(!head.to_lowercase().contains("access-control"), "{head}");
    }
    let preflight = "OPTIONS /kmi-rotor/v1/models HTTP/1.1\r\nHost: {host}\r\n\
        Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    assert_eq!(status(&proxy, preflight).await?, 403);
    assert!(proxy.upstream.records().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_a_refused_request_is_no_request() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let inner = filled(&proxy, &get("/kmi-rotor/v1/smuggled", ""))?;
    for head in [
        "Host: {host}\r\nAuthorization: Bearer wrong\r\n",
        "Host: {host}\r\nAuthorization: Bearer {token}\r\nOrigin: http://evil.example\r\n",
        "Host: evil.example\r\nAuthorization: Bearer {token}\r\n",
    ] {
        let mut raw = proxy.raw().await?;
        let text = format!(
            "POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n{inner}\
             GET /kmi-rotor/healthz HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\n\r\n",
            inner.len()
        );
        raw.send(filled(&proxy, &text)?).await?;
        let (status, _) = raw.head().await?;
        assert!([401, 403].contains(&status));
        let rest = raw.to_end().await?;
        assert!(rest.matches("HTTP/1.1 ").count() <= 1 && !rest.contains("x-kmi-turn"), "{rest}");
    }
    assert!(proxy.upstream.records().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_wait() -> anyhow::Result<()> {
    let proxy = TestProxy::start_with(Scenario::healthy(1), |settings| {
        settings.proxy.max_connections = 2;
    })
    .await?;
    let (mut first, mut second) = (proxy.client().await?, proxy.client().await?);
    assert_eq!(first.chat(false).await?.status, 200);
    assert_eq!(second.chat(false).await?.status, 200);
    let mut third = proxy.client().await?;
    let waiting = tokio::spawn(async move { third.chat(false).await });
    // Long enough for the third one to be served, if it were.
    for served in 3..=32 {
        assert_eq!(first.chat(false).await?.status, 200);
        assert_eq!(proxy.upstream.records().len(), served, "the third one is not served yet");
    }
    drop(second);
    assert_eq!(kmi_tests::in_time(waiting).await???.status, 200);
    Ok(())
}

/// A connection with a body that nobody reads ends; the answer says so, and one without goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_body_says_that_the_connection_ends() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let host = proxy.engine.address();
    for (path, status) in [("/kmi-rotor/v1/chat/completions", 401), ("/elsewhere", 404)] {
        let mut raw = proxy.raw().await?;
        raw.send(format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n"))
            .await?;
        let (got, head) = raw.head().await?;
        assert_eq!(got, status, "{head}");
        assert!(head.to_lowercase().contains("\r\nconnection: close\r\n"), "{head}");

        let mut raw = proxy.raw().await?;
        raw.send(format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"))
            .await?;
        let (got, head) = raw.head().await?;
        assert_eq!(got, status, "{head}");
        assert!(!head.to_lowercase().contains("\r\nconnection: close\r\n"), "{head}");
    }
    Ok(())
}
