//! Keys go over TLS to the host in the configuration, and to nobody who cannot prove to be it.

use kmi_proxy::{
    demo::{Scenario, StandIn},
    engine::EngineError,
};
use kmi_tests::{Answer, TestProxy, TlsFront};

/// One chat request through TLS; `trusted`: with the front's certificate as `ca_file`.
async fn through(
    certificate_for: &str,
    host: &str,
    trusted: bool,
) -> anyhow::Result<(Answer, TestProxy, StandIn)> {
    let upstream = StandIn::start(Scenario::healthy(1)).await?;
    let front = TlsFront::start(certificate_for, upstream.address()).await?;
    let proxy = TestProxy::start_with(Scenario::healthy(1), |settings| {
        settings.upstreams[0].base_url = front.base_url(host);
        settings.upstreams[0].ca_file = trusted.then(|| front.ca_file());
    })
    .await?;
    let answer = proxy.client().await?.chat(true).await?;
    Ok((answer, proxy, upstream))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_is_trusted_beside_the_systems_own() -> anyhow::Result<()> {
    for host in ["localhost", "127.0.0.1"] {
        let (answer, proxy, upstream) = through(host, host, true).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
        let record = upstream.records().remove(0);
        assert!(record.header("host").is_some_and(|it| it.starts_with(host)));
        assert!(proxy.attempts()?[0].connect_ms < 10_000);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_request() -> anyhow::Result<()> {
    for (certificate_for, trusted) in [("localhost", false), ("kimi.example", true)] {
        let (answer, proxy, upstream) = through(certificate_for, "localhost", trusted).await?;
        assert_eq!(answer.header("x-kmi-error"), "connect_failed", "{}", answer.text());
        assert!(answer.text().contains("certificate"), "it says why: {}", answer.text());
        assert_eq!(proxy.attempts()?[0].outcome.as_str(), "connect_failed");
        assert!(upstream.records().is_empty());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_that_is_none_is_an_error_at_the_start() -> anyhow::Result<()> {
    for text in [None, Some("no certificate")] {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("ca.pem");
        if let Some(text) = text {
            std::fs::write(&path, text)?;
        }
        let started = TestProxy::start_with(Scenario::healthy(1), |settings| {
            settings.upstreams[0].base_url = "https://localhost:1/coding/v1".to_owned();
            settings.upstreams[0].ca_file = Some(path.clone());
        })
        .await;
        let Err(error) = started else { anyhow::bail!("it starts without its trust") };
        assert!(error.downcast_ref::<EngineError>().is_some());
        let shown = format!("{error:#}");
        assert!(shown.contains("ca_file") && shown.contains("ca.pem"), "{shown}");
    }
    Ok(())
}
