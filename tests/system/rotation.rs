//! Keys take turns, and the trace proves it.

use std::collections::BTreeSet;

use http::Method;
use kmi_proxy::{
    demo::{Scenario, StandIn, StandInKey},
    settings::UpstreamSettings,
};
use kmi_tests::{TestHome, TestProxy};

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
    let report = proxy.verify()?;
    assert_eq!(
        (report.all.verdict.as_str(), report.all.conforming),
        ("verified", 70),
        "{report:#?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_once_share_one_order() -> anyhow::Result<()> {
    const CONNECTIONS: usize = 64;
    const EACH: usize = 11;
    let proxy = TestProxy::start(Scenario::healthy(5)).await?;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut client = proxy.client().await?;
        running.spawn(async move {
            for turn in 0..EACH {
                anyhow::ensure!(client.chat(turn % 2 == 0).await?.status == 200);
            }
            Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }

    let counts = proxy.upstream.requests_per_key();
    let (least, most) = (counts.iter().min(), counts.iter().max());
    assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
    let turns: BTreeSet<_> = proxy.attempts()?.iter().filter_map(|it| it.turn).collect();
    assert_eq!(turns.len(), CONNECTIONS * EACH);
    assert_eq!(turns.last(), Some(&((CONNECTIONS * EACH) as u64)), "no number is left out");
    let report = proxy.verify()?;
    assert_eq!(report.all.verdict.as_str(), "verified", "{report:#?}");
    assert_eq!((report.all.repeats, report.all.unlinked), (0, 0));
    assert!(report.all.max_pair_gap <= 1.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_request_is_a_turn() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let mut client = proxy.client().await?;
    let requests = [
        (Method::GET, "/v1/models", 200),
        (Method::HEAD, "/v1/models", 200),
        (Method::POST, "/v1/embeddings", 200),
        (Method::POST, "/v1/messages", 200),
        (Method::POST, "/v1/responses", 200),
        (Method::GET, "/v1/me", 200),
        (Method::POST, "/v1/client_configs", 200),
        (Method::POST, "/v1/search", 200),
        (Method::POST, "/v1/no/such/endpoint", 404),
        (Method::PATCH, "/v1/models", 404),
        (Method::PUT, "/v1/models", 404),
        (Method::DELETE, "/v1/files/unknown", 404),
    ];
    for (turn, (method, path, status)) in (1_u64..).zip(&requests) {
        let request = client.request(method.clone(), path);
        let answer = client.fetch(request, "{}").await?;
        assert_eq!(answer.status, *status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("x-kmi-turn"), turn.to_string(), "{method} {path}");
    }
    let attempts = proxy.attempts()?;
    for (attempt, (method, path, status)) in attempts.iter().zip(&requests) {
        assert_eq!(*attempt.method, *method.as_str());
        assert_eq!(format!("/v1{}", attempt.path), *path);
        assert_eq!(attempt.status, Some(*status));
    }
    assert_eq!(attempts.len(), requests.len());
    assert_eq!(proxy.upstream.requests_per_key(), [6, 6]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_continues_in_place() -> anyhow::Result<()> {
    let mut proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let mut order = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.client().await?;
        for _ in 0..5 {
            let answer = client.chat(false).await?;
            order.push((answer.header("x-kmi-turn").parse()?, answer.header("x-kmi-key").into()));
        }
        proxy = proxy.restart().await?;
    }
    let expected: Vec<(u64, String)> =
        (1..=20).map(|turn| (turn, format!("key-{}", (turn - 1) % 3 + 1))).collect();
    assert_eq!(order, expected);
    let epochs = proxy.lines()?.iter().filter(|l| l.contains(r#""type":"epoch""#)).count();
    assert_eq!(epochs, 1, "an unchanged ring opens no epoch");
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations, report.all.unlinked), (20, 0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_upstreams_have_a_rotation_each() -> anyhow::Result<()> {
    let second = StandIn::start(Scenario {
        keys: vec![key("sk-open-1"), key("sk-open-2")],
        ..Scenario::healthy(0)
    })
    .await?;
    let home = TestHome::new()?;
    let scenario = Scenario::healthy(3);
    for (number, key) in scenario.keys.iter().enumerate() {
        home.write_key(&format!("code-{number}.key"), &key.secret)?;
    }
    for number in 1..=2 {
        let text = format!("api_key = \"sk-open-{number}\"\nupstream = \"open\"\n");
        home.write_key(&format!("open-{number}.toml"), &text)?;
    }
    let proxy = TestProxy::start_in(home, scenario, |settings| {
        settings.upstreams.push(UpstreamSettings {
            name: "open".into(),
            base_url: second.base_url(),
            ..UpstreamSettings::default()
        });
    })
    .await?;

    let mut client = proxy.client().await?;
    let mut turns = [0, 0];
    for path in ["/v1/me", "/u/open/v1/me", "/v1/me", "/u/kimi/v1/me", "/u/open/v1/me", "/v1/me"] {
        let request = client.request(Method::GET, path);
        let answer = client.fetch(request, "").await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let of = usize::from(path.contains("open"));
        turns[of] += 1;
        assert_eq!(answer.header("x-kmi-turn"), turns[of].to_string(), "{path}");
    }
    assert_eq!(proxy.upstream.requests_per_key(), [2, 1, 1]);
    assert_eq!(second.requests_per_key(), [1, 1]);
    let request = client.request(Method::GET, "/u/other/v1/me");
    let answer = client.fetch(request, "").await?;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-error")), (404, "unknown_upstream"));
    assert!(answer.text().contains("No upstream is called `other`"), "{}", answer.text());
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations, report.upstreams.len()), (6, 0, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_give_slots_and_priorities_give_tiers() -> anyhow::Result<()> {
    let home = TestHome::new()?;
    let scenario = Scenario::healthy(4);
    // The first two share the turns 3 to 1; the others serve only when neither can.
    for ((key, weight), priority) in scenario.keys.iter().zip([3, 1, 1, 1]).zip([0, 0, 5, 9]) {
        let text =
            format!("api_key = \"{}\"\nweight = {weight}\npriority = {priority}\n", key.secret);
        home.write_key(&format!("{}.toml", key.account), &text)?;
    }
    let proxy = TestProxy::start_in(home, scenario, |_| {}).await?;
    let mut client = proxy.client().await?;
    for _ in 0..40 {
        assert_eq!(client.chat(false).await?.status, 200);
    }
    assert_eq!(proxy.upstream.requests_per_key(), [30, 10, 0, 0]);

    for label in ["0001-account", "0002-account"] {
        proxy.engine.rotor().set_disabled(label, true, jiff::Timestamp::now());
    }
    for _ in 0..3 {
        assert_eq!(client.chat(false).await?.header("x-kmi-key"), "0003-account");
    }
    let report = proxy.verify()?;
    assert_eq!((report.all.conforming, report.all.violations), (43, 0));
    Ok(())
}

fn key(secret: &str) -> StandInKey {
    StandInKey::of_its_own(secret.into())
}
