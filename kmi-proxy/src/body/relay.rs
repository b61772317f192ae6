//! The upstream's answer on its way to the client: passed chunk by chunk, observed exactly once.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{Idle, IdleError};
use crate::upstream::Answer;

/// Who wants to know what passes, and how it ends.
pub(crate) trait RelayEnd: Send + Unpin + 'static {
    /// A piece of the body came from the upstream.
    fn piece(&mut self, data: &[u8]);
    /// The body has ended as it should.
    fn ended(&mut self);
    /// The body broke off, or stood still for too long.
    fn broke(&mut self, error: &IdleError);
}

/// A relayed body: what was already read of it, then the rest as it comes.
///
/// Its observer hears of the end once, by [`RelayEnd::ended`] or [`RelayEnd::broke`]; when it hears
/// of neither before it is dropped, the client went away.
#[derive(Debug)]
pub(crate) struct Relay<E: RelayEnd> {
    head: Bytes,
    body: Idle<Answer>,
    end: Option<E>,
}

impl<E: RelayEnd> Relay<E> {
    /// Observes a body. One that is empty has ended at once.
    pub(crate) fn new(head: Bytes, body: Idle<Answer>, end: E) -> Self {
        let mut relay = Self { head, body, end: Some(end) };
        relay.look_for_the_end();
        relay
    }

    /// Nobody polls a body again whose last byte it has: so the end is looked for after every
    /// piece.
    fn look_for_the_end(&mut self) {
        if self.is_end_stream()
            && let Some(mut end) = self.end.take()
        {
            end.ended();
        }
    }
}

impl<E: RelayEnd> Body for Relay<E> {
    type Data = Bytes;
    type Error = IdleError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IdleError>>> {
        if !self.head.is_empty() {
            let head = std::mem::take(&mut self.head);
            return Poll::Ready(Some(Ok(self.pass(head))));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                Poll::Ready(Some(Ok(self.pass(frame.into_data().unwrap_or_default()))))
            }
            Some(Err(error)) => {
                if let Some(mut end) = self.end.take() {
                    end.broke(&error);
                }
                // An error here aborts the client's connection: a cut upstream must never look like
                // a complete answer (WIRE section 5, item 5).
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + self.head.len() as u64),
            None => SizeHint::default(),
        }
    }
}

impl<E: RelayEnd> Relay<E> {
    fn pass(&mut self, data: Bytes) -> Frame<Bytes> {
        if let Some(end) = &mut self.end {
            end.piece(&data);
        }
        self.look_for_the_end();
        Frame::data(data)
    }

    fn finish(&mut self) {
        if let Some(mut end) = self.end.take() {
            end.ended();
        }
    }
}
