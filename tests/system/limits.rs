//! Slow and idle clients are closed, and others are served meanwhile.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kmi_proxy::{
    demo::{Act, Reply, Scenario, When},
    settings::ProxySettings,
};
use kmi_tests::{PATIENCE, Raw, TestProxy};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_mins(10);

/// A proxy with one of its limits short and all others out of reach.
async fn with(
    scenario: Scenario,
    short: fn(&mut ProxySettings) -> &mut Duration,
) -> anyhow::Result<TestProxy> {
    TestProxy::start_with(scenario, |settings| {
        let proxy = &mut settings.proxy;
        (proxy.head_timeout, proxy.idle_timeout, proxy.stall_timeout) = (LONG, LONG, LONG);
        *short(proxy) = SHORT;
    })
    .await
}

fn open(proxy: &TestProxy) -> anyhow::Result<String> {
    let (host, token) = (proxy.engine.address(), proxy.token()?);
    Ok(format!("Host: {host}\r\nAuthorization: Bearer {}\r\n", token.expose()))
}

async fn others_are_served(proxy: &TestProxy) -> anyhow::Result<()> {
    assert_eq!(proxy.client().await?.chat(true).await?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_is_given_up() -> anyhow::Result<()> {
    let proxy = with(Scenario::healthy(1), |proxy| &mut proxy.head_timeout).await?;
    let open = open(&proxy)?;
    let mut half = Vec::new();
    for begun in
        ["G", "GET /kmi-rotor/v1/models HTTP/1.1\r\n", &format!("GET / HTTP/1.1\r\n{open}")]
    {
        let mut raw = proxy.raw().await?;
        raw.send(begun).await?;
        half.push(raw);
    }
    others_are_served(&proxy).await?;
    for mut raw in half {
        assert_eq!(raw.to_end().await?, "");
    }
    // Neither is one that goes on, but never comes to its end.
    let (mut slow, start) = (proxy.raw().await?, Instant::now());
    slow.send("GET /kmi-rotor/v1/models HTTP/1.1\r\n").await?;
    while slow.send("X: 1\r\n").await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "it may go on for ever");
        tokio::time::sleep(SHORT / 10).await;
    }
    assert!(start.elapsed() >= SHORT);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_on_heads_is_none_on_answers() -> anyhow::Result<()> {
    let slow = Act::SlowHead(SHORT * 2);
    let scenario = Scenario::healthy(1).with_fault(0, When::Always, slow);
    let proxy = with(scenario, |proxy| &mut proxy.head_timeout).await?;
    let mut raw = proxy.raw().await?;
    for _ in 0..2 {
        // A line break after a request is no head that has begun.
        let open = open(&proxy)?;
        raw.send(format!("HEAD /kmi-rotor/v1/models HTTP/1.1\r\n{open}\r\n\r\n")).await?;
        assert_eq!(raw.head().await?.0, 200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_connections_are_closed() -> anyhow::Result<()> {
    let proxy = with(Scenario::healthy(1), |proxy| &mut proxy.idle_timeout).await?;
    let (mut silent, mut used) = (proxy.raw().await?, proxy.raw().await?);
    used.send(format!("HEAD /kmi-rotor HTTP/1.1\r\n{}\r\n", open(&proxy)?)).await?;
    assert_eq!(used.head().await?.0, 200);
    others_are_served(&proxy).await?;
    assert_eq!((silent.to_end().await?, used.to_end().await?), (String::new(), String::new()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up() -> anyhow::Result<()> {
    let proxy = with(Scenario::healthy(1), |proxy| &mut proxy.stall_timeout).await?;
    let open = open(&proxy)?;
    let mut waiting: Vec<Raw> = Vec::new();
    for (framing, begun) in [
        ("Content-Length: 10", ""),
        ("Content-Length: 10", "{"),
        ("Transfer-Encoding: chunked", "5"),
    ] {
        let mut raw = proxy.raw().await?;
        let head =
            format!("POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\n{open}{framing}\r\n\r\n");
        raw.send(head + begun).await?;
        waiting.push(raw);
    }
    others_are_served(&proxy).await?;
    for mut raw in waiting {
        let answer = raw.to_end().await?;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert_eq!(proxy.upstream.records().len(), 1, "only the others' request went upstream");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_is_given_up() -> anyhow::Result<()> {
    // More than the buffers of both sockets hold.
    let body = Bytes::from(vec![b'a'; 64 << 20]);
    let reply = Act::Reply(Reply { status: 200, headers: Vec::new(), body });
    let scenario = Scenario::healthy(1)
        .deciding(move |asked| asked.path.ends_with("/models").then(|| reply.clone()));
    let proxy = with(scenario, |proxy| &mut proxy.stall_timeout).await?;
    let mut raw = proxy.raw().await?;
    raw.send(format!("GET /kmi-rotor/v1/models HTTP/1.1\r\n{}\r\n", open(&proxy)?)).await?;
    assert_eq!(raw.head().await?.0, 200);
    others_are_served(&proxy).await?;
    let attempts = proxy.attempts_when(2).await?;
    let mut outcomes: Vec<_> = attempts.iter().map(|it| it.outcome.as_str()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["client_gone", "ok"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_slow_clients_leave_room_for_others() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let mut slow = Vec::new();
    for n in 0..300 {
        let mut raw = proxy.raw().await?;
        raw.send(["", "GET /kmi", "POST / HTTP/1.1\r\nContent-Length: 5\r\n"][n % 3]).await?;
        slow.push(raw);
    }
    for _ in 0..30 {
        others_are_served(&proxy).await?;
    }
    Ok(())
}
