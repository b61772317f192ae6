//! The body of an upstream's answer, together with the connection that it comes over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{connection::Connection, origin::Origin};
use crate::h1;

/// The body of an answer.
///
/// At its end the connection is kept for other requests; dropped before, it is closed. Trailers
/// are dropped: they could carry what a header may not.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `None` once the body has ended, well or not.
    connection: Option<Connection>,
    origin: Arc<Origin>,
}

impl Answer {
    pub(super) fn new(connection: Connection, origin: Arc<Origin>) -> Self {
        let mut answer = Self { connection: Some(connection), origin };
        answer.look_for_the_end();
        answer
    }

    fn look_for_the_end(&mut self) {
        if let Some(connection) = self.connection.take_if(|connection| connection.is_over()) {
            self.origin.give_back(connection);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = h1::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h1::Error>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let piece = ready!(connection.poll_body(cx));
        if let Some(Err(_)) = &piece {
            self.connection = None;
        }
        self.look_for_the_end();
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let exact = self.connection.as_ref().map_or(Some(0), Connection::exact);
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
