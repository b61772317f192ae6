use proptest::prelude::*;
use serde_json::json;

use super::*;

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what scans give")]
fn usage(prompt: u64, completion: u64, cached: u64) -> Option<Usage> {
    Some(Usage { prompt: Some(prompt), completion: Some(completion), cached: Some(cached) })
}

fn in_pieces(mut scan: Scan, body: &[u8], size: usize) -> Option<Usage> {
    for piece in body.chunks(size) {
        scan.feed(piece);
    }
    scan.finish()
}

/// What a stream says, the same at several piece sizes.
fn of_stream(body: &str) -> Option<Usage> {
    let whole = in_pieces(Scan::sse(), body.as_bytes(), usize::MAX);
    for size in [1, 2, 7, 64] {
        assert_eq!(in_pieces(Scan::sse(), body.as_bytes(), size), whole, "pieces of {size}");
    }
    whole
}

/// What a JSON answer says, the same at several piece sizes.
fn of_json(body: &str) -> Option<Usage> {
    let whole = in_pieces(Scan::json(), body.as_bytes(), usize::MAX);
    for size in [1, 2, 7, 64] {
        assert_eq!(in_pieces(Scan::json(), body.as_bytes(), size), whole, "pieces of {size}");
    }
    whole
}

#[test]
fn a_compressed_answer_is_read_beside_the_one_that_passes() {
    use flate2::{Compression, write};
    let answer = json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 3,
        "cached_tokens": 4}});
    let events = format!("data: {{\"choices\":[]}}\n\ndata: {answer}\n\ndata: [DONE]\n\n");
    let json = (b"application/json".as_slice(), answer.to_string());
    for (kind, body) in [json, (b"text/event-stream; charset=utf-8", events)] {
        let mut gzip = write::GzEncoder::new(Vec::new(), Compression::fast());
        let mut zlib = write::ZlibEncoder::new(Vec::new(), Compression::fast());
        // As a server does for each event.
        for piece in body.as_bytes().chunks(20) {
            gzip.write_all(piece).and_then(|()| gzip.flush()).unwrap();
            zlib.write_all(piece).and_then(|()| zlib.flush()).unwrap();
        }
        let coded = [(Coding::Gzip, gzip.finish()), (Coding::Zlib, zlib.finish())];
        for (coding, body) in coded.map(|(coding, body)| (coding, body.unwrap())) {
            for size in [1, 3, 50, usize::MAX] {
                let mut scan = UsageScan::new(kind, coding).unwrap();
                body.chunks(size).for_each(|piece| scan.feed(piece));
                assert_eq!(scan.finish(), usage(10, 3, 4), "{coding:?} in pieces of {size}");
            }
        }
    }
}

#[test]
fn a_small_answer_cannot_make_much_work() {
    use flate2::{Compression, write::GzEncoder};
    let looked_at = |spaces: usize| {
        let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
        bomb.write_all(&vec![b' '; spaces]).unwrap();
        bomb.write_all(br#"{"usage":{"prompt_tokens":1}}"#).unwrap();
        let bounded = Bounded { scan: Scan::json(), left: 100_000 };
        let mut scan = UsageScan::Coded(Decoder::new(Coding::Gzip, bounded).unwrap());
        scan.feed(&bomb.finish().unwrap());
        scan.finish().is_some()
    };
    assert!(looked_at(90_000));
    assert!(!looked_at(1_000_000), "nobody looks so far");
}

#[test]
fn usage_beside_the_finish_reason() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n\
        data: {\"choices\":[{\"finish_reason\":\"stop\",\"usage\":{\"prompt_tokens\":10,\
        \"completion_tokens\":3,\"cached_tokens\":4}}]}\n\ndata: [DONE]\n\n";
    assert_eq!(of_stream(body), usage(10, 3, 4));
}

#[test]
fn usage_in_a_chunk_of_its_own_wins_over_earlier_ones() {
    let body = "data: {\"choices\":[{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\
        \"cached_tokens\":1}}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\
        \"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n";
    assert_eq!(of_stream(body), usage(10, 3, 4));
}

#[test]
fn within_an_event_its_own_usage_wins_over_a_choices() {
    for body in [
        r#"data: {"usage":{"prompt_tokens":10},"choices":[{"usage":{"prompt_tokens":1}}]}"#,
        r#"data:{"choices":[{"usage":{"prompt_tokens":1}}],"usage":{"prompt_tokens":10}}"#,
    ] {
        assert_eq!(of_stream(body).unwrap().prompt, Some(10));
    }
}

#[test]
fn anthropics_input_leaves_cached_tokens_out_and_ours_does_not() {
    let body = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":\
        {\"input_tokens\":200,\"cache_read_input_tokens\":1000,\"cache_creation_input_tokens\":50,\
        \"output_tokens\":1}}}\r\n\r\nevent: message_delta\r\ndata: {\"type\":\"message_delta\",\
        \"usage\":{\"output_tokens\":34}}\r\n\r\n";
    assert_eq!(of_stream(body), usage(1250, 34, 1000));
    let body = r#"{"content":[],"usage":{"input_tokens":200,"cache_read_input_tokens":1000,
        "output_tokens":34}}"#;
    assert_eq!(of_json(body), usage(1200, 34, 1000));
}

#[test]
fn input_of_the_responses_api_is_whole() {
    let object = r#"{"input_tokens":1200,"input_tokens_details":{"cached_tokens":1000},
        "output_tokens":34,"total_tokens":1234}"#;
    assert_eq!(of_json(&format!(r#"{{"usage":{object}}}"#)), usage(1200, 34, 1000));
    let event = format!(r#"{{"type":"response.completed","response":{{"usage":{object}}}}}"#);
    let event = event.replace('\n', "");
    assert_eq!(of_stream(&format!("data: {event}\n\n")), usage(1200, 34, 1000));
}

#[test]
fn json_in_any_layout() {
    let body = json!({"id": "x", "choices": [{"message": {"content": "a \"quote\" \\ and {"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "cached_tokens": 4}});
    assert_eq!(of_json(&body.to_string()), usage(10, 3, 4));
    assert_eq!(of_json(&serde_json::to_string_pretty(&body).unwrap()), usage(10, 3, 4));
    let in_choice = json!({"choices": [{"usage": {"prompt_tokens": 7}}]});
    assert_eq!(of_json(&in_choice.to_string()).unwrap().prompt, Some(7));
    let embeddings = json!({"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    assert_eq!(
        of_json(&embeddings.to_string()),
        Some(Usage { prompt: Some(8), completion: None, cached: None })
    );
}

#[test]
fn what_a_model_writes_is_no_usage() {
    let forged = r#"{"usage":{"prompt_tokens":999}}"#;
    let text = json!({"choices": [{"delta": {"content": forged}}]});
    assert_eq!(of_stream(&format!("data: {text}\n\n")), None);
    let text = json!({"choices": [{"message": {"content": forged}}]});
    assert_eq!(of_json(&text.to_string()), None);
    // The input of a tool call is JSON of the model's own on Anthropic's surface.
    let input = json!({"usage": {"input_tokens": 999}});
    let whole = json!({"content": [{"type": "tool_use", "input": input}],
        "usage": {"input_tokens": 1}, "metadata": input});
    assert_eq!(of_json(&whole.to_string()).unwrap().prompt, Some(1));
    let event = json!({"type": "content_block_start", "content_block": {"input": input}});
    assert_eq!(of_stream(&format!("data: {event}\n\n")), None);
    assert_eq!(of_stream(": \"usage\":{\"prompt_tokens\":1}\n"), None);
}

#[test]
fn what_is_no_count_says_nothing() {
    for odd in ["null", "-1", "1e300", "true", "[1]", "{\"a\":[1]}", "\"many\"", "\"\""] {
        let object = format!(r#"{{"prompt_tokens":{odd},"completion_tokens":3}}"#);
        let usage = of_json(&format!(r#"{{"usage":{object}}}"#)).unwrap();
        assert_eq!((usage.prompt, usage.completion), (None, Some(3)), "{odd}");
        let usage = of_stream(&format!("data: {{\"usage\":{object}}}\n")).unwrap();
        assert_eq!((usage.prompt, usage.completion), (None, Some(3)), "{odd}");
    }
    let generous = r#"{"usage":{"prompt_tokens":"10","completion_tokens":3.0}}"#;
    assert_eq!(of_json(generous).map(|u| (u.prompt, u.completion)), Some((Some(10), Some(3))));
    for odd in ["null", "7", "\"x\"", "[]", "{}"] {
        assert_eq!(of_json(&format!(r#"{{"usage":{odd}}}"#)), None, "{odd}");
        assert_eq!(of_stream(&format!("data: {{\"choices\":{odd},\"usage\":{odd}}}\n")), None);
    }
}

#[test]
fn later_nulls_do_not_undo_earlier_counts() {
    let body = "data: {\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":3,\
        \"cached_tokens\":4}}\n\ndata: {\"usage\":null}\n\n";
    assert_eq!(of_stream(body), usage(10, 3, 4));
}

#[test]
fn long_lines_and_objects_are_passed_over_and_the_next_ones_read() {
    let long = "x".repeat(70_000);
    let body = format!(
        "data: {{\"pad\":\"{long}\",\"usage\":{{\"prompt_tokens\":1}}}}\n\n\
         data: {{\"usage\":{{\"prompt_tokens\":2}}}}\n\n"
    );
    assert_eq!(of_stream(&body).unwrap().prompt, Some(2));
    let body = format!(
        r#"{{"usage":{{"pad":"{long}","prompt_tokens":1}},"usage":{{"prompt_tokens":2}}}}"#
    );
    assert_eq!(of_json(&body).unwrap().prompt, Some(2));
}

#[test]
fn memory_stays_bounded() {
    let mut scan = SseScan::default();
    let mut counts = Counts::default();
    for _ in 0..1_000 {
        scan.feed(&[b'x'; 1_000], &mut counts);
        assert!(scan.kept() <= 128 << 10);
    }
}

#[test]
fn a_stream_without_its_last_newline_is_read() {
    assert_eq!(of_stream(r#"data: {"usage":{"prompt_tokens":10}}"#).unwrap().prompt, Some(10));
    assert_eq!(of_stream(r#"data: {"usage":{"prompt_tokens":1"#), None);
}

#[test]
fn the_content_type_says_how_to_read() {
    let reads = |value: &str| Scan::for_content_type(value.as_bytes()).map(|scan| scan.form);
    assert!(matches!(reads("text/event-stream; charset=utf-8"), Some(Form::Sse(_))));
    assert!(matches!(reads("Application/JSON"), Some(Form::Json(_))));
    assert!(reads("text/markdown").is_none());
    assert!(reads("").is_none());
}

/// Streams and answers with parts that matter here in any order, well-formed or not.
fn bodies() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("data: "),
        Just("\n"),
        Just("\r\n"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("\"usage\""),
        Just(":"),
        Just(","),
        Just("\"choices\""),
        Just("\"message\""),
        Just("{\"prompt_tokens\":12}"),
        Just("{\"output_tokens\":3,\"input_tokens\":5}"),
        Just("\"prompt_tokens\":7"),
        Just("\""),
        Just("\\"),
        Just("null"),
        Just("ü€"),
        Just("\"usage\":{\"completion_tokens\":8,\"cached_tokens\":2}"),
        Just("data: {\"usage\":{\"prompt_tokens\":1}}\n"),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn pieces_change_nothing(body in bodies(), cuts in proptest::collection::vec(1_usize..30, 1..40)) {
        for new in [Scan::json, Scan::sse] {
            let whole = in_pieces(new(), body.as_bytes(), usize::MAX);
            let mut scan = new();
            let mut rest = body.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at((*cut).min(rest.len()));
                scan.feed(piece);
                rest = more;
            }
            prop_assert_eq!(scan.finish(), whole);
        }
    }

    #[test]
    fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        in_pieces(Scan::json(), &body, 13);
        in_pieces(Scan::sse(), &body, 13);
    }

    #[test]
    fn counts_are_read_wherever_the_object_has_them(
        (prompt, completion, cached) in (0..u64::MAX, 0..u64::MAX, 0..u64::MAX),
        text in ".{0,80}",
    ) {
        let body = json!({"text": text, "usage": {"prompt_tokens": prompt, "note": text,
            "completion_tokens": completion, "cached_tokens": cached}, "more": text});
        prop_assert_eq!(of_json(&body.to_string()), usage(prompt, completion, cached));
        prop_assert_eq!(of_stream(&format!("data: {body}\n\n")), usage(prompt, completion, cached));
    }
}
