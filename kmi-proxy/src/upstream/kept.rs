//! What is kept between requests, and until when.

use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// How long an unused connection is kept. Gateways close idle connections after 60 s and more; a
/// request that meets a closing connection is lost, so kmi closes first.
const LIMIT: Duration = Duration::from_secs(50);
/// Unused connections that are kept at most.
const MOST: usize = 256;

/// A moment on two clocks: the steady one stands still while the machine sleeps, and the other end
/// of a connection does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// Whether what is kept since then is too old, by either clock. One that was set back does not
    /// say how long it was.
    fn is_past(self, now: Self) -> bool {
        let by_wall = now.wall.duration_since(self.wall);
        now.steady.saturating_duration_since(self.steady) > LIMIT
            || by_wall.map_or(true, |passed| passed > LIMIT)
    }
}

/// Things that wait for their next use, the oldest first.
#[derive(Debug)]
pub(super) struct Kept<T>(Mutex<Vec<(Moment, T)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// Keeps one, if there is room.
    pub(super) fn put(&self, one: T, now: Moment) {
        let mut all = self.0.lock();
        // The oldest stand first; the list is short, and mostly nothing is old.
        let old = all.iter().take_while(|(since, _)| since.is_past(now)).count();
        all.drain(..old);
        if all.len() < MOST {
            all.push((now, one));
        }
    }

    /// The youngest. Where that one is too old, all are, and go.
    pub(super) fn take(&self, now: Moment) -> Option<T> {
        let mut all = self.0.lock();
        let (since, one) = all.pop()?;
        if since.is_past(now) {
            all.clear();
            return None;
        }
        Some(one)
    }

    /// Lets go of what is too old, though nobody asks.
    pub(super) fn sweep(&self, now: Moment) {
        self.0.lock().retain(|(since, _)| !since.is_past(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn later(moment: Moment, steady: u32, wall: u32) -> Moment {
        Moment { steady: moment.steady + SECOND * steady, wall: moment.wall + SECOND * wall }
    }

    #[test]
    fn either_clock_ends_the_time() {
        let then = Moment::now();
        let past = |steady, wall| then.is_past(later(then, steady, wall));
        assert_eq!((past(0, 0), past(50, 50), past(51, 51)), (false, false, true));
        assert!(past(2, 3600), "the machine slept");
        assert!(past(51, 1), "the wall clock was set back meanwhile");
        let set_back = Moment { wall: then.wall - SECOND, ..later(then, 1, 0) };
        assert!(then.is_past(set_back), "nobody knows how long it was");
    }

    fn count(kept: &Kept<u32>) -> usize {
        kept.0.lock().len()
    }

    #[test]
    fn the_youngest_is_used_and_the_old_go() {
        let (kept, start) = (Kept::default(), Moment::now());
        for n in 0..4 {
            kept.put(n, later(start, n * 20, n * 20));
        }
        assert_eq!(count(&kept), 3, "the first was too old when the last came");
        assert_eq!(kept.take(later(start, 80, 80)), Some(3));
        kept.sweep(later(start, 80, 80));
        assert_eq!(count(&kept), 1, "the second one is 60 s old, the third one 40 s");
        assert_eq!(kept.take(later(start, 80, 4000)), None, "the machine slept");
        kept.put(4, later(start, 81, 4001));
        kept.put(5, later(start, 82, 4002));
        assert_eq!(kept.take(later(start, 83, 8000)), None);
        assert_eq!(count(&kept), 0, "all are older than the youngest");
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let (kept, now) = (Kept::default(), Moment::now());
        (0..1000).for_each(|n| kept.put(n, now));
        assert_eq!(count(&kept), MOST);
    }
}
