//! A bad line to the upstream: late, cut, reset, stuck, half closed. Nobody ever takes a part for
//! the whole, nothing is sent twice, and nothing is kept longer than it may be.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use kmi_proxy::demo::{Act, Reply, Scenario, Shape, StandIn, When};
use kmi_tests::{Client, Fault, FaultProxy, TestProxy, Trouble, chat_body, eventually, in_time};

/// After how much silence a line is given up, where a line falls silent.
const SHORT: Duration = Duration::from_secs(1);
/// ... and where none does: longer than a busy machine makes anybody wait.
const LONG: Duration = Duration::from_secs(30);

/// A proxy behind a bad line to a good upstream, which it gives up after that much silence.
async fn behind(
    upstream: &StandIn,
    keys: usize,
    silence: Duration,
) -> anyhow::Result<(TestProxy, FaultProxy)> {
    let line = FaultProxy::start(upstream.address()).await?;
    let url =
        upstream.base_url().replace(&upstream.address().to_string(), &line.address().to_string());
    let proxy = TestProxy::start_with(Scenario::healthy(keys), |settings| {
        settings.upstreams[0].base_url = url;
        settings.upstreams[0].idle_timeout = silence;
        settings.upstreams[0].first_byte_timeout = silence;
    })
    .await?;
    Ok((proxy, line))
}

/// What a client makes of a streamed answer: the status of a whole one, or `None`.
async fn whole(client: &mut Client) -> anyhow::Result<Option<(u16, Bytes)>> {
    let request = client.request(Method::POST, "/v1/chat/completions");
    let request = request.header("content-type", "application/json");
    let Ok(response) = in_time(client.send(request, chat_body(true))).await? else {
        return Ok(None);
    };
    let status = response.status().as_u16();
    let body = in_time(response.into_body().collect()).await?;
    Ok(body.ok().map(|body| (status, body.to_bytes())))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_at_any_byte_is_never_taken_for_whole() -> anyhow::Result<()> {
    let upstream =
        StandIn::start(Scenario::healthy(3).with_shape(Shape::sized(40, 4, Duration::ZERO)))
            .await?;
    let (proxy, line) = behind(&upstream, 3, LONG).await?;
    let good = whole(&mut proxy.client().await?).await?.expect("a good line");
    assert!(good.0 == 200 && good.1.ends_with(b"data: [DONE]\n\n"));
    let length = line.bytes_back();
    let (mut requests, mut seen) = (1, BTreeMap::new());
    for trouble in [Trouble::Cut, Trouble::Reset] {
        // A prime, so that heads, chunk sizes, data and line ends are all cut somewhere.
        for at in (1..length).step_by(13).chain([length - 2, length - 1]) {
            line.set(Fault { after: Some((at, trouble)), ..Fault::default() }).await?;
            let proxied = whole(&mut proxy.client().await?).await?;
            requests += 1;
            match proxied {
                None => *seen.entry("aborted").or_insert(0) += 1,
                Some((502, _)) => *seen.entry("502").or_insert(0) += 1,
                Some(answer) => panic!("{trouble:?} after {at} of {length} bytes: {answer:?}"),
            }
        }
    }
    assert!(seen["aborted"] > 20 && seen["502"] > 20, "{seen:?}");
    assert!(requests > 300, "SECURITY.md says 300: {requests}");
    // What may have been carried out is not sent again.
    assert_eq!(upstream.records().len(), requests);
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations), (requests as u64, 0));
    let broken =
        proxy.attempts()?.iter().filter(|it| it.outcome.as_str() == "upstream_cut").count();
    assert_eq!(broken, requests - 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_line_is_only_late() -> anyhow::Result<()> {
    let shape = Shape::sized(400, 10, Duration::from_millis(5));
    let upstream = StandIn::start(Scenario::healthy(1).with_shape(shape)).await?;
    let (proxy, line) = behind(&upstream, 1, LONG).await?;
    let (_, good) = whole(&mut proxy.client().await?).await?.expect("a good line");
    line.set(Fault { latency: Duration::from_millis(20), ..Fault::default() }).await?;
    let (status, late) = whole(&mut proxy.client().await?).await?.expect("late, but whole");
    assert_eq!((status, late.len()), (200, good.len()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_stands_still_is_given_up() -> anyhow::Result<()> {
    let upstream = StandIn::start(Scenario::healthy(1)).await?;
    let (proxy, line) = behind(&upstream, 1, SHORT).await?;
    for (at, status) in [(0, Some(504)), (30, Some(504)), (900, None)] {
        line.set(Fault { after: Some((at, Trouble::Stall)), ..Fault::default() }).await?;
        let seen = whole(&mut proxy.client().await?).await?;
        assert_eq!(seen.map(|(status, _)| status), status, "after {at} bytes");
        eventually(async || Ok(line.open() == 0)).await?;
    }
    let attempts = proxy.attempts_when(3).await?;
    let ends: Vec<_> = attempts.iter().map(|it| it.outcome.as_str()).collect();
    assert_eq!(ends, ["upstream_timeout"; 3]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_line_serves_no_second_request() -> anyhow::Result<()> {
    let upstream = StandIn::start(Scenario::healthy(1)).await?;
    let (proxy, line) = behind(&upstream, 1, LONG).await?;
    let mut client = proxy.client().await?;
    assert!(whole(&mut client).await?.is_some());
    let length = line.bytes_back();
    // Whole, and then the upstream's side is closed; what is sent there would be lost.
    line.set(Fault { after: Some((length, Trouble::HalfClose)), ..Fault::default() }).await?;
    let mut client = proxy.client().await?;
    for _ in 0..5 {
        let (status, body) = whole(&mut client).await?.expect("a whole answer");
        assert!(status == 200 && body.ends_with(b"data: [DONE]\n\n"));
    }
    assert_eq!(upstream.records().len(), 6, "each request once");
    Ok(())
}

/// How much of an answer may be on its way while nobody reads it: what sockets and buffers of four
/// programs hold, and no more.
const ON_THE_WAY: u64 = 24 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_is_not_fetched() -> anyhow::Result<()> {
    let body = Bytes::from(vec![b'a'; 96 << 20]);
    let reply = Reply { status: 200, headers: Vec::new(), body: body.clone() };
    let scenario = Scenario::healthy(1).with_fault(0, When::Always, Act::Reply(reply));
    let upstream = StandIn::start(scenario).await?;
    let (proxy, line) = behind(&upstream, 1, LONG).await?;
    let mut client = proxy.client().await?;
    let request = client.request(Method::POST, "/v1/chat/completions");
    let response = in_time(client.send(request, chat_body(false))).await??;
    // It stands still well before the end, and for as long as nobody reads.
    let mut before = u64::MAX;
    eventually(async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = line.bytes_back();
        Ok(std::mem::replace(&mut before, now) == now)
    })
    .await?;
    assert!(before < ON_THE_WAY, "{before} bytes were fetched for nobody");
    let read = in_time(response.into_body().collect()).await??.to_bytes();
    assert_eq!(read.len(), body.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_the_line() -> anyhow::Result<()> {
    let shape = Shape::sized(4000, 200, Duration::from_millis(50));
    let upstream = StandIn::start(Scenario::healthy(1).with_shape(shape)).await?;
    let (proxy, line) = behind(&upstream, 1, LONG).await?;
    for _ in 0..3 {
        let mut client = proxy.client().await?;
        let request = client.request(Method::POST, "/v1/chat/completions");
        let request = request.header("content-type", "application/json");
        let mut body = in_time(client.send(request, chat_body(true))).await??.into_body();
        in_time(body.frame()).await?.transpose()?;
        assert_eq!(line.open(), 1);
        drop((body, client));
        let took = eventually(async || Ok(line.open() == 0)).await?;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    let attempts = proxy.attempts_when(3).await?;
    assert!(attempts.iter().all(|it| it.outcome.as_str() == "client_gone"), "{attempts:?}");
    Ok(())
}
