//! Keys come and go while requests run: the files are watched, and no request is touched.

use std::time::Duration;

use kmi_core::trace::Record;
use kmi_proxy::{
    control::{Reply, Request},
    demo::{Act, Scenario, When, errors},
};
use kmi_tests::{TestHome, TestProxy, eventually};

/// CONTRACT section 2.
const WITHIN: Duration = Duration::from_secs(2);

async fn labels(proxy: &TestProxy) -> anyhow::Result<Vec<String>> {
    match proxy.control(Request::Status).await? {
        Reply::Status(status) => {
            Ok(status.snapshot.keys.iter().map(|key| key.label.clone()).collect())
        }
        other => anyhow::bail!("{other:?}"),
    }
}

fn epochs(proxy: &TestProxy) -> anyhow::Result<usize> {
    Ok(proxy.records()?.iter().filter(|it| matches!(it, Record::Epoch(_))).count())
}

/// A home with the first `n` keys of a scenario.
fn home(scenario: &Scenario, n: usize) -> anyhow::Result<TestHome> {
    let home = TestHome::new()?;
    for (number, key) in scenario.keys.iter().take(n).enumerate() {
        home.write_key(&format!("key-{}.key", number + 1), &key.secret)?;
    }
    Ok(home)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_key_joins_in_a_new_epoch() -> anyhow::Result<()> {
    let scenario = Scenario::healthy(3);
    let third = scenario.keys[2].secret.clone();
    let proxy = TestProxy::start_in(home(&scenario, 2)?, scenario, |_| {}).await?;
    let mut client = proxy.client().await?;
    assert_eq!(client.chat(false).await?.header("x-kmi-key"), "key-1");

    proxy.home.write_key("key-3.key", &third)?;
    let took = eventually(async || Ok(labels(&proxy).await?.len() == 3)).await?;
    assert!(took < WITHIN, "{took:?}");
    assert_eq!(epochs(&proxy)?, 2);
    for key in ["key-2", "key-3", "key-1"] {
        assert_eq!(client.chat(false).await?.header("x-kmi-key"), key);
    }
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations), (4, 0), "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_key_finishes_what_it_began() -> anyhow::Result<()> {
    let scenario = Scenario::healthy(2).with_fault(
        0,
        When::Always,
        Act::StallAfter(1, Duration::from_millis(1500)),
    );
    let proxy = TestProxy::start(scenario).await?;
    let (mut slow, mut client) = (proxy.client().await?, proxy.client().await?);
    let stream = tokio::spawn(async move { slow.chat(true).await });
    eventually(async || Ok(proxy.upstream.requests_per_key()[0] == 1)).await?;

    proxy.home.remove_key("key-1.key")?;
    eventually(async || Ok(labels(&proxy).await? == ["key-2"])).await?;
    for _ in 0..3 {
        assert_eq!(client.chat(false).await?.header("x-kmi-key"), "key-2");
    }
    let answer = stream.await??;
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations, report.all.open), (4, 0, 0));
    assert_eq!(epochs(&proxy)?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_key_is_skipped_without_a_new_epoch() -> anyhow::Result<()> {
    let scenario = Scenario::healthy(3);
    let text = |disabled: bool| {
        format!("api_key = \"{}\"\ndisabled = {disabled}\n", scenario.keys[1].secret)
    };
    let home = home(&scenario, 1)?;
    home.write_key("key-2.toml", &text(false))?;
    home.write_key("key-3.key", &scenario.keys[2].secret)?;
    let proxy = TestProxy::start_in(home, scenario.clone(), |_| {}).await?;
    let mut client = proxy.client().await?;

    for disabled in [true, false] {
        proxy.home.write_key("key-2.toml", &text(disabled))?;
        eventually(async || {
            let Reply::Status(status) = proxy.control(Request::Status).await? else {
                anyhow::bail!("no status")
            };
            Ok((status.snapshot.keys[1].state.as_str() == "disabled") == disabled)
        })
        .await?;
        let before = proxy.upstream.requests_per_key()[1];
        for _ in 0..6 {
            assert_eq!(client.chat(false).await?.status, 200);
        }
        let served = proxy.upstream.requests_per_key()[1] - before;
        assert_eq!(served, if disabled { 0 } else { 2 });
    }
    assert_eq!(epochs(&proxy)?, 1);
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations), (12, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_proxy_says_so_until_one_comes() -> anyhow::Result<()> {
    let scenario = Scenario::healthy(1);
    let secret = scenario.keys[0].secret.clone();
    let proxy = TestProxy::start_in(TestHome::new()?, scenario, |_| {}).await?;
    let mut client = proxy.client().await?;
    let answer = client.chat(false).await?;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-error")), (503, "no_usable_key"));
    proxy.home.write_key("first.key", &secret)?;
    eventually(async || Ok(client.chat(false).await?.status == 200)).await?;
    proxy.home.remove_key("first.key")?;
    eventually(async || Ok(client.chat(false).await?.status == 503)).await?;
    Ok(())
}

/// Who reads the trace knows the old name only: a new name alone opens no epoch.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_key_keeps_its_place_for_the_one_that_follows() -> anyhow::Result<()> {
    let scenario = Scenario::healthy(3);
    let [first, renamed, next] = [0, 1, 2].map(|key: usize| scenario.keys[key].secret.clone());
    let home = TestHome::new()?;
    home.write_key("alpha.key", &first)?;
    home.write_key("beta.key", &renamed)?;
    let proxy = TestProxy::start_in(home, scenario, |_| {}).await?;
    let mut client = proxy.client().await?;

    proxy.home.write_key("beta-z.key", &renamed)?;
    proxy.home.remove_key("beta.key")?;
    eventually(async || Ok(labels(&proxy).await? == ["alpha", "beta-z"])).await?;
    for key in ["alpha", "beta-z"] {
        assert_eq!(client.chat(false).await?.header("x-kmi-key"), key);
    }
    // Its name stands between the old one and the new one of the key that goes.
    proxy.home.write_key("beta-m.key", &next)?;
    proxy.home.remove_key("beta-z.key")?;
    eventually(async || Ok(labels(&proxy).await? == ["alpha", "beta-m"])).await?;
    for key in ["beta-m", "alpha"] {
        assert_eq!(client.chat(false).await?.header("x-kmi-key"), key);
    }
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations), (4, 0), "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_blocks_a_key_goes_with_its_file() -> anyhow::Result<()> {
    let refused = Act::Error(errors::KEY_INVALID);
    let scenario = Scenario::healthy(2).with_fault(1, When::Requests(1..2), refused);
    let second = scenario.keys[1].secret.clone();
    let proxy = TestProxy::start(scenario).await?;
    let mut client = proxy.client().await?;
    for _ in 0..4 {
        assert_eq!(client.chat(false).await?.header("x-kmi-key"), "key-1");
    }
    proxy.home.remove_key("key-2.key")?;
    eventually(async || Ok(labels(&proxy).await? == ["key-1"])).await?;
    proxy.home.write_key("key-2.key", &second)?;
    eventually(async || Ok(labels(&proxy).await?.len() == 2)).await?;
    assert_eq!(client.chat(false).await?.header("x-kmi-key"), "key-2");
    let proxy = proxy.restart().await?;
    let mut client = proxy.client().await?;
    for key in ["key-1", "key-2"] {
        assert_eq!(client.chat(false).await?.header("x-kmi-key"), key, "and it stays so");
    }
    Ok(())
}

/// Nobody mends a configuration within two seconds; a key that leaked must not wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_gone_serves_no_more_whatever_the_configuration_says() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let reply = proxy
        .reconfigure(|settings| {
            settings.upstreams[0].base_url = "https://localhost:1/v1".into();
            settings.upstreams[0].ca_file = Some("/nonexistent/ca.pem".into());
        })
        .await?;
    assert!(matches!(reply, Reply::Failed(_)), "{reply:?}");
    proxy.home.remove_key("key-1.key")?;
    let took = eventually(async || Ok(labels(&proxy).await? == ["key-2"])).await?;
    assert!(took < WITHIN, "{took:?}");
    Ok(())
}
