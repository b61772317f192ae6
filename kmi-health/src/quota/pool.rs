//! The quotas of a whole pool as one answer of `/usages`, in both shapes that clients read.
//!
//! The pool is drawn as one account: a window is used up as far as its accounts have used theirs
//! up on average, and starts anew when the first of them does. Both shapes are made of the same
//! numbers, in the percent units of the provider (WIRE section 1.5).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Limit, Quota};

/// The windows that both shapes know, with their length in minutes.
const WEEK: &str = "7d";
const FIVE_HOURS: (&str, u32) = ("5h", 300);

/// The answer for a pool with these accounts' quotas; `None` when none of them has a window.
pub fn usages<'a>(quotas: impl Iterator<Item = &'a Quota>) -> Option<String> {
    let (mut windows, mut concurrency) = (Vec::<Pooled<'_>>::new(), 0u32);
    for quota in quotas {
        concurrency = concurrency.saturating_add(quota.concurrency.unwrap_or(0));
        for limit in &quota.limits {
            match windows.iter_mut().find(|window| window.name == limit.name) {
                Some(window) => window.add(limit),
                None => windows.push(Pooled::new(limit)),
            }
        }
    }
    if windows.is_empty() {
        return None;
    }
    let find = |name: &str| windows.iter().find(|window| window.name == name);
    let mut answer = Map::new();
    if let Some(week) = find(WEEK) {
        answer.insert("usage".into(), week.counted());
    }
    if let Some(hours) = find(FIVE_HOURS.0) {
        let window = json!({ "duration": FIVE_HOURS.1, "timeUnit": "TIME_UNIT_MINUTE" });
        answer.insert("limits".into(), json!([{ "window": window, "detail": hours.counted() }]));
    }
    // `total` is the old shape's own; the new one would not know it.
    let ratios = windows.iter().filter(|window| window.name != "total");
    let ratios = ratios.map(|window| (format!("limit_{}", window.name), window.ratio()));
    answer.insert("usages".into(), Value::Object(ratios.collect()));
    if concurrency > 0 {
        answer.insert("parallel".into(), json!({ "limit": concurrency.to_string() }));
    }
    Some(Value::Object(answer).to_string())
}

/// One window over several accounts.
struct Pooled<'a> {
    name: &'a str,
    used: f64,
    accounts: f64,
    resets_at: Option<Timestamp>,
}

impl<'a> Pooled<'a> {
    fn new(limit: &'a Limit) -> Self {
        Self {
            name: &limit.name,
            used: limit.used_ratio,
            accounts: 1.0,
            resets_at: limit.resets_at,
        }
    }

    fn add(&mut self, limit: &Limit) {
        self.used += limit.used_ratio;
        self.accounts += 1.0;
        self.resets_at = [self.resets_at, limit.resets_at].into_iter().flatten().min();
    }

    fn used_ratio(&self) -> f64 {
        (self.used / self.accounts).clamp(0.0, 1.0)
    }

    fn counted(&self) -> Value {
        // Rounded up: what is nearly spent must not look free.
        let used = (self.used_ratio() * 100.0 - 1e-9).ceil().max(0.0);
        let text = |number: f64| format!("{number:.0}");
        let mut view = json!({
            "limit": "100", "used": text(used), "remaining": text(100.0 - used),
        });
        if let Some(at) = self.resets_at {
            view["resetTime"] = at.to_string().into();
        }
        view
    }

    fn ratio(&self) -> Value {
        let mut view = json!({ "used_ratio": (self.used_ratio() * 1e4).round() / 1e4 });
        if let Some(at) = self.resets_at {
            view["reset_time"] = at.to_string().into();
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(week: f64, reset: &str) -> Quota {
        let body = json!({
            "usages": {
                "limit_7d": { "used_ratio": week, "reset_time": reset },
                "limit_5h": { "used_ratio": 0.125 },
            },
            "parallel": { "limit": "20" },
        });
        let now = "2026-05-03T09:00:00Z".parse().unwrap();
        Quota::of_usages(body.to_string().as_bytes(), now).unwrap()
    }

    #[test]
    fn a_pool_is_drawn_as_one_account_in_both_shapes() {
        let quotas = [quota(1.0, "2026-05-06T00:00:00Z"), quota(0.201, "2026-05-04T00:00:00Z")];
        let answer = usages(quotas.iter()).unwrap();
        let expected = json!({
            "usage": {
                "limit": "100", "used": "61", "remaining": "39", "resetTime": "2026-05-04T00:00:00Z",
            },
            "limits": [{
                "window": { "duration": 300, "timeUnit": "TIME_UNIT_MINUTE" },
                "detail": { "limit": "100", "used": "13", "remaining": "87" },
            }],
            "usages": {
                "limit_7d": { "used_ratio": 0.6005, "reset_time": "2026-05-04T00:00:00Z" },
                "limit_5h": { "used_ratio": 0.125 },
            },
            "parallel": { "limit": "40" },
        });
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), expected);
    }

    #[test]
    fn kmi_reads_its_own_answer() {
        let one = quota(0.5, "2026-05-04T00:00:00Z");
        let answer = usages([&one].into_iter()).unwrap();
        let read = Quota::of_usages(answer.as_bytes(), one.checked_at).unwrap();
        assert_eq!(
            read.reset(crate::classify::QuotaWindow::Week),
            one.limits[0].resets_at.or(one.limits[1].resets_at)
        );
        assert_eq!(read.remaining_ratio(), one.remaining_ratio());
    }

    #[test]
    fn no_windows_are_no_answer() {
        assert_eq!(usages(std::iter::empty()), None);
        let prepaid = br#"{"data":{"available_balance":1}}"#;
        let prepaid = Quota::of_balance(prepaid, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(usages([&prepaid].into_iter()), None);
    }
}
