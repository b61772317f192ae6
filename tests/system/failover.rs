//! A request that its key cannot serve goes on to the next one, and only where that is safe.

use std::time::Duration;

use http::Method;
use kmi_core::trace::Attempt;
use kmi_proxy::{
    demo::{Act, ErrorAnswer, Fault, Only, Scenario, When, errors},
    settings::OnExhausted,
};
use kmi_tests::{Answer, Client, TestProxy, eventually};

/// One chat request before `keys` keys whose first `broken` do what `act` says.
async fn one(keys: usize, broken: usize, act: &Act) -> anyhow::Result<(Answer, Vec<Attempt>)> {
    let scenario = (0..broken).fold(Scenario::healthy(keys), |scenario, key| {
        scenario.with_fault(key, When::Always, act.clone())
    });
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.upstreams[0].first_byte_timeout = Duration::from_millis(300);
    })
    .await?;
    let answer = proxy.client().await?.chat(false).await?;
    Ok((answer, proxy.attempts()?))
}

fn outcomes(attempts: &[Attempt]) -> Vec<&str> {
    attempts.iter().map(|attempt| attempt.outcome.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_hands_over_in_the_same_request() -> anyhow::Result<()> {
    let refusals: [(ErrorAnswer, &str); 10] = [
        (errors::KEY_INVALID, "auth"),
        (errors::AUTHENTICATION_INVALID, "auth"),
        (errors::MEMBERSHIP_UNVERIFIED, "auth"),
        (errors::TERMINATED, "auth"),
        (errors::WEEK_SPENT, "quota"),
        (errors::CONCURRENCY, "rate_limited"),
        (errors::TOO_MANY_REQUESTS, "rate_limited"),
        (errors::PERIOD_SPENT, "quota"),
        (errors::MODEL_NOT_FOUND, "client_error"),
        (errors::ACCOUNT_BANNED, "auth"),
    ];
    for (refusal, outcome) in refusals {
        let (status, message) = (refusal.status, refusal.message.clone());
        let (answer, attempts) = one(3, 2, &Act::Error(refusal)).await?;
        assert_eq!(answer.status, 200, "{message}: {}", answer.text());
        assert_eq!((answer.header("x-kmi-key"), answer.header("x-kmi-turn")), ("key-3", "3"));
        assert_eq!(answer.header("x-kmi-attempts"), "3");
        assert_eq!(outcomes(&attempts), [outcome, outcome, "ok"], "{message}");
        let ids =
            attempts.iter().map(|it| &it.request_id).collect::<std::collections::HashSet<_>>();
        assert_eq!(ids.len(), 1, "one request");
        for (number, attempt) in attempts.iter().enumerate() {
            assert_eq!(attempt.attempt as usize, number + 1);
            assert_eq!(attempt.tried.iter().collect::<Vec<_>>(), (0..number).collect::<Vec<_>>());
            assert_eq!(attempt.status, Some(if number < 2 { status } else { 200 }));
            assert_eq!(attempt.error.is_some(), number < 2);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_the_request_passes_through_untouched() -> anyhow::Result<()> {
    let status = |status, kind, message| ErrorAnswer::new(status, kind, message);
    for error in [
        errors::MESSAGE_TOO_LARGE,
        errors::CONTEXT_TOO_LONG,
        errors::HIGH_RISK,
        errors::CLIENT_NOT_ALLOWED,
        errors::METHOD_NOT_FOUND,
        status(413, "invalid_request_error", "Request entity too large"),
        status(422, "invalid_request_error", "messages: field required"),
        errors::DATABASE_TIMEOUT,
        status(502, "server_error", "bad gateway"),
        status(504, "server_error", "gateway timeout"),
    ] {
        let (code, body) = (error.status, error.openai_body());
        let error = error.with_header("x-trace-id", "t-1");
        let (answer, attempts) = one(3, 3, &Act::Error(error)).await?;
        assert_eq!(answer.status, code);
        assert_eq!(answer.body, body);
        assert_eq!(answer.header("x-trace-id"), "t-1");
        assert_eq!(answer.header("x-kmi-attempts"), "1");
        assert!(!answer.headers.contains_key("x-kmi-error"), "it is the upstream's own");
        assert_eq!(attempts.len(), 1, "{code}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_engine_gets_one_more_try() -> anyhow::Result<()> {
    for error in [errors::UNAVAILABLE, errors::ENGINE_OVERLOADED] {
        let (answer, attempts) = one(5, 1, &Act::Error(error.clone())).await?;
        assert_eq!((answer.status.as_u16(), answer.header("x-kmi-attempts")), (200, "2"));
        assert_eq!(outcomes(&attempts), ["upstream_error", "ok"]);
        let (answer, attempts) = one(5, 5, &Act::Error(error.clone())).await?;
        assert_eq!(answer.status, error.status);
        assert_eq!(answer.body, error.openai_body());
        assert_eq!(outcomes(&attempts), ["upstream_error"; 2]);
        let (answer, attempts) = one(1, 1, &Act::Error(error.clone())).await?;
        assert_eq!((answer.status.as_u16(), attempts.len()), (error.status, 1), "no other key");
    }
    Ok(())
}

/// The pause before another try is none before no other try.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_pauses_for_a_key_that_there_is_not() -> anyhow::Result<()> {
    let scenario =
        Scenario::healthy(1).with_fault(0, When::Always, Act::Error(errors::UNAVAILABLE));
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.health.outage_backoff = Duration::from_mins(5);
        settings.health.outage_max_backoff = Duration::from_mins(5);
    })
    .await?;
    let mut client = proxy.client().await?;
    let answer = kmi_tests::in_time(client.chat(false)).await??;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-attempts")), (503, "1"));
    Ok(())
}

/// Nor for one that comes back much later.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_pauses_for_a_key_that_rests_for_long() -> anyhow::Result<()> {
    let scenario = Scenario::healthy(2)
        .with_fault(0, When::Requests(3..100), Act::Error(errors::UNAVAILABLE))
        .with_fault(1, When::Always, Act::Error(errors::WEEK_SPENT));
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.health.outage_backoff = Duration::from_mins(2);
        settings.health.outage_max_backoff = Duration::from_mins(2);
    })
    .await?;
    let mut client = proxy.client().await?;
    for attempts in ["1", "2"] {
        let answer = client.chat(false).await?;
        assert_eq!((answer.status.as_u16(), answer.header("x-kmi-attempts")), (200, attempts));
    }
    let answer = kmi_tests::in_time(client.chat(false)).await??;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-attempts")), (503, "1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_carried_out_is_not_sent_again() -> anyhow::Result<()> {
    let long = Duration::from_mins(1);
    for (act, status, outcome) in [
        (Act::Close, 502, "upstream_cut"),
        (Act::Reset, 502, "upstream_cut"),
        (Act::SlowHead(long), 504, "upstream_timeout"),
    ] {
        let (answer, attempts) = one(3, 3, &act).await?;
        assert_eq!(answer.status, status, "{act:?}: {}", answer.text());
        assert!(!answer.header("x-kmi-error").is_empty());
        assert_eq!(outcomes(&attempts), [outcome], "{act:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_on_a_kept_connection_is_not_sent_again_either() -> anyhow::Result<()> {
    for act in [Act::Close, Act::Reset] {
        let scenario =
            Scenario::healthy(2).deciding(move |asked| (asked.seq == 2).then(|| act.clone()));
        let proxy = TestProxy::start(scenario).await?;
        let mut client = proxy.client().await?;
        assert_eq!(client.chat(false).await?.status, 200);
        assert_eq!(client.chat(false).await?.status, 502);
        assert_eq!(client.chat(false).await?.status, 200);
        let attempts = proxy.attempts()?;
        assert_eq!(outcomes(&attempts), ["ok", "upstream_cut", "ok"]);
        assert_eq!(proxy.upstream.records().len(), 3);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_unsafe_sends_again_what_may_have_been_carried_out() -> anyhow::Result<()> {
    let bad_gateway = ErrorAnswer::new(502, "server_error", "bad gateway");
    for act in [Act::Close, Act::SlowHead(Duration::from_mins(1)), Act::Error(bad_gateway)] {
        let scenario = Scenario::healthy(3).with_fault(0, When::Always, act.clone());
        let proxy = TestProxy::start_with(scenario, |settings| {
            settings.upstreams[0].first_byte_timeout = Duration::from_millis(300);
            settings.rotation.retry_unsafe = true;
        })
        .await?;
        let answer = proxy.client().await?.chat(false).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-kmi-attempts")),
            (200, "2"),
            "{act:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_upstream_is_tried_once_more() -> anyhow::Result<()> {
    // A port that was just free.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let proxy = TestProxy::start_with(Scenario::healthy(3), |settings| {
        settings.upstreams[0].base_url = format!("http://{closed}/coding/v1");
    })
    .await?;
    let answer = proxy.client().await?.chat(false).await?;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-error")), (502, "connect_failed"));
    let attempts = proxy.attempts()?;
    assert_eq!(outcomes(&attempts), ["connect_failed"; 2]);
    assert!(attempts.iter().all(|it| it.status.is_none() && it.error.is_some()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn max_attempts_counts_attempts() -> anyhow::Result<()> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "30"));
    for (max, failover, made) in [(2, true, 2), (1, true, 1), (5, false, 1)] {
        let scenario = (0..5).fold(Scenario::healthy(6), |scenario, key| {
            scenario.with_fault(key, When::Always, refused.clone())
        });
        let proxy = TestProxy::start_with(scenario, |settings| {
            (settings.rotation.max_attempts, settings.rotation.failover) = (max, failover);
        })
        .await?;
        let answer = proxy.client().await?.chat(false).await?;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("x-kmi-error"), "all_keys_rate_limited", "kmi's own answer");
        assert!(answer.text().contains("another one is usable"), "{}", answer.text());
        assert_eq!(answer.header("x-kmi-attempts"), made.to_string());
        assert_eq!(proxy.attempts()?.len(), made);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_answers_in_three_ways() -> anyhow::Result<()> {
    let wait = errors::TOO_MANY_REQUESTS.with_header("retry-after", "30");
    let cases = [
        (wait, 429, "rate_limit_reached_error"),
        (errors::WEEK_SPENT, 429, "exceeded_current_quota_error"),
        (errors::KEY_INVALID, 503, "server_error"),
        (errors::TERMINATED, 503, "server_error"),
    ];
    for (error, status, kind) in cases {
        let scenario = (0..2).fold(Scenario::healthy(2), |scenario, key| {
            scenario.with_fault(key, When::Always, Act::Error(error.clone()))
        });
        let proxy = TestProxy::start(scenario).await?;
        let mut client = proxy.client().await?;
        for (request, attempts) in [("the one that finds out", "2"), ("the next one", "0")] {
            let answer = client.chat(false).await?;
            assert_eq!(answer.status, status, "{kind}, {request}");
            assert_eq!(answer.json()["error"]["type"], kind, "{request}");
            assert_eq!(answer.header("x-kmi-attempts"), attempts);
            assert!(!answer.header("x-kmi-request-id").is_empty());
            let retry_after = answer.header("retry-after");
            match kind {
                "rate_limit_reached_error" => {
                    assert!((1..=30).contains(&retry_after.parse::<u64>()?), "{retry_after}");
                }
                _ => assert_eq!(retry_after, "", "a client would sleep for so long"),
            }
            let should_retry = if kind.starts_with("exceeded") { "false" } else { "" };
            assert_eq!(answer.header("x-should-retry"), should_retry);
        }
        let records = proxy.upstream.records();
        let chats = records.iter().filter(|record| record.target().ends_with("/chat/completions"));
        assert_eq!(chats.count(), 2, "blocked keys are asked no more");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_key_is_skipped_and_comes_back() -> anyhow::Result<()> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "1"));
    let scenario = Scenario::healthy(3).with_fault(1, When::Requests(1..2), refused);
    let proxy = TestProxy::start(scenario).await?;
    let mut client = proxy.client().await?;
    let mut served = Vec::new();
    for _ in 0..4 {
        let answer = client.chat(false).await?;
        served.push(format!("{} {}", answer.header("x-kmi-key"), answer.header("x-kmi-attempts")));
    }
    assert_eq!(served, ["key-1 1", "key-3 2", "key-1 1", "key-3 1"]);
    eventually(async || Ok(client.chat(false).await?.header("x-kmi-key") == "key-2")).await?;
    let report = proxy.verify()?;
    assert_eq!(report.all.violations, 0, "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_wait_for_the_next_key() -> anyhow::Result<()> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "1"));
    let scenario = Scenario::healthy(1).with_fault(0, When::Requests(1..2), refused);
    let proxy = TestProxy::start_with(scenario, |settings| {
        settings.rotation.on_exhausted = OnExhausted::Wait;
    })
    .await?;
    let mut client = proxy.client().await?;
    // The only key was tried, so this request has nothing to wait for.
    let start = std::time::Instant::now();
    assert_eq!(client.chat(false).await?.status, 429);
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    let answer = client.chat(false).await?;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-key")), (200, "key-1"));
    let attempts = proxy.attempts()?;
    assert_eq!(outcomes(&attempts), ["rate_limited", "ok"]);
    assert!(attempts[1].queue_ms > 100, "{}", attempts[1].queue_ms);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_passed_on_and_not_repeated() -> anyhow::Result<()> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS);
    let scenario = Scenario::healthy(2).with_fault(0, When::Always, refused);
    let proxy = TestProxy::start(scenario).await?;
    let mut client = proxy.client().await?;
    for (megabytes, status, attempts) in [(17, 429, "1"), (17, 200, "1")] {
        let body = vec![b' '; megabytes << 20];
        let request = client.request(Method::POST, "/v1/chat/completions");
        let answer = client.fetch(request, body.clone()).await?;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("x-kmi-attempts"), attempts);
        let records = proxy.upstream.records();
        assert!(records.last().is_some_and(|record| record.body == body));
        let lines = proxy.attempts()?;
        assert_eq!(lines.last().map(|line| line.request_bytes), Some(body.len() as u64));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_up_to_the_limit_goes_to_the_next_key() -> anyhow::Result<()> {
    let refused = Act::Error(errors::TOO_MANY_REQUESTS);
    let scenario = Scenario::healthy(2).with_fault(0, When::Always, refused);
    let proxy = TestProxy::start(scenario).await?;
    let mut client = proxy.client().await?;
    let request = client.request(Method::POST, "/v1/chat/completions");
    let answer = client.fetch(request, vec![b' '; 16 << 20]).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((answer.header("x-kmi-attempts"), answer.header("x-kmi-key")), ("2", "key-2"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_error_is_whole_even_when_another_try_was_wanted() -> anyhow::Result<()> {
    let page = ErrorAnswer::new(503, "server_error", "").with_message("x".repeat(200_000));
    let body = page.openai_body();
    for keys in [1, 2, 3] {
        let (answer, attempts) = one(keys, keys, &Act::Error(page.clone())).await?;
        assert_eq!(answer.status, 503);
        assert!(answer.body == body, "{} of {} bytes", answer.body.len(), body.len());
        assert_eq!(attempts.len(), keys.min(2));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_upload_is_not_taken_for_a_slow_answer() -> anyhow::Result<()> {
    let proxy = TestProxy::start_with(Scenario::healthy(1), |settings| {
        settings.upstreams[0].first_byte_timeout = Duration::from_millis(400);
    })
    .await?;
    let (host, token) = (proxy.engine.address(), proxy.token()?);
    let mut raw = proxy.raw().await?;
    let piece = vec![b' '; 1 << 20];
    raw.send(format!(
        "POST /kmi-rotor/v1/files HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\n\r\n",
        token.expose(),
        8 * piece.len()
    ))
    .await?;
    for _ in 0..8 {
        raw.send(&piece).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(raw.head().await?.0, 200);
    Ok(())
}

/// The list of models is one key's, as it is: whatever the next healthy key may use.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_models_passes_through_and_on_to_the_next_key() -> anyhow::Result<()> {
    let dead = Act::Error(errors::KEY_INVALID);
    let mut scenario = Scenario::healthy(2);
    scenario.keys[0].faults.push(Fault { only: Only::All, ..Fault::new(When::Always, dead) });
    let proxy = TestProxy::start(scenario).await?;
    let mut client = proxy.client().await?;
    let request = client.request(Method::GET, "/v1/models");
    let answer = client.fetch(request, "").await?;
    assert_eq!((answer.status.as_u16(), answer.header("x-kmi-key")), (200, "key-2"));
    assert_eq!(answer.header("x-kmi-attempts"), "2");
    let secret = proxy.upstream.scenario().keys[1].secret.clone();
    let mut direct = Client::connect(proxy.upstream.address(), Some(&secret)).await?;
    let request = direct.request(Method::GET, "").uri("/coding/v1/models");
    assert_eq!(answer.text(), direct.fetch(request, "").await?.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_blocks_no_key() -> anyhow::Result<()> {
    let bad_gateway = ErrorAnswer::new(502, "server_error", "bad gateway");
    for act in [Act::Error(bad_gateway), Act::Close, Act::Error(errors::ENGINE_OVERLOADED)] {
        let shown = format!("{act:?}");
        let scenario =
            Scenario::healthy(3).deciding(move |asked| (asked.seq <= 40).then(|| act.clone()));
        let proxy = TestProxy::start_with(scenario, |settings| {
            let pause = Duration::from_millis(1);
            settings.health.outage_backoff = pause;
            settings.health.outage_max_backoff = pause;
        })
        .await?;
        let mut client = proxy.client().await?;
        while proxy.upstream.records().len() < 40 {
            let answer = client.chat(false).await?;
            // The last one may have had its second try when all was well again.
            let well = proxy.upstream.records().len() > 40;
            let expected: &[u16] = if well { &[200] } else { &[429, 502] };
            assert!(expected.contains(&answer.status.as_u16()), "{shown}: {}", answer.text());
            assert_ne!(answer.header("x-kmi-error"), "no_usable_key", "{shown}");
        }
        let before = proxy.upstream.requests_per_key();
        for _ in 0..3 {
            assert_eq!(client.chat(false).await?.status, 200, "{shown}: well again at once");
        }
        let after = proxy.upstream.requests_per_key();
        let served: Vec<_> =
            after.iter().zip(&before).map(|(after, before)| after - before).collect();
        assert_eq!(served, [1, 1, 1], "{shown}");
        assert_eq!(proxy.verify()?.all.violations, 0);
    }
    Ok(())
}

/// The 404 of a key that lacks the model is not the last word while the one that has it rests.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_waits_for_the_key_that_has_it() -> anyhow::Result<()> {
    let refused = errors::TOO_MANY_REQUESTS.with_header("retry-after", "2");
    for on_exhausted in [OnExhausted::Fail, OnExhausted::Wait] {
        let scenario = Scenario::healthy(3)
            .with_fault(0, When::Requests(1..2), Act::Error(refused.clone()))
            .with_fault(1, When::Always, Act::Error(errors::MODEL_NOT_FOUND))
            .with_fault(2, When::Always, Act::Error(errors::MODEL_NOT_FOUND));
        let proxy = TestProxy::start_with(scenario, |settings| {
            settings.rotation.on_exhausted = on_exhausted;
        })
        .await?;
        let mut client = proxy.client().await?;
        let first = client.chat(false).await?;
        assert_eq!(first.header("x-kmi-attempts"), "3");
        assert_eq!(
            (first.status.as_u16(), first.header("x-kmi-error")),
            (429, "all_keys_rate_limited")
        );
        let second = client.chat(false).await?;
        match on_exhausted {
            OnExhausted::Fail => {
                assert_eq!((second.status.as_u16(), second.header("x-kmi-attempts")), (429, "0"));
                assert!(!second.header("retry-after").is_empty());
            }
            OnExhausted::Wait => assert_eq!(second.status, 200, "{}", second.text()),
        }
        let well = eventually(async || Ok(client.chat(false).await?.status == 200)).await?;
        assert!(well < Duration::from_secs(15), "{well:?}");
        assert_eq!(client.chat(false).await?.header("x-kmi-key"), "key-1");
    }
    Ok(())
}
