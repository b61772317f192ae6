//! An upstream that breaks HTTP: an honest answer for the client, and no second request.

use kmi_core::trace::Attempt;
use kmi_proxy::demo::Scenario;
use kmi_tests::{Client, Scripted, TestProxy, at_once, then_close, then_keep};

async fn before(upstream: &Scripted) -> anyhow::Result<TestProxy> {
    TestProxy::start_with(Scenario::healthy(2), |settings| {
        settings.upstreams[0].base_url = upstream.base_url();
    })
    .await
}

/// What a raw client gets for one GET, until the connection ends or a whole answer has come.
async fn seen(proxy: &TestProxy) -> anyhow::Result<String> {
    let (host, token) = (proxy.engine.address(), proxy.token()?);
    let mut raw = proxy.raw().await?;
    raw.send(format!(
        "GET /kmi-rotor/v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\n\r\n",
        token.expose()
    ))
    .await?;
    raw.to_end().await
}

async fn only(proxy: &TestProxy) -> anyhow::Result<Attempt> {
    let mut attempts = proxy.attempts_when(1).await?;
    anyhow::ensure!(attempts.len() == 1, "{attempts:?}");
    Ok(attempts.remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_a_502() -> anyhow::Result<()> {
    let many = (0..200).fold(String::new(), |lines, n| lines + &format!("x-{n}: 1\r\n"));
    for (answer, outcome) in [
        ("garbage\r\n\r\n".to_owned(), "upstream_protocol"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(),
            "upstream_protocol",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nab".into(), "upstream_protocol"),
        ("HTTP/1.1 200 OK\r\nx: a\x1b[31m\r\n\r\n".into(), "upstream_protocol"),
        ("HTTP/1.1 200 O\x1bK\r\n\r\n".into(), "upstream_protocol"),
        ("HTTP/1.1 99 No\r\n\r\n".into(), "upstream_protocol"),
        (format!("HTTP/1.1 200 OK\r\n{many}\r\n"), "upstream_protocol"),
        (format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(1 << 20)), "upstream_protocol"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(),
            "upstream_protocol",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Le".into(), "upstream_cut"),
        (String::new(), "upstream_cut"),
    ] {
        let upstream = Scripted::start(vec![then_close(answer.clone())]).await?;
        let proxy = before(&upstream).await?;
        let seen = seen(&proxy).await?;
        assert!(seen.starts_with("HTTP/1.1 502 "), "{answer:.60}: {seen:.300}");
        assert!(seen.contains("x-kmi-error: upstream_"), "{seen}");
        let attempt = only(&proxy).await?;
        assert_eq!(attempt.outcome.as_str(), outcome, "{answer:.60}: {:?}", attempt.error);
        assert!(!attempt.error.as_deref().unwrap_or_default().contains('\u{1b}'));
        assert_eq!(upstream.requests(), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_whole_answers_pass() -> anyhow::Result<()> {
    for (answer, status, body) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            200,
            "abc",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end"),
        ("HTTP/1.0 200 OK\r\n\r\nold", 200, "old"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", 200, "a"),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            200,
            "a",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na and much more", 200, "a"),
        ("HTTP/1.1 999 Odd\r\nContent-Length: 1\r\n\r\na", 999, "a"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-late\r\n\r\n1\r\na\r\n0\r\nx-late: 1\r\n\r\n",
            200,
            "a",
        ),
        ("HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\na", 200, "a"),
    ] {
        let upstream = Scripted::start(vec![then_close(answer)]).await?;
        let proxy = before(&upstream).await?;
        let mut client = proxy.client().await?;
        let request = client.request(http::Method::GET, "/v1/models");
        let got = client.fetch(request, "").await?;
        assert_eq!((got.status.as_u16(), got.text().as_str()), (status, body), "{answer}");
        assert!(!got.headers.contains_key("x-late") && !got.headers.contains_key("trailer"));
        let wire = seen(&proxy).await?.to_lowercase();
        let framings = ["content-length:", "transfer-encoding:"];
        let framed = framings.iter().map(|name| wire.matches(name).count()).sum::<usize>();
        assert_eq!(framed, 1, "{wire}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_304_keeps_the_length_of_what_is_not_sent() -> anyhow::Result<()> {
    let answer = "HTTP/1.1 304 Not Modified\r\nContent-Length: 17\r\nETag: \"1\"\r\n\r\n";
    let upstream = Scripted::start(vec![then_keep(answer)]).await?;
    let proxy = before(&upstream).await?;
    let mut client = proxy.client().await?;
    for _ in 0..3 {
        let request = client.request(http::Method::GET, "/v1/models");
        let got = client.fetch(request, "").await?;
        assert_eq!((got.status.as_u16(), got.header("etag"), got.body.len()), (304, "\"1\"", 0));
    }
    assert_eq!(upstream.connections(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_an_answer_spoil_no_other_one() -> anyhow::Result<()> {
    let poisoned = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
    let upstream = Scripted::start(vec![then_keep(poisoned), then_keep(good)]).await?;
    let proxy = before(&upstream).await?;
    let mut client = proxy.client().await?;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let request = client.request(http::Method::GET, "/v1/models");
        let answer = client.fetch(request, "").await?;
        bodies.push(answer.text());
    }
    assert_eq!(bodies, ["a", "good", "good"]);
    assert_eq!(upstream.connections(), 2, "the poisoned connection is not used again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_never_looks_whole() -> anyhow::Result<()> {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    ] {
        let upstream = Scripted::start(vec![then_close(answer)]).await?;
        let proxy = before(&upstream).await?;
        let wire = seen(&proxy).await?;
        assert!(wire.starts_with("HTTP/1.1 200 OK\r\n"), "{wire}");
        assert!(!wire.ends_with("0\r\n\r\n"), "{wire}");
        // A length stays what it was, so that what came is too short for it.
        let framings = ["content-length: 10\r\n", "transfer-encoding: chunked\r\n"];
        let lower = wire.to_lowercase();
        assert!(framings.iter().any(|framing| lower.contains(framing)), "{wire}");
        let attempt = only(&proxy).await?;
        assert_eq!(attempt.outcome.as_str(), "upstream_cut", "{answer}");
        assert_eq!((attempt.status, upstream.requests()), (Some(200), 1));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_breaks_off_is_a_502() -> anyhow::Result<()> {
    for answer in [
        "HTTP/1.1 500 Oh No\r\nContent-Length: 100\r\n\r\n{\"error\":",
        "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let upstream = Scripted::start(vec![then_close(answer)]).await?;
        let proxy = before(&upstream).await?;
        let wire = seen(&proxy).await?;
        assert!(wire.starts_with("HTTP/1.1 502 "), "{wire}");
        assert_eq!(only(&proxy).await?.outcome.as_str(), "upstream_cut");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_key_is_one_though_its_body_never_ends() -> anyhow::Result<()> {
    let refusals = [
        "HTTP/1.1 429 Too Many\r\nRetry-After: 30\r\nContent-Length: 100\r\n\r\n{\"error\":",
        "HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
        "HTTP/1.1 402 Pay\r\nContent-Length: 100\r\n\r\n",
    ];
    for refusal in refusals {
        for step in [then_close(refusal), then_keep(refusal)] {
            let good = then_keep("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
            let upstream = Scripted::start(vec![step, good]).await?;
            let proxy = TestProxy::start_with(Scenario::healthy(2), |settings| {
                settings.upstreams[0].base_url = upstream.base_url();
                settings.upstreams[0].idle_timeout = std::time::Duration::from_millis(300);
            })
            .await?;
            let wire = seen(&proxy).await?;
            assert!(wire.starts_with("HTTP/1.1 200 ") && wire.ends_with("good"), "{wire}");
            let attempts = proxy.attempts_when(2).await?;
            assert_ne!(attempts[0].key, attempts[1].key, "{refusal}");
            let rows = proxy.engine.rotor().snapshot(jiff::Timestamp::now()).keys;
            let rest = rows.iter().filter(|row| row.reason.is_some()).count();
            assert_eq!(rest, 1, "the refused key rests: {refusal}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_does_not_hold_up_the_next_request() -> anyhow::Result<()> {
    // The upstream answers at the head; the client never sends the rest of its body.
    let early = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";
    let upstream = Scripted::start(vec![at_once(early)]).await?;
    let proxy = before(&upstream).await?;
    let (host, token) = (proxy.engine.address(), proxy.token()?.expose().to_owned());
    let mut slow = proxy.raw().await?;
    slow.send(format!(
        "POST /kmi-rotor/v1/files HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\n\r\n",
        32 << 20
    ))
    .await?;
    slow.send(vec![b'a'; 1 << 20]).await?;
    assert_eq!(slow.head().await?.0, 200);
    slow.until("early").await?;

    let mut quick = Client::connect(host, Some(&token)).await?;
    for _ in 0..3 {
        let request = quick.request(http::Method::GET, "/v1/models");
        let answer = kmi_tests::in_time(quick.fetch(request, "")).await??;
        assert_eq!(answer.text(), "early");
    }
    Ok(())
}
