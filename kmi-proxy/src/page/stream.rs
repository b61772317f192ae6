//! The feed as the body of an answer.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::feed::Watcher;

type Next = Pin<Box<dyn Future<Output = Option<(Watcher, Bytes)>> + Send>>;
type Over = Pin<Box<dyn Future<Output = ()> + Send>>;

/// JSON lines for as long as both sides want; ends when the proxy begins to stop, so that an open
/// page does not hold it up.
pub(crate) struct Stream {
    /// `None` at the end.
    next: Option<Next>,
    over: Over,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Stream {
    /// What the watcher sees, until `over` ends.
    pub(super) fn new(watcher: Watcher, over: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { next: Some(next(watcher)), over: Box::pin(over) }
    }
}

fn next(mut watcher: Watcher) -> Next {
    Box::pin(async move {
        let lines = watcher.next().await?;
        Some((watcher, lines))
    })
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.over.as_mut().poll(context).is_ready() {
            self.next = None;
        }
        let Some(waiting) = &mut self.next else { return Poll::Ready(None) };
        match waiting.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.next = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some((watcher, lines))) => {
                self.next = Some(next(watcher));
                Poll::Ready(Some(Ok(Frame::data(lines))))
            }
        }
    }
}
