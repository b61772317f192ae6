//! A body that must not stand still: an error after a time without a frame.

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::h1;

/// A body, and how long it may stand still.
///
/// The timer is set only while the body is waited for, and moved only when it fires: a frame
/// costs one look at the clock.
#[derive(Debug)]
pub(crate) struct Idle<B> {
    body: B,
    limit: Duration,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IdleError {
    /// The body broke.
    #[error(transparent)]
    Broken(#[from] h1::Error),
    /// Nothing came for too long.
    #[error("nothing came for {0:?}")]
    StoodStill(Duration),
}

impl<B> Idle<B> {
    /// Starts the clock.
    pub(crate) fn new(body: B, limit: Duration) -> Self {
        Self { body, limit, since: Instant::now(), timer: None }
    }

    /// What the body gave, or an error where it has given nothing for too long.
    fn timed<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<Option<Result<T, h1::Error>>>,
    ) -> Poll<Option<Result<T, IdleError>>> {
        match polled {
            Poll::Ready(given) => {
                self.since = Instant::now();
                Poll::Ready(given.map(|given| given.map_err(IdleError::from)))
            }
            Poll::Pending => self.poll_limit(cx).map(|error| Some(Err(error))),
        }
    }

    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<IdleError> {
        let (since, limit) = (self.since, self.limit);
        let timer =
            self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(since + limit)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if since.elapsed() >= limit {
                return Poll::Ready(IdleError::StoodStill(limit));
            }
            timer.as_mut().reset(since + limit);
        }
    }
}

impl Idle<h1::Incoming> {
    /// The whole body, where it came with its head and was not taken yet.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        self.body.take_whole()
    }

    /// Adds to `out` what comes next; false at the end.
    pub(crate) async fn read_into(&mut self, out: &mut BytesMut) -> Result<bool, IdleError> {
        let read = poll_fn(|cx| {
            let polled = self.body.poll_into(cx, out);
            self.timed(cx, polled)
        });
        read.await.transpose().map(|read| read.is_some())
    }
}

impl<B> Body for Idle<B>
where
    B: Body<Data = Bytes, Error = h1::Error> + Unpin,
{
    type Data = Bytes;
    type Error = IdleError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IdleError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.timed(cx, polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::time::advance;

    use super::*;

    /// A body whose frames come when the test says so.
    struct Script(tokio::sync::mpsc::Receiver<Bytes>);

    impl Body for Script {
        type Data = Bytes;
        type Error = h1::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, h1::Error>>> {
            self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_reset_the_clock_and_silence_ends_it() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let mut body = Idle::new(Script(receiver), Duration::from_secs(10));
        for _ in 0..3 {
            let sent = async {
                advance(Duration::from_secs(9)).await;
                sender.send(Bytes::from_static(b"x")).await.unwrap();
            };
            let (frame, ()) = tokio::join!(body.frame(), sent);
            assert!(frame.unwrap().is_ok());
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "nothing came for 10s");
    }
}
