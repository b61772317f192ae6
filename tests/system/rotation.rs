//! Keys take turns, and the trace proves it.

use kmi_proxy::demo::Scenario;
use kmi_tests::TestProxy;

#[tokio::test(flavor = "multi_thread")]
async fn one_key_after_the_other() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(7)).await?;
    let mut client = proxy.client().await?;
    for turn in 1..=70 {
        let answer = client.chat(turn % 2 == 0).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-kmi-turn"), turn.to_string());
        assert_eq!(answer.header("x-kmi-key"), format!("key-{}", (turn - 1) % 7 + 1));
        assert_eq!(answer.header("x-kmi-attempts"), "1");
    }
    assert_eq!(proxy.upstream.requests_per_key(), [10; 7]);
    let report = proxy.verify().await?;
    assert_eq!(
        (report.all.verdict.as_str(), report.all.conforming),
        ("verified", 70),
        "{report:#?}"
    );
    Ok(())
}
