//! Bodies pass piece by piece, whole and unchanged; where they break off, everybody sees it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use kmi_core::trace::Attempt;
use kmi_proxy::demo::{Act, End, Reply, Scenario, Shape, When};
use kmi_tests::{Client, TestProxy, chat_body, eventually, in_time};

const LONG: Duration = Duration::from_mins(10);
/// CONTRACT section 4: so soon the upstream hears that the client is gone.
const CANCEL: Duration = Duration::from_secs(1);

async fn doing(act: Act) -> anyhow::Result<TestProxy> {
    TestProxy::start_with(Scenario::healthy(1).with_fault(0, When::Always, act), |settings| {
        settings.upstreams[0].idle_timeout = Duration::from_millis(500);
    })
    .await
}

fn chat(client: &Client) -> http::request::Builder {
    client.request(Method::POST, "/v1/chat/completions").header("content-type", "application/json")
}

async fn last(proxy: &TestProxy) -> anyhow::Result<Attempt> {
    let attempt = proxy.attempts_when(1).await?.pop();
    attempt.ok_or_else(|| anyhow::anyhow!("no attempt"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_is_there_while_the_upstream_still_waits() -> anyhow::Result<()> {
    for pieces in 1..=3 {
        let act = Act::StallAfter(pieces, LONG);
        let proxy = TestProxy::start(Scenario::healthy(1).with_fault(0, When::Always, act)).await?;
        let mut client = proxy.client().await?;
        let request = chat(&client);
        let response = in_time(client.send(request, chat_body(true))).await??;
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let mut body = response.into_body();
        let mut events = 0;
        while events < pieces {
            let frame = in_time(body.frame()).await?.transpose()?;
            let data = frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
            events += String::from_utf8_lossy(&data).matches("\n\n").count();
        }
        assert_eq!(events, pieces);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_counts_tokens_of_streams_and_of_json() -> anyhow::Result<()> {
    let shape =
        Shape { prompt_tokens: 777, cached_tokens: 555, completion_tokens: 33, ..Shape::default() };
    for (path, stream) in [
        ("/v1/chat/completions", true),
        ("/v1/chat/completions", false),
        ("/v1/messages", true),
        ("/v1/messages", false),
        ("/v1/responses", true),
        ("/v1/responses", false),
    ] {
        let proxy = TestProxy::start(Scenario::healthy(1).with_shape(shape.clone())).await?;
        let mut client = proxy.client().await?;
        let request = client.request(Method::POST, path).header("content-type", "application/json");
        let answer = client.fetch(request, chat_body(stream)).await?;
        let line = last(&proxy).await?;
        let tokens = (line.prompt_tokens, line.cached_tokens, line.completion_tokens);
        assert_eq!(tokens, (Some(777), Some(555), Some(33)), "{path} {stream}: {}", answer.text());
        assert_eq!((line.stream, line.model.as_deref()), (Some(stream), Some("kimi-for-coding")));
        assert_eq!(line.session_id.as_deref(), Some("session-1"));
        assert_eq!(line.response_bytes, answer.body.len() as u64);
        assert_eq!(line.request_bytes, chat_body(stream).len() as u64);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_both_ways_unchanged() -> anyhow::Result<()> {
    const SIZE: usize = 64 << 20;
    let pattern = |seed: usize| -> Bytes {
        (0..SIZE / 8).flat_map(|n| (n * 0x9e37 + seed).to_le_bytes()).collect::<Vec<_>>().into()
    };
    let (sent, answer) = (pattern(1), pattern(2));
    let headers = vec![("content-type".to_owned(), "application/octet-stream".to_owned())];
    let reply = Act::Reply(Reply { status: 200, headers, body: answer.clone() });
    let proxy =
        TestProxy::start(Scenario::healthy(1).deciding(move |_| Some(reply.clone()))).await?;
    let mut client = proxy.client().await?;
    let request = client.request(Method::POST, "/v1/files");
    let got = client.fetch(request, sent.clone()).await?;
    assert_eq!(got.status, 200, "{:.300}", got.text());
    assert!(got.body == answer, "the answer was changed");
    assert!(proxy.upstream.records()[0].body == sent, "the request was changed");
    assert_eq!(got.header("content-length"), SIZE.to_string());
    let line = last(&proxy).await?;
    assert_eq!((line.request_bytes, line.response_bytes), (SIZE as u64, SIZE as u64));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_upstream_is_an_aborted_answer() -> anyhow::Result<()> {
    for stream in [true, false] {
        for act in [Act::CutAfter(1), Act::ResetAfter(1)] {
            let proxy = doing(act.clone()).await?;
            let (host, token) = (proxy.engine.address(), proxy.token()?);
            let mut raw = proxy.raw().await?;
            let body = chat_body(stream);
            raw.send(format!(
                "POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n\
                 Content-Type: application/json\r\nAuthorization: Bearer {}\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                token.expose(),
                body.len()
            ))
            .await?;
            let (status, _) = raw.head().await?;
            assert_eq!(status, 200);
            let wire = raw.to_end().await?;
            assert!(!wire.ends_with("0\r\n\r\n") && !wire.contains("[DONE]"), "{wire}");
            assert!(!wire.contains("x-kmi-error") && !wire.contains("\"error\""), "{wire}");
            let line = last(&proxy).await?;
            assert_eq!(line.outcome.as_str(), "upstream_cut", "{act:?}");
            assert_eq!(proxy.upstream.records().len(), 1);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stands_still_times_out() -> anyhow::Result<()> {
    let proxy = doing(Act::StallAfter(2, LONG)).await?;
    let mut client = proxy.client().await?;
    let request = chat(&client);
    let response = client.send(request, chat_body(true)).await?;
    let error = in_time(response.into_body().collect()).await?;
    assert!(error.is_err(), "not a clean end");
    let line = last(&proxy).await?;
    assert_eq!((line.outcome.as_str(), line.status), ("upstream_timeout", Some(200)));
    assert!(line.response_bytes > 0 && line.latency_ms >= 400, "{line:?}");
    eventually(async || Ok(proxy.upstream.records()[0].end == End::ClientGone)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_request_along() -> anyhow::Result<()> {
    for (act, stream) in [
        (Act::StallAfter(2, LONG), true),
        (Act::SlowHead(LONG), true),
        (Act::SlowHead(LONG), false),
    ] {
        let scenario = Scenario::healthy(1).with_fault(0, When::Always, act.clone());
        let proxy = TestProxy::start(scenario).await?;
        let mut client = proxy.client().await?;
        let request = chat(&client);
        let sending = tokio::spawn(async move {
            let response = client.send(request, chat_body(stream)).await?;
            in_time(response.into_body().collect()).await??;
            anyhow::Ok(())
        });
        eventually(async || Ok(!proxy.upstream.records().is_empty())).await?;
        sending.abort();
        let left = Instant::now();
        let _ = sending.await;
        eventually(async || Ok(proxy.upstream.records()[0].end == End::ClientGone)).await?;
        assert!(left.elapsed() < CANCEL, "{act:?}: {:?}", left.elapsed());
        assert_eq!(last(&proxy).await?.outcome.as_str(), "client_gone");
        let report = proxy.verify()?;
        assert_eq!((report.all.conforming, report.all.open), (1, 0));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_many_requests() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let mut client = proxy.client().await?;
    for turn in 0..20 {
        assert_eq!(client.chat(turn % 2 == 0).await?.status, 200);
    }
    let lines = proxy.attempts()?;
    assert_eq!(lines.iter().filter(|line| line.connect_ms > 0).count() / 2, 0, "one was made");
    assert!(lines.iter().all(|line| line.outcome.as_str() == "ok" && line.ttfb_ms.is_some()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_its_own_body_is_gone() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let (host, token) = (proxy.engine.address(), proxy.token()?);
    // A small body is never sent on; a large one is cancelled on its way.
    for (length, made) in [(1000, 0), (32 << 20, 1)] {
        let mut raw = proxy.raw().await?;
        raw.send(format!(
            "POST /kmi-rotor/v1/files HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {length}\r\n\r\n",
            token.expose()
        ))
        .await?;
        raw.send(vec![b'a'; length / 2]).await?;
        if made > 0 {
            let live = proxy.engine.rotor().proxy().live();
            eventually(async || Ok(live.pools[0].turns_in_flight().0 == 1)).await?;
        }
        drop(raw);
        let lines = proxy.attempts_when(made).await?;
        assert_eq!(lines.len(), made);
        assert!(lines.iter().all(|line| line.outcome.as_str() == "client_gone"), "{lines:?}");
        assert!(lines.iter().all(|line| line.request_bytes < length as u64));
    }
    assert!(proxy.upstream.records().is_empty());
    assert_eq!(proxy.client().await?.chat(false).await?.header("x-kmi-turn"), "2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pipelined_and_left_is_gone_too() -> anyhow::Result<()> {
    let slow = Act::SlowHead(LONG);
    let proxy = TestProxy::start(Scenario::healthy(1).with_fault(0, When::Always, slow)).await?;
    let (host, token) = (proxy.engine.address(), proxy.token()?);
    for extra in ["", "\r\n", "GET /kmi-rotor/healthz HTTP/1.1\r\n"] {
        let before = proxy.upstream.records().len();
        let mut raw = proxy.raw().await?;
        raw.send(format!(
            "POST /kmi-rotor/v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n\
             Authorization: Bearer {}\r\nContent-Length: 2\r\n\r\n{{}}{extra}",
            token.expose()
        ))
        .await?;
        eventually(async || Ok(proxy.upstream.records().len() > before)).await?;
        drop(raw);
        let left = Instant::now();
        eventually(async || Ok(proxy.upstream.records()[before].end == End::ClientGone)).await?;
        assert!(left.elapsed() < CANCEL, "{extra:?}: {:?}", left.elapsed());
    }
    Ok(())
}
