use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn of(body: &Value) -> Peek {
    peek(body.to_string().as_bytes())
}

#[test]
fn a_chat_body_of_a_kimi_client() {
    let body = json!({"messages": [{"role": "user", "content": "hi", "model": "not this"}],
        "model": "kimi-for-coding", "prompt_cache_key": "session_1", "stream": true,
        "stream_options": {"include_usage": true}, "tools": []});
    let expected = Peek {
        model: Some("kimi-for-coding".into()),
        stream: Some(true),
        session: Some("session_1".into()),
        files: vec![],
    };
    assert_eq!(of(&body), expected);
    assert_eq!(peek(serde_json::to_string_pretty(&body).unwrap().as_bytes()), expected);
}

#[test]
fn a_session_by_user_id_plain_or_as_json() {
    assert_eq!(of(&json!({"metadata": {"user_id": "session_2"}})).session.unwrap(), "session_2");
    let user = json!({"device_id": "d", "session_id": "abc"}).to_string();
    assert_eq!(of(&json!({"metadata": {"user_id": user}})).session.unwrap(), "abc");
    let body = json!({"metadata": {"user_id": "b"}, "prompt_cache_key": "a"});
    assert_eq!(of(&body).session.unwrap(), "a");
    assert_eq!(of(&json!({"metadata": {"user_id": "{not json"}})).session.unwrap(), "{not json");
    let no_session = r#"{"session_id":""}"#;
    assert_eq!(of(&json!({"metadata": {"user_id": no_session}})).session.unwrap(), no_session);
}

#[test]
fn the_last_of_two_counts() {
    let body = br#"{"model":"a","stream":false,"model":"b","stream":true}"#;
    let peek = peek(body);
    assert_eq!((peek.model.as_deref(), peek.stream), (Some("b"), Some(true)));
}

#[test]
fn values_of_other_types_are_as_good_as_none() {
    for odd in [json!(null), json!(1), json!(-1.5), json!([1]), json!({"a": [1]}), json!("")] {
        let body = json!({"model": odd, "stream": odd, "prompt_cache_key": odd, "metadata": odd});
        assert_eq!(of(&body), Peek::default(), "{odd}");
        let after = json!({"a": odd, "model": "m", "metadata": {"user_id": odd}, "stream": true});
        assert_eq!(of(&after).stream, Some(true), "{odd}");
    }
}

#[test]
fn texts_are_bounded() {
    let body = |n: usize| json!({"model": "m".repeat(n), "prompt_cache_key": "s".repeat(2 * n)});
    assert_eq!(of(&body(256)).model.unwrap().len(), 256);
    assert_eq!(of(&body(256)).session.unwrap().len(), 512);
    assert_eq!(of(&body(257)), Peek::default());
}

#[test]
fn what_is_no_object_says_nothing() {
    for body in ["", " ", "[]", "\"model\"", "null", "--boundary\r\nms://file-1\r\n"] {
        assert_eq!(peek(body.as_bytes()), Peek::default(), "{body}");
    }
}

#[test]
fn a_body_that_breaks_off_tells_what_it_could() {
    let peek = peek(br#"{"model":"m","stream":true,"messages":[{"content":"brok"#);
    assert_eq!((peek.model.as_deref(), peek.stream), (Some("m"), Some(true)));
}

#[test]
fn deep_nesting_is_passed_over() {
    let deep = format!(r#"{{"x":{}1{},"stream":true}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(peek(deep.as_bytes()).stream, Some(true));
}

#[test]
fn uploaded_files_are_listed_once_each() {
    let url = |url: &str| json!({"type": "video_url", "video_url": {"url": url}});
    let body = json!({"messages": [{"content": [url("ms://file-1"), url("ms://file-2_a"),
        url("ms://file-1"), url("ms://"), url("ms:file"), url(&format!("ms://{}", "x".repeat(129)))]}]});
    assert_eq!(of(&body).files, ["file-1", "file-2_a"]);
    assert_eq!(peek(br#"{"u":"ms:\/\/file-3"}"#).files, ["file-3"]);
    let many: Vec<_> = (0..40).map(|n| format!("ms://f{n}")).collect();
    assert_eq!(of(&json!({ "m": many })).files.len(), 16);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        peek(&body);
        let mut object = b"{\"metadata\":{".to_vec();
        object.extend_from_slice(&body);
        peek(&object);
    }

    /// A prefix never says something else than the whole: only less.
    #[test]
    fn a_prefix_says_less_but_nothing_else(cut in 0_usize..200, text in ".{0,20}") {
        let body = json!({"a": text, "metadata": {"user_id": "u"}, "model": "m", "stream": true,
            "z": {"b": [text]}}).to_string();
        let whole = peek(body.as_bytes());
        let part = peek(&body.as_bytes()[..cut.min(body.len())]);
        prop_assert!(part.model.is_none() || part.model == whole.model);
        prop_assert!(part.stream.is_none() || part.stream == whole.stream);
        prop_assert!(part.session.is_none() || part.session == whole.session);
    }
}
