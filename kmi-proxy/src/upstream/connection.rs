//! One connection to an upstream, driven by the request that uses it.
//!
//! It has no task of its own: what the socket brings is read where it is wanted, so an answer's
//! pieces cross no queue between tasks, and dropping the connection closes it at once, which
//! cancels what is under way. While it is unused nobody drives it; it is looked at before it is
//! used again.

use std::{
    fmt,
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::Outgoing;

pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection of one's own.
pub(super) struct Connection {
    sender: http1::SendRequest<Outgoing>,
    /// `None` once the connection has ended.
    driver: Option<Pin<Box<http1::Connection<Stream, Outgoing>>>>,
}

impl Connection {
    pub(super) async fn new(stream: Stream) -> Result<Self, hyper::Error> {
        let (sender, driver) = http1::Builder::new()
            // The client's own spelling of header names goes through (WIRE section 5, item 2).
            .preserve_header_case(true)
            .max_buf_size(MAX_BUFFER)
            .handshake(stream)
            .await?;
        Ok(Self { sender, driver: Some(Box::pin(driver)) })
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// With the request itself where nothing of it was written.
    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        poll_fn(|cx| {
            drive(driver, cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Reads and writes what can be read and written now.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }

    /// Whether it can take a request now. One that was closed meanwhile cannot, nor one that still
    /// sends the body of a request that was answered early.
    pub(super) fn is_ready(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.drive(&mut cx);
        matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Ok(())))
    }
}

/// A read takes at most so much, and an answer's head must fit.
const MAX_BUFFER: usize = 64 << 10;

fn drive(driver: &mut Option<Pin<Box<http1::Connection<Stream, Outgoing>>>>, cx: &mut Context<'_>) {
    // An error reaches whoever waits for the answer or its body.
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
        *driver = None;
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.driver.is_some()).finish_non_exhaustive()
    }
}
