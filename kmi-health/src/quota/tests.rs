use proptest::prelude::*;

use super::*;

fn now() -> Timestamp {
    "2026-05-03T09:00:00Z".parse().unwrap()
}

fn usages(body: &str) -> Quota {
    Quota::of_usages(body.as_bytes(), now()).unwrap()
}

fn limits(quota: &Quota) -> Vec<(&str, f64)> {
    quota.limits.iter().map(|limit| (limit.name.as_str(), limit.used_ratio)).collect()
}

/// The capture of WIRE section 1.5, both shapes in one answer.
const BOTH: &str = r#"{
    "user":{"userId":"d0user","region":"REGION_CN","membership":{"level":"LEVEL_INTERMEDIATE"}},
    "usage":{"limit":"100","used":"40","remaining":"60","resetTime":"2026-05-07T11:03:48.011825Z"},
    "limits":[{"window":{"duration":300,"timeUnit":"TIME_UNIT_MINUTE"},
               "detail":{"limit":"100","used":"15","remaining":"85","resetTime":"2026-05-03T11:00:00Z"}}],
    "parallel":{"limit":"20"},"totalQuota":{"limit":"100","remaining":"100"},
    "usages":{"limit_5h":{"used_ratio":0.25,"reset_time":"2026-05-03T11:00:00Z"},
              "limit_7d":{"used_ratio":0},"limit_month_total":{"used_ratio":0.5}}}"#;

#[test]
fn of_both_shapes_the_worst_view_counts() {
    let quota = usages(BOTH);
    assert_eq!(limits(&quota), [("7d", 0.4), ("5h", 0.25), ("total", 0.0), ("month_total", 0.5)]);
    assert_eq!(quota.remaining_ratio(), Some(0.5));
    assert_eq!(quota.concurrency, Some(20));
    assert_eq!(quota.account, AccountId::of_user(b"d0user"));
    let row = quota.row();
    assert_eq!((row.source.as_deref(), row.checked_at), (Some("usages"), Some(now())));
    assert_eq!(row.limits.len(), 4);
}

#[test]
fn what_is_left_is_what_the_provider_counts() {
    for used in 0..=100_i32 {
        let quota = usages(&format!(r#"{{"usage":{{"limit":100,"used":{used}}}}}"#));
        let left = f64::from(100 - used) / 100.0;
        assert_eq!(quota.remaining_ratio(), Some(left), "{used} used");
        let quota = usages(&format!(r#"{{"usage":{{"limit":100,"remaining":{}}}}}"#, 100 - used));
        let part = f64::from(used) / 100.0;
        assert_eq!(limits(&quota), [(quota.limits[0].name.as_str(), part)], "{used} used");
    }
}

#[test]
fn an_absent_field_is_worked_out() {
    let one = |view: &str| {
        let quota = usages(&format!(r#"{{"usage":{view}}}"#));
        format!("{:.3}", quota.limits[0].used_ratio)
    };
    assert_eq!(one(r#"{"limit":"100","used":"40"}"#), "0.400");
    assert_eq!(one(r#"{"limit":"100","remaining":"40"}"#), "0.600");
    assert_eq!(one(r#"{"limit":100,"used":40,"remaining":10}"#), "0.900", "they disagree");
    assert_eq!(one(r#"{"limit":"100","used":"400"}"#), "1.000");
    assert_eq!(one(r#"{"limit":"100","remaining":"400"}"#), "0.000");
}

#[test]
fn resets_are_read_in_every_spelling() {
    let reset = |field: &str| {
        usages(&format!(r#"{{"usage":{{"limit":1,"used":1,{field}}}}}"#)).limits[0].resets_at
    };
    for name in ["resetTime", "resetAt", "reset_time", "reset_at"] {
        let at = reset(&format!(r#""{name}":"2026-05-03T11:03:48.011825123Z""#));
        assert_eq!(at, "2026-05-03T11:03:48.011825123Z".parse().ok(), "{name}");
    }
    for name in ["resetIn", "reset_in", "ttl"] {
        assert_eq!(reset(&format!(r#""{name}":60"#)), Some(later(now(), Duration::from_mins(1))));
    }
    assert_eq!(reset(r#""resetTime":"3026-01-01T00:00:00Z""#), Some(later(now(), LONGEST)));
    assert_eq!(reset(r#""ttl":-5"#), Some(now()));
    assert_eq!(reset(r#""resetTime":"soon""#), None);
}

#[test]
fn a_refusal_names_its_window_or_means_the_spent_one() {
    let quota = usages(BOTH);
    let five = "2026-05-03T11:00:00Z".parse().ok();
    let week = "2026-05-07T11:03:48.011825Z".parse().ok();
    assert_eq!(quota.reset(QuotaWindow::FiveHours), five);
    assert_eq!(quota.reset(QuotaWindow::Week), week, "though 60 % seem to be left");
    assert_eq!(quota.reset(QuotaWindow::Month), None);
    assert_eq!(quota.reset(QuotaWindow::Unnamed), None);
    let spent = usages(&BOTH.replace(r#""used":"40","remaining":"60""#, r#""used":"100""#));
    assert_eq!(spent.reset(QuotaWindow::Unnamed), week);
}

#[test]
fn the_smaller_of_two_concurrencies_is_kept() {
    let concurrency = |text: &str| usages(&BOTH.replace(r#"{"limit":"20"}"#, text)).concurrency;
    assert_eq!(concurrency(r#"{"limit":"20|30"}"#), Some(20));
    assert_eq!(concurrency(r#"{"limit":30}"#), Some(30));
    for odd in [r#"{"limit":"many"}"#, r#"{"limit":"0"}"#, r#"{"limit":"NaN|3"}"#, "{}", "7"] {
        assert_eq!(concurrency(odd), None, "{odd}");
    }
}

#[test]
fn windows_are_named_by_their_length() {
    let name = |duration: &str, unit: &str| {
        window_name(&serde_json::json!({ "duration": duration, "timeUnit": unit }))
    };
    assert_eq!(name("300", "TIME_UNIT_MINUTE").as_deref(), Some("5h"));
    assert_eq!(name("10080", "TIME_UNIT_MINUTE").as_deref(), Some("7d"));
    assert_eq!(name("7", "TIME_UNIT_DAY").as_deref(), Some("7d"));
    assert_eq!(name("90", "TIME_UNIT_MINUTE").as_deref(), Some("90m"));
    assert_eq!(name("4000000000", "TIME_UNIT_DAY"), None);
    assert_eq!(name("0", "TIME_UNIT_DAY"), None);
    assert_eq!(name("1", "TIME_UNIT_ERA"), None);
}

#[test]
fn balances_are_read() {
    let body = br#"{"code":0,"data":{"available_balance":49.59,"voucher_balance":46.59,"cash_balance":3.0},"scode":"0x0","status":true}"#;
    let quota = Quota::of_balance(body, now()).unwrap();
    assert_eq!(quota.balance, Some(49.59));
    assert_eq!(quota.remaining_ratio(), None);
    assert_eq!(quota.row().source.as_deref(), Some("balance"));
}

#[test]
fn other_answers_are_errors() {
    for (body, error) in [
        ("", QuotaError::Json),
        ("<html>", QuotaError::Json),
        ("{}", QuotaError::Empty),
        ("[]", QuotaError::Empty),
        (r#"{"usage":{"limit":"0","used":"1"}}"#, QuotaError::Empty),
        (r#"{"usage":{"limit":"NaN","used":"1"},"usages":[],"limits":{}}"#, QuotaError::Empty),
    ] {
        assert_eq!(Quota::of_usages(body.as_bytes(), now()), Err(error), "{body}");
        assert!(Quota::of_balance(body.as_bytes(), now()).is_err());
    }
}

proptest! {
    #[test]
    fn no_answer_panics(cut in 0..BOTH.len(), junk in any::<u8>()) {
        let mut body = BOTH.as_bytes().to_vec();
        body[cut] = junk;
        if let Ok(quota) = Quota::of_usages(&body, now()) {
            prop_assert!(quota.limits.iter().all(|limit| (0.0..=1.0).contains(&limit.used_ratio)));
        }
        let _ = Quota::of_usages(&BOTH.as_bytes()[..cut], now());
    }
}
