//! With `policy = "session"` a conversation keeps its key, and new conversations take turns.

use http::Method;
use kmi_core::{
    state::{Mode, Policy},
    trace::Attempt,
};
use kmi_proxy::{
    control::{Reply, Request},
    demo::{Act, Fault, Only, Scenario, When, errors},
};
use kmi_tests::{Answer, Client, TestHome, TestProxy};

async fn start(scenario: Scenario) -> anyhow::Result<TestProxy> {
    TestProxy::start_with(scenario, |settings| settings.rotation.policy = Policy::Session).await
}

async fn ask(client: &mut Client, session: &str, model: &str) -> anyhow::Result<Answer> {
    let request = client.request(Method::POST, "/v1/chat/completions");
    let request = request.header("content-type", "application/json");
    let body = serde_json::json!({"model": model, "prompt_cache_key": session,
        "messages": [{"role": "user", "content": "say pong"}]});
    let answer = client.fetch(request, body.to_string()).await?;
    anyhow::ensure!(answer.status == 200, "{}", answer.text());
    Ok(answer)
}

/// The label and the turn (empty for none) that served a request of a session.
async fn served(client: &mut Client, session: &str) -> anyhow::Result<(String, String)> {
    let answer = ask(client, session, "kimi-for-coding").await?;
    Ok((answer.header("x-kmi-key").to_owned(), answer.header("x-kmi-turn").to_owned()))
}

fn pair(key: &str, turn: &str) -> (String, String) {
    (key.to_owned(), turn.to_owned())
}

fn turns(attempts: &[Attempt]) -> Vec<(&str, Option<u64>)> {
    attempts.iter().map(|it| (&*it.label, it.turn)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_key_and_new_ones_take_turns() -> anyhow::Result<()> {
    let proxy = start(Scenario::healthy(3)).await?;
    let mut client = proxy.client().await?;
    for (session, key, turn) in [
        ("a", "key-1", "1"),
        ("a", "key-1", ""),
        ("b", "key-2", "2"),
        ("a", "key-1", ""),
        ("c", "key-3", "3"),
        ("d", "key-1", "4"),
        ("b", "key-2", ""),
        ("c", "key-3", ""),
        ("d", "key-1", ""),
        ("e", "key-2", "5"),
    ] {
        assert_eq!(served(&mut client, session).await?, pair(key, turn), "session {session}");
    }
    let attempts = proxy.attempts()?;
    assert!(attempts.iter().all(|it| (it.mode, it.policy) == (Mode::Auto, Policy::Session)));
    assert!(attempts.iter().all(|it| it.turn.is_some() == it.slot.is_some()));
    let report = proxy.verify()?;
    assert_eq!((report.all.turns, report.all.conforming), (5, 5), "{report:#?}");
    Ok(())
}

/// Every name under which a client tells its session, in body and headers (CONTRACT section 4).
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_known_by_six_names() -> anyhow::Result<()> {
    let proxy = start(Scenario::healthy(7)).await?;
    let mut client = proxy.client().await?;
    let claude = serde_json::json!({"device_id": "d", "session_id": "from-metadata"}).to_string();
    let names = [
        ("", serde_json::json!({"prompt_cache_key": "from-body"})),
        ("", serde_json::json!({"metadata": {"user_id": "session_from-metadata"}})),
        ("", serde_json::json!({"metadata": {"user_id": claude}})),
        ("X-Claude-Code-Session-Id", serde_json::json!({})),
        ("x-session-id", serde_json::json!({})),
        ("x-session-affinity", serde_json::json!({})),
        ("session-id", serde_json::json!({})),
    ];
    for round in ["first", "second"] {
        for (number, (name, body)) in names.iter().enumerate() {
            let request = client.request(Method::POST, "/v1/messages");
            let mut request = request.header("content-type", "application/json");
            if !name.is_empty() {
                request = request.header(*name, format!("from-{name}"));
            }
            let answer = client.fetch(request, body.to_string()).await?;
            let turn = if round == "first" { (number + 1).to_string() } else { String::new() };
            let way = (answer.header("x-kmi-key"), answer.header("x-kmi-turn"));
            assert_eq!(way, (&*format!("key-{}", number + 1), &*turn), "{round} {name} {body}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_session_take_turns() -> anyhow::Result<()> {
    let proxy = start(Scenario::healthy(2)).await?;
    let mut client = proxy.client().await?;
    assert_eq!(served(&mut client, "a").await?, pair("key-1", "1"));
    for (key, turn) in [("key-2", "2"), ("key-1", "3")] {
        let answer = client.fetch(client.request(Method::GET, "/v1/models"), "").await?;
        assert_eq!((answer.header("x-kmi-key"), answer.header("x-kmi-turn")), (key, turn));
    }
    let named = |client: &Client| {
        client.request(Method::GET, "/v1/models").header("x-claude-code-session-id", "a")
    };
    let answer = client.fetch(named(&client), "").await?;
    assert_eq!((answer.header("x-kmi-key"), answer.header("x-kmi-turn")), ("key-1", ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_when_its_key_is_refused_and_stays_with_the_new_one() -> anyhow::Result<()>
{
    let refused = Act::Error(errors::WEEK_SPENT);
    let scenario = Scenario::healthy(3).with_fault(0, When::Requests(2..3), refused);
    let proxy = start(scenario).await?;
    let mut client = proxy.client().await?;
    assert_eq!(served(&mut client, "a").await?, pair("key-1", "1"));
    assert_eq!(served(&mut client, "a").await?, pair("key-2", "2"));
    assert_eq!(served(&mut client, "a").await?, pair("key-2", ""));
    // Its first key works again; that is no reason to move.
    proxy.control(Request::Switch { key: "key-1".to_owned(), on: true }).await?;
    assert_eq!(served(&mut client, "a").await?, pair("key-2", ""));
    assert_eq!(served(&mut client, "b").await?, pair("key-3", "3"));

    let attempts = proxy.attempts()?;
    assert_eq!(
        turns(&attempts),
        [
            ("key-1", Some(1)),
            ("key-1", None),
            ("key-2", Some(2)),
            ("key-2", None),
            ("key-2", None),
            ("key-3", Some(3))
        ]
    );
    assert_eq!(attempts[1].request_id, attempts[2].request_id, "one request of the client");
    assert!(attempts[2].tried.contains(0), "the trace says why");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_when_its_key_is_switched_off_or_taken_away() -> anyhow::Result<()> {
    let proxy = start(Scenario::healthy(3)).await?;
    let mut client = proxy.client().await?;
    assert_eq!(served(&mut client, "a").await?, pair("key-1", "1"));
    proxy.control(Request::Switch { key: "key-1".to_owned(), on: false }).await?;
    assert_eq!(served(&mut client, "a").await?, pair("key-2", "2"));
    assert_eq!(served(&mut client, "a").await?, pair("key-2", ""));
    proxy.home.remove_key("key-2.key")?;
    assert!(matches!(proxy.control(Request::Reload).await?, Reply::Reloaded(_)));
    assert_eq!(served(&mut client, "a").await?, pair("key-3", "3"));
    assert_eq!(served(&mut client, "a").await?, pair("key-3", ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_for_a_model_that_its_key_lacks() -> anyhow::Result<()> {
    let mut scenario = Scenario::healthy(2);
    let act = Act::Error(errors::MODEL_NOT_FOUND);
    let only = Only::Model("other".to_owned());
    scenario.keys[0].faults.push(Fault { only, ..Fault::new(When::Always, act) });
    let proxy = start(scenario).await?;
    let mut client = proxy.client().await?;
    assert_eq!(served(&mut client, "a").await?, pair("key-1", "1"));
    let answer = ask(&mut client, "a", "other").await?;
    assert_eq!((answer.header("x-kmi-key"), answer.header("x-kmi-turn")), ("key-2", "2"));
    assert_eq!(served(&mut client, "a").await?, pair("key-2", ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_on_a_lower_tier_while_that_key_works() -> anyhow::Result<()> {
    let scenario = Scenario::healthy(2);
    let home = TestHome::new()?;
    for (label, priority, key) in [("best", 0, &scenario.keys[0]), ("spare", 1, &scenario.keys[1])]
    {
        let text = format!("api_key = \"{}\"\npriority = {priority}\n", key.secret);
        home.write_key(&format!("{label}.toml"), &text)?;
    }
    let change = |settings: &mut kmi_proxy::settings::Settings| {
        settings.rotation.policy = Policy::Session;
    };
    let proxy = TestProxy::start_in(home, scenario, change).await?;
    let mut client = proxy.client().await?;
    proxy.control(Request::Switch { key: "best".to_owned(), on: false }).await?;
    assert_eq!(served(&mut client, "a").await?, pair("spare", "1"));
    proxy.control(Request::Switch { key: "best".to_owned(), on: true }).await?;
    assert_eq!(served(&mut client, "a").await?, pair("spare", ""));
    assert_eq!(served(&mut client, "b").await?, pair("best", "2"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_at_once_are_spread_evenly() -> anyhow::Result<()> {
    const SESSIONS: usize = 40;
    let proxy = start(Scenario::healthy(4)).await?;
    let mut running = tokio::task::JoinSet::new();
    for number in 0..SESSIONS {
        let mut client = proxy.client().await?;
        running.spawn(async move {
            let session = format!("session-{number}");
            let (first, _) = served(&mut client, &session).await?;
            for _ in 0..4 {
                anyhow::ensure!(served(&mut client, &session).await? == pair(&first, ""));
            }
            Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    assert_eq!(proxy.upstream.requests_per_key(), [50; 4]);
    let report = proxy.verify()?;
    assert_eq!((report.all.turns, report.all.conforming), (40, 40), "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_a_session_takes_a_turn_again() -> anyhow::Result<()> {
    let proxy = start(Scenario::healthy(2)).await?;
    assert_eq!(served(&mut proxy.client().await?, "a").await?, pair("key-1", "1"));
    let proxy = proxy.restart().await?;
    let mut client = proxy.client().await?;
    assert_eq!(served(&mut client, "a").await?, pair("key-2", "2"));
    assert_eq!(served(&mut client, "a").await?, pair("key-2", ""));
    Ok(())
}
