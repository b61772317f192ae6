//! An uploaded file is of use to the account that has it: requests that name it go there, in both
//! modes and after a restart, and never elsewhere.

use std::sync::Arc;

use http::Method;
use kmi_core::{
    state::{Mode, Policy},
    trace::Attempt,
};
use kmi_proxy::{
    control::{Reply, Request},
    demo::{Act, Fault, Only, Scenario, When, errors},
    settings::OnExhausted,
};
use kmi_tests::{Answer, Client, TestHome, TestProxy};

/// Uploads a file; its id.
async fn upload(client: &mut Client) -> anyhow::Result<String> {
    upload_to(client, "/v1/files").await
}

async fn upload_to(client: &mut Client, path: &str) -> anyhow::Result<String> {
    let request = client.request(Method::POST, path);
    let request = request.header("content-type", "multipart/form-data; boundary=b");
    let answer = client.fetch(request, "--b\r\n\r\nvideo\r\n--b--\r\n").await?;
    anyhow::ensure!(answer.status == 200, "{}", answer.text());
    Ok(answer.json()["id"].as_str().unwrap_or_default().to_owned())
}

/// A chat request that names files.
async fn ask(client: &mut Client, files: &[&str]) -> anyhow::Result<Answer> {
    let request = client.request(Method::POST, "/v1/chat/completions");
    let request = request.header("content-type", "application/json");
    let part = |id: &&str| serde_json::json!({"type": "video_url", "video_url": {"url": format!("ms://{id}")}});
    let content: Vec<_> = files.iter().map(part).collect();
    let body = serde_json::json!({"model": "kimi-for-coding", "prompt_cache_key": "session-1",
        "messages": [{"role": "user", "content": content}]});
    client.fetch(request, body.to_string()).await
}

/// Status, label and turn (empty for none) of an answer.
fn way(answer: &Answer) -> (u16, &str, &str) {
    (answer.status.as_u16(), answer.header("x-kmi-key"), answer.header("x-kmi-turn"))
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.header("x-kmi-error"))
}

async fn switch(proxy: &TestProxy, key: &str, on: bool) -> anyhow::Result<()> {
    let reply = proxy.control(Request::Switch { key: key.to_owned(), on }).await?;
    anyhow::ensure!(!matches!(reply, Reply::Failed(_)), "{reply:?}");
    Ok(())
}

fn turns(attempts: &[Attempt]) -> Vec<(&str, Option<u64>)> {
    attempts.iter().map(|it| (&*it.label, it.turn)).collect()
}

/// Three keys, of which the first two are of one account, as their files say.
async fn with_siblings() -> anyhow::Result<TestProxy> {
    let mut scenario = Scenario::healthy(3);
    scenario.keys[1].account = Arc::clone(&scenario.keys[0].account);
    let home = TestHome::new()?;
    for (number, key) in scenario.keys.iter().enumerate() {
        let text = format!("api_key = \"{}\"\naccount = \"{}\"\n", key.secret, key.account);
        home.write_key(&format!("key-{}.toml", number + 1), &text)?;
    }
    TestProxy::start_in(home, scenario, |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_to_the_account_that_has_its_file() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let mut client = proxy.client().await?;
    let first = upload(&mut client).await?;
    let second = upload_to(&mut client, "/anthropic/v1/files").await?;
    for _ in 0..3 {
        assert_eq!(way(&ask(&mut client, &[&first]).await?), (200, "key-1", ""));
        assert_eq!(way(&ask(&mut client, &[&second]).await?), (200, "key-2", ""));
    }
    for (id, key) in [(&first, "key-1"), (&second, "key-2")] {
        let request = client.request(Method::GET, &format!("/v1/files/{id}?a=b"));
        assert_eq!(way(&client.fetch(request, "").await?), (200, key, ""));
    }
    assert_eq!(way(&client.chat(false).await?), (200, "key-3", "3"), "the rotation stood still");
    let report = proxy.verify()?;
    assert_eq!((report.all.turns, report.all.conforming), (3, 3), "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_uploaded_here_ties_nothing() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let mut client = proxy.client().await?;
    let answer = ask(&mut client, &["elsewhere-1"]).await?;
    assert_eq!(way(&answer), (400, "key-1", "1"), "the upstream's own answer: {}", answer.text());
    let request = client.request(Method::GET, "/v1/files/elsewhere-1");
    assert_eq!(way(&client.fetch(request, "").await?), (404, "key-2", "2"));
    let request = client.request(Method::GET, "/v1/files");
    assert_eq!(way(&client.fetch(request, "").await?), (200, "key-1", "3"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_is_forgotten() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let mut client = proxy.client().await?;
    let id = upload(&mut client).await?;
    let request = client.request(Method::DELETE, &format!("/v1/files/{id}"));
    assert_eq!(way(&client.fetch(request, "").await?), (200, "key-1", ""));
    assert_eq!(ask(&mut client, &[&id]).await?.header("x-kmi-turn"), "2");
    let proxy = proxy.restart().await?;
    assert_eq!(ask(&mut proxy.client().await?, &[&id]).await?.header("x-kmi-turn"), "3");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_failed_ties_nothing() -> anyhow::Result<()> {
    let mut scenario = Scenario::healthy(1);
    let spent = Act::Error(errors::WEEK_SPENT);
    scenario.keys[0].faults.push(Fault { only: Only::All, ..Fault::new(When::Always, spent) });
    let proxy = TestProxy::start(scenario).await?;
    assert!(upload(&mut proxy.client().await?).await.is_err());
    assert_eq!(proxy.attempts()?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_stay_where_they_are_over_restarts_and_reloads() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let mut client = proxy.client().await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(upload(&mut client).await?);
    }
    let proxy = proxy.restart().await?;
    proxy.control(Request::Reload).await?;
    let mut client = proxy.client().await?;
    for (id, key) in ids.iter().zip(["key-1", "key-2", "key-3"]) {
        assert_eq!(way(&ask(&mut client, &[id]).await?), (200, key, ""));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_manual_mode_a_file_beats_the_active_key() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let mut client = proxy.client().await?;
    let id = upload(&mut client).await?;
    proxy.control(Request::Rotate { key: Some("key-3".to_owned()) }).await?;
    assert_eq!(way(&ask(&mut client, &[&id]).await?), (200, "key-1", ""));
    assert_eq!(way(&client.chat(false).await?), (200, "key-3", ""));
    let here = upload(&mut client).await?;
    proxy.control(Request::Mode { mode: Mode::Auto }).await?;
    assert_eq!(way(&ask(&mut client, &[&here]).await?), (200, "key-3", ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_beats_the_session() -> anyhow::Result<()> {
    let proxy = TestProxy::start_with(Scenario::healthy(2), |settings| {
        settings.rotation.policy = Policy::Session;
    })
    .await?;
    let mut client = proxy.client().await?;
    let id = upload(&mut client).await?;
    assert_eq!(way(&client.chat(false).await?), (200, "key-2", "2"));
    assert_eq!(way(&ask(&mut client, &[&id]).await?), (200, "key-1", ""));
    assert_eq!(way(&client.chat(false).await?), (200, "key-2", ""), "the session did not move");
    // An upload that names its session goes where the session is.
    let request = client.request(Method::POST, "/v1/files").header("x-session-id", "session-1");
    assert_eq!(way(&client.fetch(request, "x").await?), (200, "key-2", ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_account_is_asked_when_the_right_one_cannot_serve() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(3)).await?;
    let mut client = proxy.client().await?;
    let id = upload(&mut client).await?;
    switch(&proxy, "key-1", false).await?;
    let answer = ask(&mut client, &[&id]).await?;
    assert_eq!(code(&answer), (409, "file_account_unavailable"));
    assert_eq!(answer.header("x-should-retry"), "false");
    assert!(answer.text().contains("`key-1`"), "{}", answer.text());
    let asked = client.request(Method::GET, &format!("/v1/files/{id}"));
    assert_eq!(code(&client.fetch(asked, "").await?), (409, "file_account_unavailable"));
    assert_eq!(way(&client.chat(false).await?), (200, "key-2", "2"), "others go on");
    switch(&proxy, "key-1", true).await?;
    assert_eq!(way(&ask(&mut client, &[&id]).await?), (200, "key-1", ""));

    proxy.home.remove_key("key-1.key")?;
    proxy.control(Request::Reload).await?;
    assert_eq!(code(&ask(&mut client, &[&id]).await?), (409, "file_account_unavailable"));
    let served = proxy.attempts()?;
    let labels = [("key-1", Some(1)), ("key-2", Some(2)), ("key-1", None)];
    assert_eq!(turns(&served), labels);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_right_account_is_the_end() -> anyhow::Result<()> {
    let spent = Act::Error(errors::WEEK_SPENT);
    let scenario = Scenario::healthy(3).with_fault(0, When::Always, spent);
    let proxy = TestProxy::start(scenario).await?;
    let mut client = proxy.client().await?;
    let id = upload(&mut client).await?;
    let answer = ask(&mut client, &[&id]).await?;
    assert_eq!(code(&answer), (409, "file_account_unavailable"), "{}", answer.text());
    assert_eq!(answer.header("x-kmi-attempts"), "1");
    // What the account has left may be asked meanwhile.
    let records = proxy.upstream.records();
    let asked = records.iter().filter(|record| !record.target().ends_with("/usages"));
    assert_eq!((asked.count(), &proxy.upstream.requests_per_key()[1..]), (2, &[0, 0][..]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_wait_of_the_right_account_is_told_or_waited_for() -> anyhow::Result<()> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "1"));
    let scenario = Scenario::healthy(2).with_fault(0, When::Requests(1..2), refused);
    let proxy = TestProxy::start(scenario.clone()).await?;
    let mut client = proxy.client().await?;
    let id = upload(&mut client).await?;
    let answer = ask(&mut client, &[&id]).await?;
    assert_eq!(code(&answer), (429, "file_account_unavailable"), "{}", answer.text());
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.json()["error"]["type"], "rate_limit_reached_error");

    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.rotation.on_exhausted = OnExhausted::Wait;
    })
    .await?;
    let mut client = proxy.client().await?;
    let id = upload(&mut client).await?;
    assert_eq!(ask(&mut client, &[&id]).await?.status, 429, "its only key was tried");
    assert_eq!(way(&ask(&mut client, &[&id]).await?), (200, "key-1", ""), "it waited");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_key_of_the_account_helps_out() -> anyhow::Result<()> {
    let proxy = with_siblings().await?;
    let mut client = proxy.client().await?;
    let id = upload(&mut client).await?;
    let by_sibling = upload(&mut client).await?;
    assert_eq!(way(&ask(&mut client, &[&id, &by_sibling]).await?), (200, "key-1", ""));
    switch(&proxy, "key-1", false).await?;
    assert_eq!(way(&ask(&mut client, &[&id]).await?), (200, "key-2", ""));
    proxy.home.remove_key("key-1.toml")?;
    proxy.control(Request::Reload).await?;
    assert_eq!(way(&ask(&mut client, &[&id]).await?), (200, "key-2", ""));
    let proxy = proxy.restart().await?;
    assert_eq!(way(&ask(&mut proxy.client().await?, &[&id]).await?), (200, "key-2", ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_several_accounts_fit_no_key() -> anyhow::Result<()> {
    let proxy = TestProxy::start(Scenario::healthy(2)).await?;
    let mut client = proxy.client().await?;
    let (first, second) = (upload(&mut client).await?, upload(&mut client).await?);
    let answer = ask(&mut client, &[&first, &second]).await?;
    assert_eq!(code(&answer), (409, "files_of_several_accounts"), "{}", answer.text());
    assert_eq!(proxy.attempts()?.len(), 2, "nothing went upstream");
    Ok(())
}
