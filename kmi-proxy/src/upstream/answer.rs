//! The body of an upstream's answer, together with the connection that it comes over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{connection::Connection, origin::Origin};

/// Pieces are joined until they are this long. What one read brought is written at once, and
/// nothing ever waits for more to come.
const JOINED: usize = 16 << 10;

/// The body of an answer.
///
/// At its end the connection is kept for other requests; dropped before, it is closed. Trailers
/// are dropped: they could carry what a header may not.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Incoming,
    /// `None` once the body has ended, well or not.
    connection: Option<Connection>,
    origin: Arc<Origin>,
    /// What broke the body.
    broken: Option<hyper::Error>,
    /// Whether the reader was given a turn to write what came before.
    written: bool,
}

impl Answer {
    pub(super) fn new(body: Incoming, connection: Connection, origin: Arc<Origin>) -> Self {
        let mut answer =
            Self { body, connection: Some(connection), origin, broken: None, written: false };
        if answer.body.is_end_stream() {
            answer.finish();
        }
        answer
    }

    /// The next piece as the connection has it; `None` at the end, be it a break.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let polled = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                connection.drive(cx);
                Pin::new(&mut self.body).poll_frame(cx)
            }
            ready @ Poll::Ready(_) => ready,
        };
        Poll::Ready(match ready!(polled).map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                if self.body.is_end_stream() {
                    self.finish();
                }
                Some(data)
            }
            Some(Err(error)) => {
                self.connection = None;
                self.broken = Some(error);
                None
            }
            // Trailers come last, and are dropped.
            Some(Ok(Err(_))) | None => {
                self.finish();
                None
            }
        })
    }

    /// More of what is there already, behind a first piece.
    fn join(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut joined = BytesMut::new();
        while first.len() + joined.len() < JOINED {
            let Poll::Ready(Some(next)) = self.poll_piece(cx) else { break };
            if joined.is_empty() {
                joined.reserve(JOINED);
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&next);
        }
        if joined.is_empty() { first } else { joined.freeze() }
    }

    fn finish(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.origin.give_back(connection);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(first) = ready!(self.poll_piece(cx)) {
            return Poll::Ready(Some(Ok(Frame::data(self.join(first, cx)))));
        }
        // hyper throws away what it has not written when a body breaks. What came before the
        // break is the client's.
        if self.broken.is_some() && !self.written {
            self.written = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.broken.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
