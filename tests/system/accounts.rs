//! Limits belong to accounts, and an outage to the upstream.

use jiff::Timestamp;
use kmi_core::{outcome::Outcome, state::KeyState};
use kmi_proxy::demo::{Act, Scenario, When, errors};
use kmi_tests::TestProxy;
use tokio::task::JoinSet;

/// Two keys of one account: the provider's answers name it, and from then on a refusal of the one
/// rests the other.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_one_account_rest_together_once_that_is_known() -> anyhow::Result<()> {
    let named = errors::TOO_MANY_REQUESTS.with_header("msh-org-id", "org-0123456789");
    let scenario = Scenario::healthy(3)
        .with_fault(0, When::Requests(1..2), Act::Error(named.clone()))
        .with_fault(1, When::Requests(1..2), Act::Error(named));
    let proxy = TestProxy::start(scenario).await?;
    let mut client = proxy.client().await?;
    let answer = client.chat(false).await?;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-key")), (200, "key-3"));
    let siblings = proxy.engine.rotor().siblings();
    assert_eq!(siblings, [["key-1", "key-2"]], "both refusals name one organization");
    Ok(())
}

/// A dead upstream blocks no key, and its failures are not multiplied by retries.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_blocks_no_key_and_is_not_multiplied() -> anyhow::Result<()> {
    let mut scenario = Scenario::healthy(5);
    for key in 0..5 {
        scenario = scenario.with_fault(key, When::Always, Act::Error(errors::UNAVAILABLE));
    }
    let proxy = TestProxy::start(scenario).await?;
    let mut running = JoinSet::new();
    for _ in 0..20 {
        let mut client = proxy.client().await?;
        running.spawn(async move { client.chat(false).await });
    }
    for answer in running.join_all().await {
        assert_eq!(answer?.status, 503);
    }
    let attempts = proxy.attempts()?;
    assert!(attempts.iter().all(|attempt| attempt.outcome == Outcome::UpstreamError));
    assert!(attempts.len() < 40, "a retry for each of 20 would make 40: {}", attempts.len());
    let keys = proxy.engine.rotor().snapshot(Timestamp::now()).keys;
    assert!(keys.iter().all(|key| key.state != KeyState::Blocked), "{keys:#?}");
    Ok(())
}
