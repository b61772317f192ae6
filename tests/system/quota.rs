//! What is known of keys: quotas that are asked, and blocks that a restart does not forget.

use http::Method;
use jiff::Timestamp;
use kmi_core::state::{KeyState, Reason};
use kmi_proxy::{
    control::{Reply, Request},
    demo::{Act, Fault, Only, Scenario, When, errors},
};
use kmi_tests::{TestProxy, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_test_asks_each_key_and_fills_in_its_quota() -> anyhow::Result<()> {
    let dead = Act::Error(errors::KEY_INVALID);
    let mut scenario = Scenario::healthy(3);
    scenario.keys[1].faults.push(Fault { only: Only::All, ..Fault::new(When::Always, dead) });
    let proxy = TestProxy::start(scenario).await?;
    let Reply::Tested(tested) = proxy.control(Request::Test { key: None }).await? else {
        anyhow::bail!("another answer");
    };
    let found: Vec<_> = tested.iter().map(|row| (row.label.as_str(), row.ok)).collect();
    assert_eq!(found, [("key-1", true), ("key-2", false), ("key-3", true)]);
    assert!(tested[0].quota.remaining_ratio.is_some(), "{:?}", tested[0]);
    assert!(tested[1].error.as_deref().unwrap_or_default().contains("refused"), "{:?}", tested[1]);
    let row = &proxy.engine.rotor().snapshot(Timestamp::now()).keys[1];
    assert_eq!((row.state, row.reason), (KeyState::Blocked, Some(Reason::AuthFailed)));
    assert_eq!(proxy.attempts()?.len(), 0, "asking is no turn");
    Ok(())
}

/// Two keys, of which the first was refused for its quota; what is left of that was asked.
async fn with_a_spent_key() -> anyhow::Result<TestProxy> {
    let spent = Act::Error(errors::WEEK_SPENT);
    let scenario = Scenario::healthy(2).with_fault(0, When::Always, spent);
    let proxy = TestProxy::start(scenario).await?;
    let mut client = proxy.client().await?;
    assert_eq!(client.chat(false).await?.header("x-kmi-attempts"), "2");
    let first = || proxy.engine.rotor().snapshot(Timestamp::now()).keys[0].clone();
    eventually(async || Ok(first().quota.checked_at.is_some())).await?;
    Ok(proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_hammer_a_key_that_rests() -> anyhow::Result<()> {
    let proxy = with_a_spent_key().await?;
    let before = proxy.engine.rotor().snapshot(Timestamp::now()).keys[0].clone();
    assert_eq!((before.state, before.reason), (KeyState::Blocked, Some(Reason::QuotaExhausted)));

    let proxy = proxy.restart().await?;
    let after = proxy.engine.rotor().snapshot(Timestamp::now()).keys[0].clone();
    assert_eq!((after.state, after.until), (before.state, before.until));
    let mut client = proxy.client().await?;
    assert_eq!(client.chat(false).await?.header("x-kmi-attempts"), "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn usages_is_one_answer_for_the_whole_pool() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let mut client = proxy.client().await?;
    let answer = client.fetch(client.request(Method::GET, "/v1/usages"), "").await?;
    assert_eq!(answer.status, 200);
    let json = answer.json();
    // Both shapes: kimi-cli reads `usage` and `limits`, kimi-code reads `usages`.
    assert!(json["usage"]["limit"].is_string() && json["limits"].is_array(), "{json}");
    assert!(json["usages"]["limit_7d"]["used_ratio"].is_number(), "{json}");
    assert_eq!(proxy.attempts()?.len(), 0, "kmi's own answer is no turn");
    let asked = proxy.upstream.requests_per_key();
    let again = client.fetch(client.request(Method::GET, "/v1/usages?x=1"), "").await?;
    assert_eq!(again.json(), json, "a query changes nothing");
    assert_eq!(proxy.upstream.requests_per_key(), asked, "what is known is not asked again");
    assert_eq!(proxy.attempts()?.len(), 0);
    Ok(())
}

/// When the block ends is known at once, not only after the next round of asking.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_for_its_quota_is_asked_when_it_comes_back() -> anyhow::Result<()> {
    let proxy = with_a_spent_key().await?;
    let keys = proxy.engine.rotor().snapshot(Timestamp::now()).keys;
    assert_eq!(keys[1].quota.checked_at, None, "it was no round that asked");
    Ok(())
}
