//! When a block ends.

use std::time::Duration;

use jiff::Timestamp;
use kmi_core::state::Reason;

use crate::{Policy, classify::Block};

/// No block is shorter: "try again after 0 seconds" would be none.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest block without a reset time, whatever is set (CONTRACT section 5).
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// When a block ends that begins now; `None` when the user has to act.
///
/// `strikes` is how often the key was blocked before without a success in between, `reset` when
/// the spent window starts anew, where the quota endpoint has said so. Always after `now`, and at
/// most [`Policy::max_cooldown`] away unless the provider named a reset.
pub(crate) fn end(
    policy: &Policy,
    block: &Block,
    strikes: u32,
    reset: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    if block.reason.needs_the_user() {
        return None;
    }
    let longest = policy.max_cooldown.min(HOUR);
    let own = grown(base(policy, block.reason), strikes).min(longest);
    let spent = block.window.is_some();
    let reset = reset.filter(|reset| spent && *reset > now);
    let stated = block.wait.map(|wait| if spent { wait } else { wait.min(longest) });
    let wait = match (stated, reset) {
        // A stated wait that proved too short grows like one of our own, or to the reset.
        (Some(stated), _) if strikes == 0 => stated,
        (stated, Some(reset)) => return Some(later(now, stated.unwrap_or_default()).max(reset)),
        (Some(stated), None) => stated.max(own),
        (None, None) => own,
    };
    Some(later(now, wait.max(SHORTEST)))
}

/// The cooldown of a first block whose wait nobody states.
fn base(policy: &Policy, reason: Reason) -> Duration {
    match reason {
        Reason::RateLimited => policy.rate_limit_cooldown,
        Reason::ConcurrencyLimited => policy.concurrency_cooldown,
        Reason::MembershipLapsed => policy.membership_cooldown,
        Reason::QuotaExhausted => policy.quota_cooldown,
        Reason::BalanceExhausted => policy.balance_cooldown,
        Reason::ModelNotAllowed => policy.model_cooldown,
        Reason::AccountTerminated
        | Reason::AuthFailed
        | Reason::Failing
        | Reason::QuotaLow
        | Reason::QuotaUnknown
        | Reason::Slow => policy.failing_cooldown,
    }
}

fn grown(base: Duration, strikes: u32) -> Duration {
    base.saturating_mul(1 << strikes.min(20))
}

/// A time from now, at the end of time at the latest.
pub(crate) fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// A time before now, at the beginning of time at the earliest.
pub(crate) fn earlier(now: Timestamp, ago: Duration) -> Timestamp {
    now.checked_sub(ago).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{QuotaWindow, Scope};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn seconds(block: &Block, strikes: u32, reset: Option<i64>) -> Option<i64> {
        let reset = reset.map(|second| Timestamp::from_second(second).unwrap());
        end(&Policy::default(), block, strikes, reset, NOW).map(Timestamp::as_second)
    }

    fn block(reason: Reason, wait: Option<u64>, window: Option<QuotaWindow>) -> Block {
        Block { reason, scope: Scope::Key, wait: wait.map(Duration::from_secs), window }
    }

    #[test]
    fn a_stated_wait_counts_and_grows_when_it_proves_too_short() {
        let stated = |wait| block(Reason::RateLimited, Some(wait), None);
        assert_eq!(seconds(&stated(7), 0, None), Some(7));
        assert_eq!(seconds(&stated(0), 0, None), Some(1));
        assert_eq!(seconds(&stated(1), 3, None), Some(40));
        assert_eq!(seconds(&stated(86_400), 0, None), Some(3600), "no reset, so an hour");
        assert_eq!(seconds(&stated(86_400), 99, None), Some(3600));
    }

    #[test]
    fn without_a_stated_wait_the_policy_counts_and_doubles() {
        let cool = block(Reason::RateLimited, None, None);
        let ends: Vec<_> = (0..12).filter_map(|strikes| seconds(&cool, strikes, None)).collect();
        assert_eq!(ends, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
    }

    #[test]
    fn a_spent_window_ends_at_its_reset() {
        let spent = |wait| block(Reason::QuotaExhausted, wait, Some(QuotaWindow::Week));
        assert_eq!(seconds(&spent(None), 0, Some(400_000)), Some(400_000));
        assert_eq!(seconds(&spent(Some(90_000)), 0, Some(400_000)), Some(90_000));
        assert_eq!(
            seconds(&spent(Some(5)), 1, Some(400_000)),
            Some(400_000),
            "it proved too short"
        );
        assert_eq!(seconds(&spent(Some(500_000)), 1, Some(400_000)), Some(500_000));
        assert_eq!(seconds(&spent(Some(5)), 1, None), Some(1800));
        assert_eq!(seconds(&spent(None), 0, None), Some(900), "nobody named it");
        assert_eq!(seconds(&spent(None), 0, Some(-5)), Some(900), "a reset in the past");
        assert_eq!(seconds(&spent(None), 9, None), Some(3600));
    }

    #[test]
    fn only_the_user_ends_what_the_user_has_to_mend() {
        assert_eq!(seconds(&block(Reason::AuthFailed, Some(1), None), 0, None), None);
        assert_eq!(seconds(&block(Reason::AccountTerminated, None, None), 0, None), None);
    }

    #[test]
    fn time_does_not_overflow() {
        assert_eq!(later(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
    }
}
