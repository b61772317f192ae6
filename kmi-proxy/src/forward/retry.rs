//! Whether a request may be tried again, and when.

use std::time::Duration;

use jiff::Timestamp;
use kmi_health::classify::{Action, Effect, Verdict};

use super::{Journey, judge};
use crate::settings::OnExhausted;

impl Journey<'_> {
    /// A failure of the upstream is tried again only within the retry budget, and nobody pauses for
    /// a key that there is not.
    pub(super) fn has_leave(&mut self, verdict: &Verdict) -> bool {
        if !is_the_upstreams(verdict) {
            return true;
        }
        let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        self.leave = None;
        let now = Timestamp::now();
        self.leave = self.pool.retry(random).filter(|leave| {
            let by = now + leave.pause.max(self.patience());
            self.pool.has_another(&self.tried, by, now)
        });
        self.had_once_more |= verdict.action == Action::RetryOnce;
        self.leave.is_some()
    }

    /// For how long from now it may wait for a key.
    fn patience(&self) -> Duration {
        let rotation = &self.live.settings.rotation;
        match rotation.on_exhausted {
            OnExhausted::Fail => Duration::ZERO,
            OnExhausted::Wait => rotation.max_wait.saturating_sub(self.facts.arrived.elapsed()),
        }
    }

    /// Whether another attempt is allowed, as far as can be said before a key is chosen.
    pub(super) fn may_go_on(&self, verdict: &Verdict) -> bool {
        let rotation = &self.live.settings.rotation;
        let wanted = match verdict.action {
            Action::NextKey => true,
            Action::RetryOnce => !self.had_once_more,
            Action::PassThrough => {
                rotation.retry_unsafe && judge::may_have_been_carried_out(verdict)
            }
        };
        let attempts = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        wanted && rotation.failover && attempts < rotation.max_attempts && self.intake.can_be_sent()
    }

    /// Before another try that would meet the same trouble at once, and only then.
    pub(super) async fn pause(&mut self) {
        if let Some(retry) = &mut self.leave {
            tokio::time::sleep(std::mem::take(&mut retry.pause)).await;
        }
    }
}

/// Whether the upstream failed, and not the key.
pub(super) fn is_the_upstreams(verdict: &Verdict) -> bool {
    matches!(verdict.effect, Effect::Upstream(_))
}
