//! Watching: the feed shows what happens, in order, and can be taken up again.

use std::path::PathBuf;

use kmi_core::state::KeyState;
use kmi_proxy::{
    control::{self, FeedItem, Overview, Reply, Request},
    demo::{Act, Scenario, When, errors},
};
use kmi_stats::report::Verdict;
use kmi_tests::{TestProxy, in_time};

/// Reads the feed until `enough`; gives all lines and the last picture.
async fn read(
    socket: PathBuf,
    after: Option<u64>,
    mut enough: impl FnMut(&[String], Option<&Overview>) -> bool + Send + 'static,
) -> anyhow::Result<(Vec<String>, Option<Overview>)> {
    let reading = tokio::task::spawn_blocking(move || {
        let (mut lines, mut picture) = (Vec::new(), None);
        for item in control::feed(&socket, after, 10)? {
            match item? {
                FeedItem::Line(line) => lines.push(line),
                FeedItem::Picture(new) => picture = Some(*new),
                other => anyhow::bail!("{other:?}"),
            }
            if enough(&lines, picture.as_ref()) {
                break;
            }
        }
        anyhow::Ok((lines, picture))
    });
    in_time(reading).await??
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_shows_lines_and_pictures_and_can_be_taken_up_again() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let mut client = proxy.client().await?;
    for _ in 0..30 {
        client.chat(false).await?;
    }
    let stored = proxy.lines()?;
    let socket = proxy.home.home().socket();
    let (seen, _) = read(socket.clone(), Some(5), |lines, _| lines.len() == 20).await?;
    assert_eq!(seen, stored[5..25], "byte for byte");
    for _ in 0..35 {
        client.chat(false).await?;
    }
    let proven = |picture: &Overview| picture.fairness.window.numbers.turns == 65;
    let enough = move |lines: &[String], picture: Option<&Overview>| {
        lines.len() >= 41 && picture.is_some_and(proven)
    };
    let (rest, picture) = read(socket, Some(25), enough).await?;
    assert_eq!(rest, proxy.lines()?[25..]);
    let picture = picture.expect("a picture");
    assert_eq!(picture.fairness.window.numbers.verdict, Verdict::Verified);
    let requests: u64 = picture.status.snapshot.keys.iter().map(|key| key.requests).sum();
    assert_eq!(requests, 65);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_can_be_paged_through() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let mut client = proxy.client().await?;
    for _ in 0..25 {
        client.chat(false).await?;
    }
    let stored = proxy.lines()?;
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let page = proxy.control(Request::Lines { before, limit: 10 }).await?;
        let Reply::Lines(mut page) = page else { anyhow::bail!("{page:?}") };
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 10);
        before =
            Some(serde_json::from_str::<serde_json::Value>(&page[0])?["seq"].as_u64().unwrap());
        page.append(&mut pages);
        pages = page;
    }
    assert_eq!(pages, stored);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_can_be_ended_by_hand_and_a_disabled_key_stays_so() -> anyhow::Result<()> {
    let limited =
        Scenario::healthy(2).with_fault(0, When::Always, Act::Error(errors::TOO_MANY_REQUESTS));
    let proxy = TestProxy::start(limited).await?;
    proxy.client().await?.chat(false).await?;
    let state = async || {
        let Reply::Status(status) = proxy.control(Request::Status).await? else {
            anyhow::bail!("no status");
        };
        anyhow::Ok(status.snapshot.keys[0].state)
    };
    assert_eq!(state().await?, KeyState::Blocked);
    let reset = async || proxy.control(Request::Reset { key: "key-1".into() }).await;
    assert!(matches!(reset().await?, Reply::Key(key) if key.label == "key-1"));
    assert_ne!(state().await?, KeyState::Blocked);
    proxy.control(Request::Switch { key: "key-1".into(), on: false }).await?;
    reset().await?;
    assert_eq!(state().await?, KeyState::Disabled);
    let nobody = proxy.control(Request::Reset { key: "key-9".into() }).await?;
    assert!(matches!(nobody, Reply::Failed(_)));
    Ok(())
}
