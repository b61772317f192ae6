//! Mode and active key: what a command says counts for the next request.

use kmi_core::{state::Mode, trace::Record};
use kmi_proxy::{
    control::{Reply, Request},
    demo::{Act, Scenario, When, errors},
};
use kmi_tests::TestProxy;

async fn manual(keys: usize) -> anyhow::Result<TestProxy> {
    TestProxy::start_with(Scenario::healthy(keys), |settings| {
        settings.rotation.mode = Mode::Manual;
    })
    .await
}

async fn rotate(proxy: &TestProxy, key: Option<&str>) -> anyhow::Result<String> {
    match proxy.control(Request::Rotate { key: key.map(str::to_owned) }).await? {
        Reply::Key(key) => Ok(key.label),
        other => anyhow::bail!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_manual_mode_the_active_key_serves_and_nothing_is_a_turn() -> anyhow::Result<()> {
    let proxy = manual(3).await?;
    let mut client = proxy.client().await?;
    for _ in 0..5 {
        let answer = client.chat(false).await?;
        assert_eq!(answer.header("x-kmi-key"), "key-1");
        assert!(!answer.headers.contains_key("x-kmi-turn"));
    }
    assert_eq!(proxy.upstream.requests_per_key(), [5, 0, 0]);
    let attempts = proxy.attempts()?;
    assert!(attempts.iter().all(|it| it.turn.is_none() && it.slot.is_none()));
    assert_eq!(proxy.verify()?.all.turns, 0);
    Ok(())
}

/// CONTRACT section 1: `failover` holds in manual mode too; without it no other account is used.
#[tokio::test(flavor = "multi_thread")]
async fn without_failover_the_active_key_serves_or_nobody() -> anyhow::Result<()> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "30"));
    let scenario = Scenario::healthy(3).with_fault(0, When::Always, refused);
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.rotation.mode = Mode::Manual;
        settings.rotation.failover = false;
    })
    .await?;
    let mut client = proxy.client().await?;
    for attempts in ["1", "0"] {
        let answer = client.chat(false).await?;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("x-kmi-error"), "all_keys_rate_limited");
        assert_eq!(answer.header("x-kmi-attempts"), attempts, "a blocked key is not asked");
        assert_ne!(answer.header("retry-after"), "");
        let words =
            "The active Kimi key `key-1` is at its rate limit, and `rotation.failover` is off";
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    assert_eq!(proxy.upstream.requests_per_key(), [1, 0, 0]);
    rotate(&proxy, Some("key-2")).await?;
    assert_eq!(client.chat(false).await?.header("x-kmi-key"), "key-2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_acts_on_the_next_request() -> anyhow::Result<()> {
    let proxy = manual(3).await?;
    let mut client = proxy.client().await?;
    let mut served = Vec::new();
    for step in [None, Some("key-1"), Some("key-3"), None, None] {
        let label = rotate(&proxy, step).await?;
        let answer = client.chat(false).await?;
        assert_eq!(answer.header("x-kmi-key"), label);
        served.push(label);
    }
    assert_eq!(served, ["key-2", "key-1", "key-3", "key-1", "key-2"]);

    for (mode, turn) in [(Mode::Auto, "1"), (Mode::Manual, ""), (Mode::Auto, "2")] {
        assert_eq!(proxy.control(Request::Mode { mode }).await?, Reply::Done);
        assert_eq!(client.chat(false).await?.header("x-kmi-turn"), turn);
    }
    rotate(&proxy, None).await?;
    assert_eq!(client.chat(false).await?.header("x-kmi-turn"), "", "a choice by hand is manual");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_chosen_outlives_a_restart() -> anyhow::Result<()> {
    let proxy = manual(3).await?;
    rotate(&proxy, Some("key-3")).await?;
    let proxy = proxy.restart().await?;
    assert_eq!(proxy.client().await?.chat(false).await?.header("x-kmi-key"), "key-3");
    proxy.control(Request::Mode { mode: Mode::Auto }).await?;
    let proxy = proxy.restart().await?;
    let answer = proxy.client().await?.chat(false).await?;
    assert_eq!(answer.header("x-kmi-turn"), "1", "the file's `manual` is only the first value");
    let modes: Vec<_> = proxy
        .records()?
        .into_iter()
        .filter_map(|record| match record {
            Record::Mode(change) => Some((change.mode, change.by.to_string())),
            _ => None,
        })
        .collect();
    assert_eq!(modes, [(Mode::Manual, "user".to_owned()), (Mode::Auto, "user".to_owned())]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_serve_is_helped_out_and_stays_active() -> anyhow::Result<()> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "1"));
    let scenario = Scenario::healthy(3).with_fault(0, When::Requests(1..2), refused);
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.rotation.mode = Mode::Manual;
    })
    .await?;
    let mut client = proxy.client().await?;
    let answer = client.chat(false).await?;
    assert_eq!((answer.header("x-kmi-key"), answer.header("x-kmi-attempts")), ("key-2", "2"));
    let answer = client.chat(false).await?;
    assert_eq!((answer.header("x-kmi-key"), answer.header("x-kmi-attempts")), ("key-2", "1"));
    kmi_tests::eventually(async || Ok(client.chat(false).await?.header("x-kmi-key") == "key-1"))
        .await?;
    assert!(proxy.attempts()?.iter().all(|attempt| attempt.turn.is_none()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_has_is_an_error_with_a_hint() -> anyhow::Result<()> {
    let proxy = manual(1).await?;
    let reply = proxy.control(Request::Rotate { key: Some("nobody".to_owned()) }).await?;
    let Reply::Failed(failure) = reply else { anyhow::bail!("{reply:?}") };
    assert!(failure.message.contains("nobody") && failure.hint.is_some(), "{failure:?}");
    Ok(())
}
