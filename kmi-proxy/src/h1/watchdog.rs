//! One clock for a connection, whatever it waits for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// Ends a wait that takes too long.
///
/// The timer behind it is moved only when it fires too early or would fire too late: a wait that
/// ends in time, as nearly all do, costs two looks at the clock.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    /// When the wait began; `None` before it is first polled.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watchdog {
    /// What is waited for has come, or another wait begins.
    pub(super) fn rest(&mut self) {
        self.since = None;
    }

    /// Ready when the wait has taken longer than `limit`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let deadline = *self.since.get_or_insert_with(Instant::now) + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_wait_has_its_own_limit() {
        let mut dog = Watchdog::default();
        let (long, short) = (Duration::from_secs(100), Duration::from_secs(10));
        let start = Instant::now();
        let idle = poll_fn(|cx| dog.poll(cx, long));
        assert!(tokio::time::timeout(Duration::from_secs(99), idle).await.is_err());
        dog.rest();
        poll_fn(|cx| dog.poll(cx, short)).await;
        assert_eq!(start.elapsed().as_secs(), 109, "a shorter wait moves the timer");
        dog.rest();
        poll_fn(|cx| dog.poll(cx, long)).await;
        assert_eq!(start.elapsed().as_secs(), 209, "and so does a longer one");
    }
}
