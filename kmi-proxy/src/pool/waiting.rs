//! Where requests wait while no key is usable (`rotation.on_exhausted = "wait"`): first come, first
//! served.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use kmi_health::board::Exhausted;
use tokio::{
    sync::{Mutex, MutexGuard, Notify},
    time::{Instant, sleep_until, timeout_at},
};

use super::NoKey;

/// Requests that may wait at once; further ones are answered.
const SEATS: usize = 256;
/// Between two looks at the keys at least, where nothing happens.
const MOMENT: Duration = Duration::from_millis(10);

/// The waiting room of one pool.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom {
    /// The head of the line; tokio's mutex is fair.
    head: Mutex<()>,
    line: AtomicUsize,
    seats: AtomicUsize,
    /// Something may have made a key usable before its time.
    changed: Notify,
}

/// Where a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Any key will do, so it comes after those that came before it.
    InLine,
    /// Only some keys will do, and nobody is to wait for what only this request waits for.
    Beside,
}

impl WaitingRoom {
    /// Chooses as `pick` does or, where no key is usable, waits for one until `deadline`. A request
    /// for which others wait in line does not choose before them; when the room is full, it is told
    /// to come again.
    ///
    /// A client that goes away leaves the room: its request is dropped, and this with it.
    pub(crate) async fn pick<T>(
        &self,
        place: Wait,
        deadline: Instant,
        mut pick: impl FnMut(Timestamp) -> Result<T, NoKey>,
    ) -> Result<T, NoKey> {
        let mut now = || pick(Timestamp::now());
        let (mut place, mut told) = (place, None);
        if place == Wait::Beside || self.line.load(Ordering::Relaxed) == 0 {
            match now() {
                Err(none) if none.next.is_some() => {
                    if none.model_rests {
                        place = Wait::Beside;
                    }
                    told = Some(none);
                }
                picked_or_hopeless => return picked_or_hopeless,
            }
        }
        let Some(_seat) = Counted::below(&self.seats, SEATS) else {
            return Err(told.unwrap_or_else(come_again));
        };
        let mut line = match place {
            Wait::Beside => None,
            Wait::InLine => match timeout_at(deadline, self.line_up()).await {
                Ok(line) => Some(line),
                Err(_) => return now(),
            },
        };
        loop {
            // From here on a change is noticed, also one during the look at the keys.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let none = match now() {
                Err(none) => none,
                picked => return picked,
            };
            if none.model_rests {
                drop(line.take());
            }
            let Some(next) = none.next else { return Err(none) };
            let wait = Duration::try_from(next.duration_since(Timestamp::now()));
            let next = Instant::now() + wait.unwrap_or_default().max(MOMENT);
            if next > deadline {
                return Err(none);
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = changed => {}
            }
        }
    }

    /// Lets those that wait look at the keys again.
    pub(crate) fn changed(&self) {
        if self.seats.load(Ordering::Relaxed) > 0 {
            self.changed.notify_waiters();
        }
    }

    async fn line_up(&self) -> InLine<'_> {
        let counted = Counted::new(&self.line);
        InLine { _head: self.head.lock().await, _counted: counted }
    }
}

/// What somebody is told who finds the room full, without a look at the keys: those are for who
/// stands in line.
fn come_again() -> NoKey {
    let at = Timestamp::now() + Duration::from_secs(1);
    NoKey { why: Exhausted::ShortWait { at }, next: Some(at), model_rests: false }
}

/// At the head of the line, until dropped.
struct InLine<'a> {
    _head: MutexGuard<'a, ()>,
    _counted: Counted<'a>,
}

/// One of those that are counted, until dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    fn below(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let counted = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < limit).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque};

    use jiff::SignedDuration;

    use super::*;

    fn none_before(next: Option<Timestamp>) -> NoKey {
        let at = next.unwrap_or(Timestamp::UNIX_EPOCH);
        NoKey { why: Exhausted::ShortWait { at }, next, model_rests: false }
    }

    fn in_seconds(seconds: i64) -> NoKey {
        none_before(Some(Timestamp::now() + SignedDuration::from_secs(seconds)))
    }

    fn within(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_limit() {
        let (room, start) = (WaitingRoom::default(), Instant::now());
        let mut asked = 0;
        let end = room.pick(Wait::InLine, within(10), |_| {
            asked += 1;
            Err::<(), _>(in_seconds(3))
        });
        assert!(matches!(end.await, Err(NoKey { why: Exhausted::ShortWait { .. }, .. })));
        assert_eq!(start.elapsed().as_secs(), 9, "12 seconds would be too late");
        assert_eq!(asked, 5, "on coming, at the head, and after 3, 6 and 9 seconds");
        assert_eq!((room.seats.into_inner(), room.line.into_inner()), (0, 0));
    }

    #[tokio::test]
    async fn nobody_waits_past_the_limit_or_without_a_key_to_wait_for() {
        let room = WaitingRoom::default();
        for (deadline, none) in [(within(0), in_seconds(3)), (within(10), none_before(None))] {
            let end = room.pick(Wait::InLine, deadline, |_| Err::<(), _>(none)).await;
            assert_eq!(end.unwrap_err(), none);
        }
    }

    /// Whoever comes while others wait is served after them, also when a key is usable just then.
    #[tokio::test(start_paused = true)]
    async fn first_come_first_served() {
        let (room, free) = (&WaitingRoom::default(), &RefCell::new(0));
        let served = &RefCell::new(Vec::new());
        let request = |name: usize| {
            let pick = move |_| {
                let mut free = free.borrow_mut();
                if *free == 0 {
                    return Err(in_seconds(1));
                }
                *free -= 1;
                Ok(name)
            };
            async move {
                let name = room.pick(Wait::InLine, within(60), pick).await.unwrap();
                served.borrow_mut().push(name);
            }
        };
        let keys = async {
            tokio::task::yield_now().await;
            *free.borrow_mut() = 1;
            // Here a key is free, three wait, and the fourth comes.
            let late = request(3);
            let more = async {
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    *free.borrow_mut() += 1;
                    room.changed();
                }
            };
            tokio::join!(late, more);
        };
        tokio::join!(request(0), request(1), request(2), keys);
        assert_eq!(*served.borrow(), [0, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_wakes_the_line_before_its_time() {
        let (room, start) = (WaitingRoom::default(), Instant::now());
        let mut answers = VecDeque::from([Err(in_seconds(8)), Err(in_seconds(8)), Ok(())]);
        let waits = room.pick(Wait::InLine, within(10), |_| answers.pop_front().unwrap());
        let change = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            room.changed();
        };
        let (end, ()) = tokio::join!(waits, change);
        end.unwrap();
        assert_eq!(start.elapsed().as_millis(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn who_needs_a_certain_key_holds_up_nobody() {
        let (room, start) = (WaitingRoom::default(), Instant::now());
        let model = |seconds| NoKey { model_rests: true, ..in_seconds(seconds) };
        let mut long = VecDeque::from([Err(model(8)), Err(model(8)), Ok(8)]);
        let mut again = VecDeque::from([Err(in_seconds(9)), Err(in_seconds(9)), Ok(9)]);
        let mut short = VecDeque::from([Err(in_seconds(1)), Err(in_seconds(1)), Ok(1)]);
        let timed = async |end: Result<u64, NoKey>| (end.unwrap(), start.elapsed().as_secs());
        let (long, again, short) = tokio::join!(
            async {
                timed(room.pick(Wait::InLine, within(10), |_| long.pop_front().unwrap()).await)
                    .await
            },
            async {
                timed(room.pick(Wait::Beside, within(10), |_| again.pop_front().unwrap()).await)
                    .await
            },
            async {
                timed(room.pick(Wait::InLine, within(10), |_| short.pop_front().unwrap()).await)
                    .await
            },
        );
        assert_eq!((long, again, short), ((8, 8), (9, 9), (1, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_makes_way() {
        let room = WaitingRoom::default();
        let gone = room.pick(Wait::InLine, within(60), |_| Err::<(), _>(in_seconds(30)));
        assert!(tokio::time::timeout(Duration::from_secs(1), gone).await.is_err());
        assert_eq!(room.seats.load(Ordering::Relaxed), 0);
        room.pick(Wait::InLine, within(60), |_| Ok(())).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_room_has_an_end() {
        let room = WaitingRoom::default();
        let wait = || room.pick(Wait::InLine, within(60), |_| Err::<(), _>(in_seconds(30)));
        let mut waiting: Vec<_> = (0..SEATS).map(|_| Box::pin(wait())).collect();
        for one in &mut waiting {
            assert!(tokio::time::timeout(Duration::ZERO, one).await.is_err());
        }
        let start = Instant::now();
        assert!(wait().await.is_err());
        let usable = |_| Ok::<_, NoKey>("a key that was just freed");
        let refused = room.pick(Wait::InLine, within(60), usable).await.unwrap_err();
        assert!(matches!(refused.why, Exhausted::ShortWait { .. }), "it is for those in line");
        assert!(room.pick(Wait::Beside, within(60), usable).await.is_ok());
        assert_eq!(start.elapsed(), Duration::ZERO, "answered at once");
    }
}
