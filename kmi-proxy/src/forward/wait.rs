//! When no key is usable: an answer, or a wait in line.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kmi_health::board::Exhausted;
use tokio::sync::Mutex;

use crate::{
    pool::{NoKey, Picked},
    reply::Refusal,
    settings::{OnExhausted, RotationSettings},
};

/// Requests that may wait at once; further ones are answered.
const SEATS: usize = 256;
/// Between two looks at the keys at least.
const MOMENT: Duration = Duration::from_millis(10);

/// Where requests wait for the next usable key: first come, first served.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom {
    /// The head of the line; tokio's mutex is fair.
    line: Mutex<()>,
    waiting: AtomicUsize,
}

impl WaitingRoom {
    /// Waits until `pick` finds a key, for at most `max_wait` since the request's arrival.
    ///
    /// A request that looks for another key (`again`) waits beside the line: it cannot use every
    /// key, and nobody is to wait for what only it waits for.
    ///
    /// A client that goes away leaves the line: its request is dropped, and this with it.
    pub(super) async fn wait(
        &self,
        none: NoKey,
        again: bool,
        settings: &RotationSettings,
        arrived: Instant,
        mut pick: impl FnMut(Timestamp) -> Result<Picked, NoKey>,
    ) -> Result<Picked, NoKey> {
        if settings.on_exhausted == OnExhausted::Fail || none.next.is_none() {
            return Err(none);
        }
        let Some(_seat) = self.sit_down() else { return Err(none) };
        let deadline = tokio::time::Instant::from_std(arrived + settings.max_wait);
        let line = async { if again { None } else { Some(self.line.lock().await) } };
        let Ok(_head) = tokio::time::timeout_at(deadline, line).await else { return Err(none) };
        let mut last = none;
        loop {
            let now = Timestamp::now();
            let Some(next) = last.next else { return Err(last) };
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            let next = tokio::time::Instant::now() + wait.max(MOMENT);
            if next > deadline {
                return Err(last);
            }
            tokio::time::sleep_until(next).await;
            match pick(Timestamp::now()) {
                Ok(picked) => return Ok(picked),
                Err(none) => last = none,
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
pub(super) fn refusal(exhausted: Exhausted, now: Timestamp) -> Refusal {
    match exhausted {
        Exhausted::ShortWait { at } => {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            Refusal::all_must_wait(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
        }
        Exhausted::QuotaSpent { at } => Refusal::quota_spent(at),
        Exhausted::NoneWorking { .. } => Refusal::no_key(
            "No Kimi key works. `kmi status` shows why; add one with `kmi keys add`.",
        ),
    }
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

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_limit() {
        let room = WaitingRoom::default();
        let settings = RotationSettings {
            on_exhausted: OnExhausted::Wait,
            max_wait: Duration::from_secs(10),
            ..RotationSettings::default()
        };
        let mut asked = 0;
        let soon = |now: Timestamp| {
            let at = now + SignedDuration::from_secs(3);
            NoKey { why: Exhausted::ShortWait { at }, next: Some(at), model_rests: false }
        };
        let pick = |now| {
            asked += 1;
            Err(soon(now))
        };
        let arrived = tokio::time::Instant::now().into_std();
        let end = room.wait(soon(Timestamp::now()), false, &settings, arrived, pick).await;
        assert!(matches!(end, Err(NoKey { why: Exhausted::ShortWait { .. }, .. })));
        assert_eq!(asked, 3, "after 3, 6 and 9 seconds; 12 would be too late");
        assert_eq!(room.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn nobody_waits_without_the_setting_or_without_a_key_to_wait_for() {
        let room = WaitingRoom::default();
        let why = Exhausted::NoneWorking { at: None };
        let waits = |on_exhausted| RotationSettings { on_exhausted, ..Default::default() };
        for (on_exhausted, next) in
            [(OnExhausted::Fail, Some(Timestamp::now())), (OnExhausted::Wait, None)]
        {
            let (none, settings) = (NoKey { why, next, model_rests: false }, waits(on_exhausted));
            let end = room.wait(none, false, &settings, Instant::now(), |_| unreachable!()).await;
            assert_eq!(end.unwrap_err(), none);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_for_another_key_holds_up_nobody() {
        let room = WaitingRoom::default();
        let settings =
            RotationSettings { on_exhausted: OnExhausted::Wait, ..RotationSettings::default() };
        let within = |seconds| {
            let at = Timestamp::now() + SignedDuration::from_secs(seconds);
            NoKey { why: Exhausted::ShortWait { at }, next: Some(at), model_rests: false }
        };
        let start = tokio::time::Instant::now();
        let arrived = start.into_std();
        let end = |_| Err(NoKey { next: None, ..within(0) });
        let long = room.wait(within(8), true, &settings, arrived, end);
        let short = async {
            let _ = room.wait(within(1), false, &settings, arrived, end).await;
            start.elapsed()
        };
        let (_, short) = tokio::join!(long, short);
        assert!(short < Duration::from_secs(2), "{short:?}");
    }
}
