//! A new configuration counts for the next request; running ones end on the old one.

use std::time::Duration;

use kmi_core::state::Mode;
use kmi_proxy::{
    control::Reply,
    demo::{Act, Scenario, StandIn, StandInKey, When, errors},
    settings::UpstreamSettings,
};
use kmi_tests::{TestProxy, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn another_upstream_serves_new_requests_only() -> anyhow::Result<()> {
    let stall = Act::StallAfter(1, Duration::from_millis(800));
    let proxy = TestProxy::start(Scenario::healthy(2).with_fault(0, When::Always, stall)).await?;
    let other = StandIn::start(Scenario::healthy(2)).await?;
    let (mut slow, mut client) = (proxy.client().await?, proxy.client().await?);
    let stream = tokio::spawn(async move { slow.chat(true).await });
    eventually(async || Ok(proxy.upstream.requests_per_key() == [1, 0])).await?;

    let url = other.base_url();
    let reply = proxy.reconfigure(|settings| settings.upstreams[0].base_url = url).await?;
    assert!(matches!(reply, Reply::Reloaded(ref reloaded) if reloaded.keys == 2), "{reply:?}");
    for key in ["key-2", "key-1", "key-2"] {
        assert_eq!(client.chat(false).await?.header("x-kmi-key"), key);
    }
    assert!(stream.await??.text().ends_with("data: [DONE]\n\n"));
    assert_eq!((proxy.upstream.records().len(), other.records().len()), (1, 3));
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations, report.all.open), (4, 0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_settings_count_at_once_but_the_chosen_mode_stays() -> anyhow::Result<()> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "60"));
    let scenario = Scenario::healthy(4).with_fault(0, When::Always, refused.clone()).with_fault(
        1,
        When::Always,
        refused,
    );
    let proxy = TestProxy::start(scenario).await?;
    let mut client = proxy.client().await?;
    proxy
        .reconfigure(|settings| {
            settings.rotation.failover = false;
            settings.rotation.mode = Mode::Manual;
        })
        .await?;
    let answer = client.chat(false).await?;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-attempts")), (429, "1"));
    proxy.reconfigure(|settings| settings.rotation.failover = true).await?;
    let answer = client.chat(false).await?;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-turn")), (200, "3"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_joins_and_leaves() -> anyhow::Result<()> {
    let keys = vec![StandInKey::numbered(7)];
    let other = StandIn::start(Scenario { keys, ..Scenario::healthy(0) }).await?;
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let mut client = proxy.client().await?;
    let me = |client: &kmi_tests::Client| client.request(http::Method::GET, "/u/open/v1/me");
    let request = me(&client);
    assert_eq!(client.fetch(request, "").await?.status, 404);

    let text = format!("api_key = \"{}\"\nupstream = \"open\"\n", "sk-demo-key-0007");
    proxy.home.write_key("open.toml", &text)?;
    let open = UpstreamSettings {
        name: "open".into(),
        base_url: other.base_url(),
        ..UpstreamSettings::default()
    };
    proxy.reconfigure(|settings| settings.upstreams.push(open)).await?;
    for turn in 1..=3_u64 {
        let request = me(&client);
        let answer = client.fetch(request, "").await?;
        let seen = (answer.status.as_u16(), answer.header("x-kmi-turn").to_owned());
        assert_eq!(seen, (200, turn.to_string()), "{}", answer.text());
        assert_eq!(client.chat(false).await?.header("x-kmi-turn"), turn.to_string());
    }
    proxy.reconfigure(|settings| settings.upstreams.truncate(1)).await?;
    let request = me(&client);
    assert_eq!(client.fetch(request, "").await?.status, 404);
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations), (6, 0), "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_comes_back_goes_on_with_its_numbers() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let mut client = proxy.client().await?;
    assert_eq!(client.chat(false).await?.header("x-kmi-turn"), "1");
    let mut aside = None;
    proxy
        .reconfigure(|settings| {
            aside = settings.upstreams.pop();
            settings.upstreams.push(UpstreamSettings {
                name: "other".into(),
                ..aside.clone().unwrap_or_default()
            });
        })
        .await?;
    assert_eq!(client.chat(false).await?.header("x-kmi-turn"), "1", "the other one's own");
    proxy.reconfigure(|settings| settings.upstreams = aside.into_iter().collect()).await?;
    let answer = client.chat(false).await?;
    assert_eq!((answer.header("x-kmi-turn"), answer.header("x-kmi-key")), ("2", "key-2"));
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations), (3, 0), "{report:#?}");
    Ok(())
}

/// The line of an epoch cannot be taken back, and its number must not come twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_half_way_begins_nothing() -> anyhow::Result<()> {
    let keys = vec![StandInKey::numbered(7)];
    let other = StandIn::start(Scenario { keys, ..Scenario::healthy(0) }).await?;
    let proxy = TestProxy::start(Scenario::healthy(1)).await?;
    let secret = &other.scenario().keys[0].secret;
    let text = format!("api_key = \"{secret}\"\nupstream = \"open\"\n");
    proxy.home.write_key("open.toml", &text)?;
    let open = UpstreamSettings {
        name: "open".into(),
        base_url: other.base_url(),
        ..UpstreamSettings::default()
    };
    let bad = UpstreamSettings {
        name: "bad".into(),
        base_url: "https://localhost:1/v1".into(),
        ca_file: Some("/nonexistent/ca.pem".into()),
        ..UpstreamSettings::default()
    };
    for _ in 0..2 {
        let reply = proxy
            .reconfigure(|settings| {
                settings.upstreams.truncate(1);
                settings.upstreams.extend([open.clone(), bad.clone()]);
            })
            .await?;
        assert!(matches!(reply, Reply::Failed(_)), "{reply:?}");
    }
    proxy.reconfigure(|settings| settings.upstreams.truncate(2)).await?;
    let mut client = proxy.client().await?;
    let request = client.request(http::Method::GET, "/u/open/v1/me");
    assert_eq!(client.fetch(request, "").await?.status, 200);
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations), (1, 0), "{report:#?}");
    Ok(())
}
