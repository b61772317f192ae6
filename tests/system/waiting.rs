//! With `on_exhausted = "wait"` requests wait in line for the next usable key; and a key that was
//! blocked is back as soon as it has answered one request.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use kmi_proxy::{
    demo::{Act, Scenario, When, errors},
    settings::OnExhausted,
};
use kmi_tests::{TestHome, TestProxy, chat_body, eventually, in_time};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_mins(1);

/// One key that is refused for a second at its first request and then takes a request at a time.
async fn resting() -> anyhow::Result<TestProxy> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "1"));
    let scenario = Scenario::healthy(1).with_fault(0, When::Requests(1..2), refused);
    let proxy = one_at_a_time(scenario).await?;
    assert_eq!(proxy.client().await?.chat(false).await?.status, 429);
    Ok(proxy)
}

/// The first key of a scenario, which kmi lets serve one request at a time.
async fn one_at_a_time(scenario: Scenario) -> anyhow::Result<TestProxy> {
    let home = TestHome::new()?;
    let text = format!("api_key = \"{}\"\nconcurrency = 1\n", scenario.keys[0].secret);
    home.write_key("key-1.toml", &text)?;
    TestProxy::start_in(home, scenario, |settings| {
        settings.rotation.on_exhausted = OnExhausted::Wait;
        settings.rotation.max_wait = Duration::from_secs(15);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_are_served_in_the_order_of_their_coming() -> anyhow::Result<()> {
    let proxy = resting().await?;
    let mut running = JoinSet::new();
    for number in 0..8u64 {
        let mut client = proxy.client().await?;
        running.spawn(async move {
            // The last ones come when the key is just free again.
            tokio::time::sleep(Duration::from_millis(140 * number)).await;
            let answer = client.chat(false).await?;
            anyhow::Ok((number, answer.status.as_u16(), answer.header("x-kmi-turn").to_owned()))
        });
    }
    let mut served = running.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    served.sort();
    let expected: Vec<_> = (0..8).map(|number| (number, 200, (number + 2).to_string())).collect();
    assert_eq!(served, expected, "turn 1 was the refused one");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_waits_no_longer() -> anyhow::Result<()> {
    let proxy = resting().await?;
    let mut leaves = proxy.client().await?;
    let mut stays = proxy.client().await?;
    let request = leaves.request(http::Method::POST, "/v1/chat/completions");
    let gone = leaves.send(request, "{\"model\":\"of-the-one-who-left\"}");
    assert!(tokio::time::timeout(Duration::from_millis(200), gone).await.is_err(), "it waits");
    drop(leaves);
    assert_eq!(stays.chat(false).await?.status, 200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = proxy.upstream.records();
    assert_eq!(asked.len(), 2, "the refused one, and the one who stayed");
    let left = |body: &[u8]| memchr::memmem::find(body, b"of-the-one-who-left").is_some();
    assert!(!asked.iter().any(|it| left(&it.body)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_freed_is_taken_at_once() -> anyhow::Result<()> {
    let slow = Act::SlowHead(Duration::from_millis(400));
    let scenario = Scenario::healthy(1).with_fault(0, When::Requests(1..2), slow);
    let proxy = one_at_a_time(scenario).await?;
    let (mut first, mut second) = (proxy.client().await?, proxy.client().await?);
    let start = Instant::now();
    let first = tokio::spawn(async move { first.chat(false).await });
    eventually(async || Ok(proxy.upstream.records().len() == 1)).await?;
    assert_eq!(second.chat(false).await?.status, 200);
    let took = start.elapsed();
    assert_eq!(first.await??.status, 200);
    // Looking again after a second, as where nothing tells that a slot is free, would be later.
    assert!((400..900).contains(&took.as_millis()), "{took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_answers_does_not_hold_its_key_to_the_end_of_the_stream() -> anyhow::Result<()>
{
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "1"));
    let scenario = Scenario::healthy(1).with_fault(0, When::Requests(1..2), refused).with_fault(
        0,
        When::Requests(1..2),
        Act::StallAfter(1, LONG),
    );
    let proxy = TestProxy::start(scenario).await?;
    let (mut probe, mut other) = (proxy.client().await?, proxy.client().await?);
    assert_eq!(probe.chat(false).await?.status, 429);
    let mut stream = None;
    eventually(async || {
        let request = probe
            .request(http::Method::POST, "/v1/chat/completions")
            .header("content-type", "application/json");
        let answer = probe.send(request, chat_body(true)).await?;
        if answer.status() == 200 {
            stream = Some(answer);
            return Ok(true);
        }
        answer.into_body().collect().await?;
        Ok(false)
    })
    .await?;
    let answer = in_time(other.chat(false)).await??;
    assert_eq!(answer.status, 200, "{}", answer.text());
    drop(stream);
    Ok(())
}
