//! Limits belong to accounts, and an outage to the upstream.

use std::time::Duration;

use jiff::Timestamp;
use kmi_core::{outcome::Outcome, state::KeyState};
use kmi_proxy::demo::{Act, ErrorAnswer, Scenario, When, errors};
use kmi_tests::{TestHome, TestProxy};
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

/// The same vague refusal for every key, such as a membership service that is down: it blocks none,
/// is not multiplied, and the client hears Kimi's words.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_every_key_gets_blocks_none_and_is_not_multiplied() -> anyhow::Result<()> {
    let mut scenario = Scenario::healthy(5);
    for key in 0..5 {
        let lapsed = Act::Error(errors::MEMBERSHIP_UNVERIFIED);
        scenario = scenario.with_fault(key, When::Requests(1..20), lapsed);
    }
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.health.outage_backoff = Duration::from_millis(1);
        settings.health.outage_max_backoff = Duration::from_millis(1);
    })
    .await?;
    let mut client = proxy.client().await?;
    // Three keys find out, then the other two, and from then on it is an outage.
    for (status, attempts) in [(429, "3"), (503, "3"), (503, "2"), (503, "2"), (503, "2")] {
        let answer = client.chat(false).await?;
        let (found, text) =
            ((answer.status.as_u16(), answer.header("x-kmi-attempts")), answer.text());
        assert_eq!(found, (status, attempts), "{text}");
        if status == 503 {
            assert!(text.contains("unable to verify your membership"), "{text}");
            let keys = proxy.engine.rotor().snapshot(Timestamp::now()).keys;
            assert!(keys.iter().all(|key| key.state.is_usable()), "{keys:#?}");
        }
    }
    let well = kmi_tests::eventually(async || Ok(client.chat(false).await?.status == 200)).await?;
    assert!(well < Duration::from_secs(10), "{well:?}");
    Ok(())
}

/// `retry_unsafe` repeats more, and the budget holds for that too.
#[tokio::test(flavor = "multi_thread")]
async fn unsafe_retries_do_not_multiply_an_outage_either() -> anyhow::Result<()> {
    let bad_gateway = ErrorAnswer::new(502, "server_error", "bad gateway");
    let scenario = Scenario::healthy(5).deciding(move |_| Some(Act::Error(bad_gateway.clone())));
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.rotation.retry_unsafe = true;
        settings.rotation.max_attempts = 5;
        settings.health.outage_backoff = Duration::from_millis(200);
        settings.health.outage_max_backoff = Duration::from_millis(200);
    })
    .await?;
    let mut running = JoinSet::new();
    for _ in 0..20 {
        let mut client = proxy.client().await?;
        running.spawn(async move { client.chat(false).await });
    }
    for answer in running.join_all().await {
        assert_eq!(answer?.status, 502);
    }
    let attempts = proxy.attempts()?.len();
    assert!((21..40).contains(&attempts), "five for each of 20 would make 100: {attempts}");
    Ok(())
}

/// A limit that the user has set is kept before the provider has to say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_at_its_own_limit_is_skipped_and_not_unhealthy() -> anyhow::Result<()> {
    let scenario = Scenario::healthy(2);
    let home = TestHome::new()?;
    for (number, (key, limit)) in scenario.keys.iter().zip(["rpm = 2", ""]).enumerate() {
        let text = format!("api_key = \"{}\"\n{limit}\n", key.secret);
        home.write_key(&format!("key-{}.toml", number + 1), &text)?;
    }
    let proxy = TestProxy::start_in(home, scenario, |_| {}).await?;
    let mut client = proxy.client().await?;
    let mut served = Vec::new();
    for _ in 0..6 {
        served.push(client.chat(false).await?.header("x-kmi-key").to_owned());
    }
    assert_eq!(served, ["key-1", "key-2", "key-1", "key-2", "key-2", "key-2"]);
    let keys = proxy.engine.rotor().snapshot(Timestamp::now()).keys;
    assert!(keys.iter().all(|key| key.state == KeyState::Healthy), "{keys:#?}");
    let report = proxy.verify()?;
    assert_eq!((report.all.turns, report.all.conforming), (6, 6), "{report:#?}");
    Ok(())
}
