use super::*;

fn raw<T: Setting>(text: &str) -> Option<T> {
    T::read(&Scalar::Raw(text.into()))
}

#[test]
fn durations_read_and_show() {
    for (text, millis, shown) in [
        ("500ms", 500, "500ms"),
        ("30s", 30_000, "30s"),
        ("280 s", 280_000, "280s"),
        ("10m", 600_000, "10m"),
        ("60s", 60_000, "1m"),
        ("1h", 3_600_000, "1h"),
        ("1500ms", 1500, "1500ms"),
        ("0s", 0, "0s"),
        ("2d", 172_800_000, "48h"),
    ] {
        let duration: Duration = raw(text).unwrap();
        assert_eq!(duration, Duration::from_millis(millis), "{text}");
        assert_eq!(duration.show(), shown, "{text}");
    }
    for text in ["", "30", "s", "-1s", "1.5s", "1y", "99999999999999999999s", "9999999d"] {
        assert_eq!(raw::<Duration>(text), None, "{text}");
    }
    assert_eq!(Duration::read(&Scalar::Integer(30)), None, "a unit is needed");
}

#[test]
fn sizes_read_and_show() {
    for (text, bytes, shown) in [
        ("1GiB", 1 << 30, "1GiB"),
        ("1024 MiB", 1 << 30, "1GiB"),
        ("5mb", 5_000_000, "5MB"),
        ("1000kB", 1_000_000, "1MB"),
        ("77", 77, "77B"),
        ("0", 0, "0B"),
    ] {
        let size: Size = raw(text).unwrap();
        assert_eq!(size.0, bytes, "{text}");
        assert_eq!(size.show(), shown, "{text}");
    }
    assert_eq!(Size::read(&Scalar::Integer(4096)), Some(Size(4096)));
    for text in ["", "GiB", "1XB", "-1B", "99999999999GiB"] {
        assert_eq!(raw::<Size>(text), None, "{text}");
    }
}

#[test]
fn files_are_typed_and_variables_are_not() {
    assert_eq!(bool::read(&Scalar::Bool(true)), Some(true));
    assert_eq!(bool::read(&Scalar::Text("true".into())), None);
    assert_eq!(raw::<bool>("off"), Some(false));
    assert_eq!(u32::read(&Scalar::Integer(3)), Some(3));
    assert_eq!(u32::read(&Scalar::Integer(-3)), None);
    assert_eq!(u32::read(&Scalar::Text("3".into())), None);
    assert_eq!(raw::<u32>("3"), Some(3));
    assert_eq!(f64::read(&Scalar::Integer(1)), Some(1.0));
    assert_eq!(raw::<f64>("NaN"), None);
    assert_eq!(
        u32::try_read(&Scalar::Text("3".into())).unwrap_err(),
        "expected a whole number, found \"3\""
    );
    assert_eq!(raw::<Option<String>>(""), Some(None));
    assert_eq!(raw::<String>(""), None);
    assert_eq!(raw::<String>("a\u{1b}"), None);
}

#[test]
fn some_numbers_have_limits() {
    assert!(raw::<Positive>("1ms").is_some() && raw::<Positive>("0s").is_none());
    assert!(raw::<Count>("1").is_some() && raw::<Count>("0").is_none());
    for (text, good) in [("0", true), ("0.5", true), ("1", true), ("1.01", false), ("-0.1", false)]
    {
        assert_eq!(raw::<Ratio>(text).is_some(), good, "{text}");
    }
}

#[test]
fn addresses_and_words() {
    assert_eq!(raw::<SocketAddr>("localhost:0"), Some(([127, 0, 0, 1], 0).into()));
    assert_eq!(raw::<SocketAddr>("[::1]:80").map(|a| a.to_string()), Some("[::1]:80".into()));
    assert_eq!(raw::<SocketAddr>("54123"), None);
    assert_eq!(raw::<UpstreamKind>("openai"), Some(UpstreamKind::OpenAi));
    assert_eq!(
        Mode::try_read(&Scalar::Raw("atuo".into())).unwrap_err(),
        "expected \"manual\" or \"auto\", found `atuo`"
    );
    for kind in [UpstreamKind::KimiCode, UpstreamKind::OpenPlatform, UpstreamKind::OpenAi] {
        assert_eq!(kind.show(), serde_json::to_value(kind).unwrap());
    }
}
