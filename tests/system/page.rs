//! The page at `/kmi-rotor/trace` and what belongs to it (tests/page.py tries it in a browser).

use std::time::{Duration, Instant};

use http::Method;
use kmi_proxy::demo::Scenario;
use kmi_tests::{Answer, Client, Raw, TestProxy};

/// Asks for the feed, with the token or without.
async fn feed(proxy: &TestProxy, query: &str, token: bool) -> anyhow::Result<Raw> {
    let credential = if token {
        format!("Authorization: Bearer {}\r\n", proxy.token()?.expose())
    } else {
        String::new()
    };
    let mut raw = proxy.raw().await?;
    raw.send(format!(
        "GET /kmi-rotor/trace/feed{query} HTTP/1.1\r\nHost: {}\r\n{credential}\r\n",
        proxy.engine.address(),
    ))
    .await?;
    Ok(raw)
}

async fn get(client: &mut Client, path: &str) -> anyhow::Result<Answer> {
    client.fetch(client.request(Method::GET, path), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_nothing_without_the_token() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    proxy.client().await?.chat(false).await?;
    let mut stranger = Client::connect(proxy.engine.address(), None).await?;
    for path in ["/trace/lines", "/trace/why?seq=2", "/trace/why", "/metrics"] {
        let answer = get(&mut stranger, path).await?;
        assert_eq!((answer.status.as_u16(), answer.header("x-kmi-error")), (401, "token_required"));
        assert!(!answer.text().contains("key-1"), "{path}");
    }
    assert_eq!(feed(&proxy, "", false).await?.head().await?.0, 401);
    // In the path it would be in the browser's history, and in what the browser tells others.
    let in_path = format!("/t/{}/trace/lines", proxy.token()?.expose());
    assert_eq!(get(&mut stranger, &in_path).await?.status, 404);
    for path in ["/trace", "/trace/main.js", "/trace/page.css"] {
        let answer = get(&mut stranger, path).await?;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("-inline"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(!answer.text().contains("key-1"), "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_only_reads() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let mut client = proxy.client().await?;
    client.chat(false).await?;
    for path in ["/trace", "/trace/feed", "/trace/lines", "/metrics"] {
        let mut client = proxy.client().await?;
        let answer = client.fetch(client.request(Method::POST, path), "x").await?;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET, HEAD"), "{path}");
    }
    for (path, status) in [
        ("/trace/nothing", 404),
        ("/trace/why", 400),
        ("/trace/why?seq=x", 400),
        ("/trace/why?seq=1", 404),
        ("/trace/why?seq=999", 404),
        ("/trace/lines?limit=-1", 400),
        ("/trace/feed?after=x", 400),
    ] {
        assert_eq!(get(&mut client, path).await?.status, status, "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_data_are_the_traces() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let mut client = proxy.client().await?;
    for _ in 0..2 {
        client.chat(false).await?;
    }
    let stored = proxy.lines()?;
    let lines = get(&mut client, "/trace/lines?limit=2").await?;
    assert_eq!(lines.text(), format!("[{}]", stored[stored.len() - 2..].join(",")));
    let why = get(&mut client, "/trace/why?seq=3").await?.json();
    assert_eq!(why["sentence"], "turn 2: key-2, the next key after key-1");
    assert_eq!(why["follows_rule"], true);
    assert_eq!(why["others"][0]["why_not"], "comes later");

    let mut feed = feed(&proxy, "?back=1", true).await?;
    feed.until(stored.last().expect("two turns")).await?;
    feed.until(r#"{"type":"snapshot""#).await?;
    client.chat(false).await?;
    feed.until(proxy.lines()?.last().expect("three turns")).await?;

    let metrics = get(&mut client, "/metrics").await?.text();
    for label in ["key-1", "key-2", "key-3"] {
        let sample = metrics.lines().find(|line| {
            line.starts_with("kmi_attempts_total{") && line.contains(&format!("label=\"{label}\""))
        });
        assert!(sample.is_some_and(|it| it.ends_with(" 1")), "{metrics}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_does_not_hold_up_the_end() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let mut feed = feed(&proxy, "", true).await?;
    feed.until(r#"{"type":"snapshot""#).await?;
    let start = Instant::now();
    proxy.engine.stop().await?;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // A clean end, and not a connection that broke.
    assert!(feed.to_end().await?.ends_with("0\r\n\r\n"));
    Ok(())
}
