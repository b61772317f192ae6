//! The scanner and the JSON parser see the same line.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    outcome::Outcome,
    state::{Mode, Policy},
    trace::{Attempt, Record, seal},
};

fn attempt() -> Attempt {
    Attempt {
        ts: Timestamp::from_millisecond(1_795_000_000_120).unwrap(),
        turn: Some(12),
        epoch: 3,
        prev_slot: Some(0),
        slot: Some(1),
        key: "k-12989f77".into(),
        label: "work".into(),
        eligible: Arc::new(KeySet::full(7)),
        tried: KeySet::from_iter([0]),
        request_id: "0b5c1a52".into(),
        session_id: None,
        attempt: 2,
        mode: Mode::Auto,
        policy: Policy::RoundRobin,
        upstream: "kimi".into(),
        method: "POST".into(),
        path: "/chat/completions".into(),
        model: Some("kimi-for-coding".into()),
        stream: Some(true),
        status: Some(200),
        outcome: Outcome::Ok,
        error: None,
        queue_ms: 0,
        connect_ms: 3,
        ttfb_ms: Some(812),
        latency_ms: 14_031,
        prompt_tokens: Some(48_210),
        completion_tokens: None,
        cached_tokens: None,
        request_bytes: 193_004,
        response_bytes: 61_877,
    }
}

fn line(attempt: Attempt) -> Vec<u8> {
    let mut out = Vec::new();
    seal(&Record::Attempt(attempt), 5, &ChainHash::START, &mut out).unwrap();
    out
}

/// What is left of having read a line.
fn familiar_with(line: &[u8]) -> Familiar {
    let mut familiar = Familiar::default();
    assert!(Evidence::scan(line, &mut familiar).is_some() && !familiar.stretch.is_empty());
    familiar
}

#[test]
fn what_is_familiar_is_read_alike_and_what_is_not_anew() {
    let same = Attempt { queue_ms: 7, latency_ms: 8, ..attempt() };
    let other = Attempt { upstream: "open".into(), ..attempt() };
    let failed = Attempt { outcome: Outcome::Quota, error: Some("spent".into()), ..attempt() };
    let long = Attempt { path: "p".repeat(2 * Familiar::LONGEST).into(), ..attempt() };
    let mut familiar = Familiar::default();
    for attempt in [attempt(), same.clone(), other.clone(), other, failed, long, same] {
        let line = line(attempt);
        let seen = Evidence::scan(&line, &mut familiar).expect("the form that kmi writes");
        assert_eq!(seen, Evidence::read(&line).unwrap());
        assert!(familiar.stretch.len() <= Familiar::LONGEST);
    }
}

/// A field that is added to [`Attempt`] must be added to the scan: without it `kmi verify` would
/// still be right, but slow.
#[test]
fn kmis_own_lines_take_the_fast_way() {
    let no_turn = Attempt { turn: None, prev_slot: None, slot: None, ..attempt() };
    let bare = Attempt {
        model: None,
        stream: None,
        status: None,
        ttfb_ms: None,
        prompt_tokens: None,
        session_id: Some("s".into()),
        error: Some("connection refused".into()),
        ..attempt()
    };
    let foreign = Attempt { label: "büro".into(), ..attempt() };
    let wide = Attempt { eligible: Arc::new(KeySet::full(200)), ..attempt() };
    for attempt in [attempt(), no_turn, bare, foreign, wide] {
        let line = line(attempt.clone());
        let seen =
            Evidence::scan(&line, &mut Familiar::default()).expect("the form that kmi writes");
        assert_eq!(seen, Evidence::read(&line).unwrap());
        assert_eq!((seen.place.seq, seen.place.hash), (5, seen.place.computed));
        assert_eq!((seen.ts, seen.turn, seen.epoch), (attempt.ts, attempt.turn, attempt.epoch));
        assert_eq!((seen.prev_slot, seen.slot), (attempt.prev_slot, attempt.slot));
        assert_eq!((&*seen.key, &*seen.label), (&*attempt.key, &*attempt.label));
        assert_eq!((&seen.eligible, &seen.tried), (&*attempt.eligible, &attempt.tried));
        assert_eq!((&*seen.upstream, seen.latency_ms), ("kimi", Some(14_031)));
        assert_eq!(seen.prompt_tokens, attempt.prompt_tokens);
    }
}

#[test]
fn everything_else_is_left_to_the_parser() {
    let text = String::from_utf8(line(attempt())).unwrap();
    let mut familiar = familiar_with(text.as_bytes());
    let mut odd = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        assert_eq!(Evidence::scan(text.as_bytes(), &mut familiar), None, "{to}");
        Evidence::read(text.as_bytes()).map(|it| it.turn)
    };
    assert_eq!(odd(r#""seq":5,"#, r#""seq": 5,"#).unwrap(), Some(12), "a blank");
    assert_eq!(odd(r#""turn":12,"epoch":3"#, r#""epoch":3,"turn":12"#).unwrap(), Some(12));
    assert_eq!(odd(r#""mode":"auto""#, r#""mode":"\u0061uto""#).unwrap(), Some(12), "an escape");
    assert_eq!(odd(r#""ts":"2026-"#, r#""ts":"+002026-"#).unwrap(), Some(12));
    for (from, to) in [
        (r#""turn":12"#, r#""turn":012"#),
        (r#""turn":12"#, r#""turn":12.0"#),
        (r#""turn":12"#, r#""turn":99999999999999999999"#),
        (r#""turn":12"#, r#""turn":-1"#),
        (r#""mode":"auto""#, "\"mode\":\"au\tto\""),
        (r#""stream":true"#, r#""stream":truth"#),
        (r#""tried":"1""#, r#""tried":"x""#),
        (r#""tried":"1""#, r#""tried":"""#),
        (r#""ts":"2026-11-"#, r#""ts":"2026-13-"#),
        (r#""prev":"0"#, r#""prev":"g"#),
        (r#","prev""#, r#","turn":12,"prev""#),
    ] {
        assert!(odd(from, to).is_err(), "{to}");
    }
    let mut bytes = text.into_bytes();
    let at = bytes.windows(4).position(|it| it == b"auto").unwrap();
    bytes[at] = 0xff;
    assert_eq!(Evidence::scan(&bytes, &mut familiar), None);
    assert!(Evidence::read(&bytes).is_err(), "not UTF-8");
}

proptest! {
    /// One byte anywhere is replaced, taken out or put in: what the scan still takes, the parser
    /// reads alike.
    #[test]
    fn the_scan_never_sees_more_than_the_parser(
        at in 0usize..700,
        how in 0usize..3,
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"\"\\,:0159{}ntf-Z \x1f\x7f\xc3"[..])],
    ) {
        let mut line = line(attempt());
        let mut familiar = familiar_with(&line);
        let at = at % line.len();
        match how {
            0 => line[at] = byte,
            1 => drop(line.remove(at)),
            _ => line.insert(at, byte),
        }
        if let Some(seen) = Evidence::scan(&line, &mut familiar) {
            prop_assert_eq!(seen, Evidence::read(&line).unwrap());
        }
    }

    #[test]
    fn any_words_are_read_alike(
        texts in prop::collection::vec("[ -~äß€\\\\\"\u{1}]{0,20}", 4),
        numbers in prop::collection::vec(any::<u64>(), 4),
        keys in prop::collection::vec(0usize..130, 0..4),
    ) {
        let odd = Attempt {
            label: texts[0].as_str().into(),
            key: texts[1].as_str().into(),
            error: Some(texts[2].as_str().into()),
            upstream: texts[3].as_str().into(),
            turn: Some(numbers[0]),
            epoch: numbers[1],
            latency_ms: numbers[2] >> 40,
            prompt_tokens: Some(numbers[3] >> 20),
            eligible: Arc::new(keys.into_iter().collect()),
            ..attempt()
        };
        let line = line(odd.clone());
        let mut familiar = familiar_with(&self::line(attempt()));
        let read = Evidence::read(&line).unwrap();
        prop_assert_eq!(&*read.label, &*odd.label);
        if let Some(seen) = Evidence::scan(&line, &mut familiar) {
            prop_assert_eq!(seen, read);
        }
    }

    #[test]
    fn times_are_read_alike(
        ms in -62_167_219_200_000i64..253_402_207_200_000,
        digits in prop::collection::vec(0u32..10, 17),
    ) {
        let time = Timestamp::from_millisecond(ms).unwrap();
        prop_assert_eq!(timestamp(format!("{time:.3}").as_bytes()), Some(time));
        let text = "dddd-dd-ddTdd:dd:dd.dddZ";
        let mut digits = digits.into_iter().filter_map(|digit| char::from_digit(digit, 10));
        let text: String =
            text.chars().map(|c| if c == 'd' { digits.next().unwrap() } else { c }).collect();
        if let Some(read) = timestamp(text.as_bytes()) {
            prop_assert_eq!(Ok(read), text.parse::<Timestamp>().map_err(|_| ()));
        }
    }
}
