//! A stop lets requests end, ends what does not, and the trace knows of both.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;
use kmi_proxy::{
    control::Request,
    demo::{Act, Scenario, Shape, When},
};
use kmi_stats::verify::{InFlight, Options, Verifier};
use kmi_tests::{Client, TestHome, TestProxy, chat_body, eventually, in_time};
use tokio::net::TcpStream;

const LONG: Duration = Duration::from_mins(10);

/// A chat request whose answer has begun.
async fn begun(client: &mut Client) -> anyhow::Result<hyper::body::Incoming> {
    let request = client.request(Method::POST, "/v1/chat/completions");
    Ok(in_time(client.send(request, chat_body(true))).await??.into_body())
}

fn outcomes(home: &TestHome) -> anyhow::Result<Vec<String>> {
    Ok(home.attempts()?.iter().map(|line| line.outcome.as_str().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_stream_ends_and_nothing_new_begins() -> anyhow::Result<()> {
    let shape = Shape::sized(400, 20, Duration::from_millis(25));
    let proxy = TestProxy::start(Scenario::healthy(2).with_shape(shape)).await?;
    let (mut streaming, mut idle) = (proxy.client().await?, proxy.client().await?);
    assert_eq!(idle.chat(false).await?.status, 200);
    let _silent = TcpStream::connect(proxy.engine.address()).await?;
    let body = begun(&mut streaming).await?;

    let TestProxy { engine, home, upstream: _upstream, .. } = proxy;
    let address = engine.address();
    let stopping = tokio::spawn(engine.stop());
    eventually(async || Ok(TcpStream::connect(address).await.is_err())).await?;
    assert!(idle.chat(false).await.is_err(), "kept connections are closed");
    let whole = in_time(body.collect()).await??.to_bytes();
    assert!(whole.ends_with(b"data: [DONE]\n\n"));
    let start = Instant::now();
    in_time(stopping).await???;
    assert!(start.elapsed() < Duration::from_secs(5), "an idle or silent client holds up nothing");
    assert_eq!(outcomes(&home)?, ["ok", "ok"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_ended_visibly() -> anyhow::Result<()> {
    let scenario = Scenario::healthy(3)
        .with_fault(0, When::Always, Act::StallAfter(2, LONG))
        .with_fault(1, When::Always, Act::SlowHead(LONG));
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.proxy.drain_timeout = Duration::from_millis(300);
    })
    .await?;
    let (mut first, mut second) = (proxy.client().await?, proxy.client().await?);
    let body = begun(&mut first).await?;
    let waiting = tokio::spawn(async move { second.chat(false).await });
    eventually(async || Ok(proxy.upstream.records().len() == 2)).await?;
    assert_eq!(proxy.client().await?.chat(false).await?.status, 200);

    proxy.control(Request::Stop).await?;
    let TestProxy { engine, home, upstream: _upstream, .. } = proxy;
    in_time(engine.wait()).await??;
    assert!(in_time(body.collect()).await?.is_err(), "not a clean end");
    assert!(waiting.await?.is_err());
    let mut ended = outcomes(&home)?;
    ended.sort();
    assert_eq!(ended, ["ok", "shutdown", "shutdown"]);

    let mut verifier = Verifier::new(Options::default());
    for line in home.lines()? {
        verifier.line(line.as_bytes())?;
    }
    let report = verifier.report(&InFlight::None);
    assert_eq!((report.all.conforming, report.all.violations, report.all.open), (3, 0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_turn_under_load_is_in_the_ledger() -> anyhow::Result<()> {
    let shape = Shape::sized(200, 4, Duration::from_millis(2));
    let proxy = TestProxy::start_with(Scenario::healthy(3).with_shape(shape), |settings| {
        settings.proxy.drain_timeout = Duration::from_millis(1);
    })
    .await?;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut client = proxy.client().await?;
        running.spawn(async move { while client.chat(true).await.is_ok() {} });
    }
    eventually(async || Ok(proxy.upstream.records().len() > 200)).await?;
    let TestProxy { engine, home, upstream, .. } = proxy;
    in_time(engine.stop()).await??;
    running.join_all().await;

    let mut turns: Vec<_> = home.attempts()?.iter().filter_map(|line| line.turn).collect();
    turns.sort_unstable();
    assert_eq!(turns, (1..=turns.len() as u64).collect::<Vec<_>>());
    // A turn may have been ended before its request was sent; never the other way round.
    assert!(turns.len() >= upstream.records().len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_home_can_be_used_at_once() -> anyhow::Result<()> {
    let mut proxy = TestProxy::start(Scenario::healthy(2)).await?;
    for turn in 1..=4_u64 {
        let answer = proxy.client().await?.chat(false).await?;
        assert_eq!(answer.header("x-kmi-turn"), turn.to_string());
        let socket = proxy.home.home().socket();
        assert!(socket.exists());
        proxy = proxy.restart().await?;
    }
    Ok(())
}
