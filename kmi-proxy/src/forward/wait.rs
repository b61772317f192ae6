//! When no key is usable: an answer, or a wait in line.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{
    pool::{Exhausted, Picked},
    reply::Refusal,
    settings::{OnExhausted, RotationSettings},
};

/// Requests that may wait at once; further ones are answered.
const SEATS: usize = 256;
/// The longest `Retry-After` that a client is told: kimi-code sleeps for whatever it says.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Where requests wait for the next usable key: first come, first served.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    /// The head of the line; tokio's mutex is fair.
    line: Mutex<()>,
    waiting: AtomicUsize,
}

impl WaitingRoom {
    /// Waits until `pick` finds a key, for at most `max_wait` since the request's arrival.
    ///
    /// A client that goes away leaves the line: its request is dropped, and this with it.
    pub(super) async fn wait(
        &self,
        exhausted: Exhausted,
        settings: &RotationSettings,
        arrived: Instant,
        mut pick: impl FnMut() -> Result<Picked, Exhausted>,
    ) -> Result<Picked, Exhausted> {
        if settings.on_exhausted == OnExhausted::Fail {
            return Err(exhausted);
        }
        let Some(_seat) = self.sit_down() else { return Err(exhausted) };
        let deadline = tokio::time::Instant::from_std(arrived + settings.max_wait);
        let Ok(_head) = tokio::time::timeout_at(deadline, self.line.lock()).await else {
            return Err(exhausted);
        };
        let mut last = exhausted;
        loop {
            let Exhausted::Wait(soonest) = last else { return Err(last) };
            let next = tokio::time::Instant::now() + soonest.max(Duration::from_millis(10));
            if next > deadline {
                return Err(last);
            }
            tokio::time::sleep_until(next).await;
            match pick() {
                Ok(picked) => return Ok(picked),
                Err(exhausted) => last = exhausted,
            }
        }
    }

    fn sit_down(&self) -> Option<Seat<'_>> {
        let seat = Seat(&self.waiting);
        (self.waiting.fetch_add(1, Ordering::Relaxed) < SEATS).then_some(seat)
    }
}

/// A place in the room; given back when dropped.
struct Seat<'a>(&'a AtomicUsize);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// kmi's own answer when no key is usable (CONTRACT section 4).
pub(super) fn refusal(exhausted: Exhausted) -> Refusal {
    match exhausted {
        Exhausted::Wait(wait) if wait <= LONGEST_RETRY_AFTER => {
            Refusal::all_must_wait(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
        }
        // Blocked for longer, though not for quota: nothing that a retry would mend soon.
        Exhausted::Wait(_) => Refusal::no_key(
            "No Kimi key is usable now, and none will be within a minute; `kmi status` says why.",
        ),
        Exhausted::Quota(until) => Refusal::quota_spent(until),
        Exhausted::NoneWorks => Refusal::no_key(
            "No Kimi key works. `kmi status` shows why; add one with `kmi keys add`.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_answers() {
        let code = |exhausted| (refusal(exhausted).status().as_u16(), refusal(exhausted).code());
        let wait = |millis| Exhausted::Wait(Duration::from_millis(millis));
        assert_eq!(code(wait(0)), (429, "all_keys_rate_limited"));
        assert_eq!(code(wait(60_000)), (429, "all_keys_rate_limited"));
        assert_eq!(code(wait(60_001)), (503, "no_usable_key"));
        assert_eq!(code(Exhausted::Quota(None)), (429, "all_keys_exhausted"));
        assert_eq!(code(Exhausted::NoneWorks), (503, "no_usable_key"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_a_key_or_at_the_limit() {
        let room = WaitingRoom::default();
        let settings = RotationSettings {
            on_exhausted: OnExhausted::Wait,
            max_wait: Duration::from_secs(10),
            ..RotationSettings::default()
        };
        let mut asked = 0;
        let soon = Exhausted::Wait(Duration::from_secs(3));
        let pick = || {
            asked += 1;
            Err(soon)
        };
        let arrived = tokio::time::Instant::now().into_std();
        let end = room.wait(soon, &settings, arrived, pick).await;
        assert_eq!(end.unwrap_err(), soon);
        assert_eq!(asked, 3, "after 3, 6 and 9 seconds; 12 would be too late");
        assert_eq!(room.waiting.load(Ordering::Relaxed), 0);
    }
}
