//! How many attempts of a recent stretch of time failed.

use std::time::Duration;

use jiff::Timestamp;

/// The stretch is forgotten in so many steps.
const BUCKETS: i64 = 6;

/// Counts of successes and failures over a sliding window. An idle window empties itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    buckets: [Bucket; 6],
    /// The newest bucket's number since the epoch.
    newest: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    succeeded: u32,
    failed: u32,
}

impl Window {
    /// Counts one attempt; `length` is the whole window's and must stay the same.
    pub fn record(&mut self, failed: bool, length: Duration, now: Timestamp) {
        self.forget(length, now);
        let bucket = &mut self.buckets[slot(self.newest)];
        let count = if failed { &mut bucket.failed } else { &mut bucket.succeeded };
        *count = count.saturating_add(1);
    }

    /// The attempts in the window, and which part of them failed.
    pub fn rate(&mut self, length: Duration, now: Timestamp) -> (u64, f64) {
        self.forget(length, now);
        let sum = |count: fn(&Bucket) -> u32| -> u64 {
            self.buckets.iter().map(|bucket| u64::from(count(bucket))).sum()
        };
        let (succeeded, failed) = (sum(|it| it.succeeded), sum(|it| it.failed));
        let total = succeeded + failed;
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        (total, if total == 0 { 0.0 } else { failed as f64 / total as f64 })
    }

    /// Empties the buckets that have left the window since the newest one.
    fn forget(&mut self, length: Duration, now: Timestamp) {
        let step = i64::try_from(length.as_millis()).unwrap_or(i64::MAX) / BUCKETS;
        let number = now.as_millisecond().div_euclid(step.max(1));
        // A clock that was set back by less than a window counts into the newest bucket.
        let passed = number - self.newest;
        if !(-BUCKETS..BUCKETS).contains(&passed) {
            *self = Self { newest: number, ..Self::default() };
        }
        for fresh in self.newest + 1..=number {
            self.buckets[slot(fresh)] = Bucket::default();
        }
        self.newest = self.newest.max(number);
    }
}

fn slot(number: i64) -> usize {
    usize::try_from(number.rem_euclid(BUCKETS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn attempts_are_forgotten_after_the_window() {
        let mut window = Window::default();
        window.record(true, MINUTE, at(1000));
        window.record(false, MINUTE, at(1030));
        assert_eq!(window.rate(MINUTE, at(1030)), (2, 0.5));
        assert_eq!(window.rate(MINUTE, at(1060)), (1, 0.0));
        assert_eq!(window.rate(MINUTE, at(9999)), (0, 0.0), "an idle window empties itself");
    }

    #[test]
    fn a_clock_set_back_far_begins_anew() {
        let mut window = Window::default();
        window.record(true, MINUTE, at(100_000));
        window.record(false, MINUTE, at(99_990));
        assert_eq!(window.rate(MINUTE, at(99_990)), (2, 0.5));
        assert_eq!(window.rate(MINUTE, at(0)), (0, 0.0));
    }

    proptest! {
        /// Against the list of all attempts: everything of the last 50 s counts, nothing older
        /// than 60 s does.
        #[test]
        fn it_counts_what_is_recent(gaps in prop::collection::vec((0i64..30, any::<bool>()), 1..60)) {
            let (mut window, mut now, mut all) = (Window::default(), 0, Vec::new());
            for (gap, failed) in gaps {
                now += gap;
                window.record(failed, MINUTE, at(now));
                all.push(now);
                let within = |age: i64| all.iter().filter(|second| now - **second <= age).count() as u64;
                let (total, _) = window.rate(MINUTE, at(now));
                prop_assert!((within(50)..=within(59)).contains(&total));
            }
        }

        #[test]
        fn no_length_or_time_panics(ms in any::<u64>(), seconds in prop::collection::vec(any::<i32>(), 1..20)) {
            let mut window = Window::default();
            for second in seconds {
                window.record(true, Duration::from_millis(ms), at(i64::from(second)));
                let _ = window.rate(Duration::from_millis(ms), at(i64::from(second)));
            }
        }
    }
}
