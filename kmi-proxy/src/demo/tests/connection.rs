//! What stands on the wire, byte for byte, and how connections end.

use super::*;

/// What a client that reads to the end of the connection gets.
async fn raw(stand_in: &StandIn, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(stand_in.address()).await?;
    let head = format!(
        "POST /coding/v1/chat/completions HTTP/1.1\r\nHOST: x\r\naUthorization: Bearer {KEY}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    Ok(String::from_utf8_lossy(&all).into_owned())
}

#[tokio::test]
async fn a_cut_stream_has_its_pieces_but_no_end() {
    for (act, reset) in [(Act::CutAfter(3), false), (Act::ResetAfter(3), true)] {
        let ask = Ask::of(Scenario::healthy(1).with_fault(0, When::Always, act)).await;
        let got = raw(&ask.stand_in, r#"{"stream":true}"#).await;
        if reset {
            assert_eq!(got.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        } else {
            let got = got.unwrap();
            assert_eq!(got.matches("data: ").count(), 3, "{got}");
            assert!(!got.ends_with("0\r\n\r\n"));
        }
        assert_eq!(ask.stand_in.records()[0].end, End::Broken);
        // The same without a stream: half of what the length promises.
        let got = ask.chat(KEY, &json!({})).await;
        assert!(got.is_err());
    }
}

#[tokio::test]
async fn without_an_answer_the_connection_closes_or_resets() {
    let ask = Ask::of(Scenario::healthy(1).with_fault(0, When::Always, Act::Close)).await;
    assert_eq!(raw(&ask.stand_in, "{}").await.unwrap(), "");
    let ask = Ask::of(Scenario::healthy(1).with_fault(0, When::Always, Act::Reset)).await;
    let error = raw(&ask.stand_in, "{}").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(ask.stand_in.records()[0].end, End::Broken);
}

#[tokio::test]
async fn records_keep_the_wire_as_it_was() {
    let ask = Ask::of(Scenario::healthy(1)).await;
    raw(&ask.stand_in, r#"{"stream":true}"#).await.unwrap();
    let records = ask.stand_in.records();
    let record = &records[0];
    assert_eq!((record.seq, record.key.as_deref()), (1, Some(KEY)));
    assert_eq!((record.method(), record.target()).0, "POST");
    assert_eq!(record.target(), "/coding/v1/chat/completions");
    let names: Vec<_> = record.headers().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["HOST", "aUthorization", "Content-Length", "Connection"]);
    assert_eq!(&record.body[..], br#"{"stream":true}"#);
    assert_eq!((record.status, record.end), (Some(200), End::Answered));

    let shown = ask.send("GET", "/__requests", "none", "").await.unwrap().json();
    assert_eq!(shown["total"], 1);
    assert_eq!(shown["requests"][0]["headers"][1][0], "aUthorization");
    assert_eq!(shown["requests"][0]["body_sha256"], record.body_sha256());
    ask.send("POST", "/__reset", "none", "").await.unwrap();
    assert!(ask.stand_in.records().is_empty());
}

#[tokio::test]
async fn heads_on_a_kept_connection_are_told_apart() {
    let ask = Ask::of(Scenario::healthy(1)).await;
    ask.chat(KEY, &json!({"model": "a".repeat(100_000)})).await.unwrap();
    ask.send("GET", "/coding/v1/models?x=%20", KEY, "").await.unwrap();
    let targets: Vec<_> = ask.stand_in.records().iter().map(Record::target).collect();
    assert_eq!(targets, ["/coding/v1/chat/completions", "/coding/v1/models?x=%20"]);
}
