//! What can be set about health, with its defaults and the reason for each.

use std::time::Duration;

/// When keys are blocked, and for how long: the settings of `[health]`.
///
/// Every cooldown here is used only where the provider states no wait of its own. A cooldown
/// doubles while a key is refused again and again without a success in between, up to
/// [`Policy::max_cooldown`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// After "too many requests": the burst windows are seconds long (WIRE section 3.1).
    pub rate_limit_cooldown: Duration,
    /// After "too many at once": our own requests must drain, and the provider keeps a slot for
    /// a moment after a request has ended.
    pub concurrency_cooldown: Duration,
    /// After a membership that could not be verified, which is usually over in minutes.
    pub membership_cooldown: Duration,
    /// After a spent quota whose reset nobody named; the quota poll usually names it sooner.
    pub quota_cooldown: Duration,
    /// After a spent balance; the balance poll ends it as soon as money is there.
    pub balance_cooldown: Duration,
    /// For how long a key is not asked again for a model that its plan lacks.
    pub model_cooldown: Duration,
    /// After a run of failures that only this key has, and after refusals nobody can explain.
    pub failing_cooldown: Duration,
    /// The longest cooldown without a reset time from the provider (CONTRACT section 5: 1 h).
    pub max_cooldown: Duration,

    /// So many failures in a row block a key as failing.
    pub failure_run: u32,
    /// This part of the attempts of a window failing blocks a key as well; 0 to 1.
    pub failure_rate: f64,
    /// The window of [`Self::failure_rate`]; older attempts are forgotten.
    pub failure_window: Duration,
    /// The rate of a window with fewer attempts says nothing.
    pub failure_sample: u32,
    /// A probe that has not ended after this time is given up for lost, and the next request may
    /// probe. Longer than any answer's head may take, shorter than a long stream.
    pub probe_timeout: Duration,

    /// A key with less than this part of its quota left is shown as `warn`; 0 to 1.
    pub quota_low: f64,
    /// How often the quota is asked while serving.
    pub quota_poll: Duration,
    /// How long a quota endpoint may take; both Kimi clients wait 8 s.
    pub quota_timeout: Duration,
    /// A key whose median answer takes so many times longer than that of its peers is shown as
    /// `warn`.
    pub slow_factor: f64,

    /// So many upstream failures in a row, over all keys, are an outage.
    pub outage_run: u32,
    /// The pause before a retry, with jitter; in an outage it doubles with each further failure.
    pub outage_backoff: Duration,
    /// The longest such pause.
    pub outage_max_backoff: Duration,
    /// Retries allowed at once, as a part of the requests in flight; 0 to 1.
    pub retry_budget: f64,
    /// Retries that are always allowed.
    pub retry_floor: u32,
}

impl Default for Policy {
    fn default() -> Self {
        let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
        Self {
            rate_limit_cooldown: 5 * second,
            concurrency_cooldown: 3 * second,
            membership_cooldown: 5 * minute,
            quota_cooldown: 15 * minute,
            balance_cooldown: 30 * minute,
            model_cooldown: 60 * minute,
            failing_cooldown: 30 * second,
            max_cooldown: 60 * minute,
            failure_run: 5,
            failure_rate: 0.5,
            failure_window: minute,
            failure_sample: 10,
            probe_timeout: 5 * minute,
            quota_low: 0.2,
            quota_poll: 5 * minute,
            quota_timeout: 8 * second,
            slow_factor: 4.0,
            outage_run: 5,
            outage_backoff: second,
            outage_max_backoff: 10 * second,
            retry_budget: 0.2,
            retry_floor: 3,
        }
    }
}
