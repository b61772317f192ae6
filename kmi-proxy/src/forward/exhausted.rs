//! kmi's own answers when no key is usable.

use std::time::Duration;

use jiff::Timestamp;
use kmi_health::board::Exhausted;

use crate::reply::Refusal;

/// kmi's own answer when no key is usable (CONTRACT section 4).
pub(super) fn refusal(exhausted: Exhausted, now: Timestamp) -> Refusal {
    match exhausted {
        Exhausted::ShortWait { at } => {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            Refusal::all_must_wait(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
        }
        Exhausted::QuotaSpent { at } => Refusal::quota_spent(at),
        Exhausted::NoneWorking { at } => Refusal::none_working(at),
    }
}

/// The same where no other key may serve: in manual mode without failover.
pub(super) fn refusal_of_one(key: &str, exhausted: Exhausted, now: Timestamp) -> Refusal {
    let why = match exhausted {
        Exhausted::ShortWait { .. } => "is at its rate limit",
        Exhausted::QuotaSpent { .. } => "has spent its quota",
        Exhausted::NoneWorking { .. } => "does not work",
    };
    refusal(exhausted, now).with_message(format!(
        "The active Kimi key `{key}` {why}, and `rotation.failover` is off. `kmi rotate` makes the next one active; `kmi status` shows them."
    ))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn the_three_answers() {
        let now = Timestamp::UNIX_EPOCH;
        let code = |exhausted| {
            let refusal = refusal(exhausted, now);
            (refusal.status().as_u16(), refusal.code())
        };
        let at = now + SignedDuration::from_millis(2500);
        assert_eq!(code(Exhausted::ShortWait { at }), (429, "all_keys_rate_limited"));
        assert_eq!(code(Exhausted::QuotaSpent { at: Some(at) }), (429, "all_keys_exhausted"));
        assert_eq!(code(Exhausted::NoneWorking { at: None }), (503, "no_usable_key"));
        let response = refusal(Exhausted::ShortWait { at }, now).response();
        assert_eq!(response.headers()["retry-after"], "3", "rounded up");
    }
}
