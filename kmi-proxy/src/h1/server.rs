//! One client's connection: its requests, one after the other, each answered before the next is
//! read.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header};
use hyper::body::Body;
use parking_lot::Mutex;
use tokio::{
    io::AsyncWrite,
    net::{TcpStream, tcp::OwnedWriteHalf},
};

use super::{
    Error, framing,
    head::{self, Framed},
    incoming::{Incoming, Reader},
    out::Out,
    payload::Payload,
    watchdog::Watchdog,
};
use crate::reply::Refusal;

/// After its last answer a client may go on sending for so long, and so much: a connection that
/// is closed on unread bytes is reset, and an answer may be lost with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// How long a client may keep its connection waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For a head, once it has begun.
    pub(crate) head: Duration,
    /// For the next request.
    pub(crate) idle: Duration,
    /// In reading its answer.
    pub(crate) stall: Duration,
}

/// Serves a connection until its end; once `stopped` has ended, until the request that is under way
/// has its answer.
pub(crate) async fn serve<S, F, B>(
    socket: TcpStream,
    limits: Limits,
    stopped: impl Future<Output = ()>,
    service: S,
) where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
{
    let (reading, writer) = socket.into_split();
    let mut client =
        Client { reader: Reader::new(reading), writer, limits, watchdog: Watchdog::default() };
    let (mut stopped, mut stopping) = (pin!(stopped), false);
    let mut is_stopping = |cx: &mut Context<'_>| {
        stopping = stopping || stopped.as_mut().poll(cx).is_ready();
        stopping
    };
    while let Some(request) = client.request(&mut is_stopping).await {
        let ending = match request {
            Ok(request) => {
                let method = request.method().clone();
                let closes = framing::closes(request.version(), request.headers());
                // In boxes, so that a stream that is under way does not hold the room that the way
                // to its head took, and its body is not moved from place to place.
                let serving = async { service(request).await.map(Box::pin) };
                let Some(response) = client.unless_gone(Box::pin(serving)).await else { return };
                let closes = closes || poll_fn(|cx| Poll::Ready(is_stopping(cx))).await;
                client.answer(&method, response, closes).await
            }
            Err(error) => {
                let response = refusal(&error).response().map(Box::pin);
                let answered = client.answer(&Method::GET, response, true).await;
                answered.map(|_| Ending::Unread)
            }
        };
        match ending {
            Ok(Ending::Open) => {}
            Ok(Ending::Last) if !client.has_unread().await => return,
            Ok(Ending::Last | Ending::Unread) => return client.linger().await,
            Err(()) => return,
        }
    }
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::TooLarge => Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            "The head is larger than 64 KiB or has more than 100 lines.",
        )
        .closing(),
        error => Refusal::bad("not_http", format!("The request cannot be read: {error}.")),
    }
}

#[derive(Debug)]
struct Client {
    reader: Arc<Mutex<Reader>>,
    writer: OwnedWriteHalf,
    limits: Limits,
    watchdog: Watchdog,
}

/// How a connection stands after an answer.
enum Ending {
    /// Another request may come.
    Open,
    /// It was the last one.
    Last,
    /// It was the last one, as nobody knows where the next one would begin.
    Unread,
}

/// What comes next of an answer's body.
enum Next {
    Piece(Bytes),
    /// Nothing for now.
    Later,
    End,
    /// It broke, or its reader has gone.
    Broken,
}

impl Client {
    /// The next request, or what is wrong with it; `None` when none comes.
    async fn request(
        &mut self,
        is_stopping: &mut impl FnMut(&mut Context<'_>) -> bool,
    ) -> Option<Result<Request<Incoming>, Error>> {
        let Self { reader, limits, watchdog, .. } = self;
        let mut begun = false;
        watchdog.rest();
        poll_fn(|cx| {
            let read = Reader::poll_request(reader, cx);
            if read.is_ready() {
                return read;
            }
            let has_begun = reader.lock().has_begun();
            if has_begun != begun {
                begun = has_begun;
                watchdog.rest();
            }
            let limit = if begun { limits.head } else { limits.idle };
            if is_stopping(cx) && !begun || watchdog.poll(cx, limit).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// What a future gives, unless the client goes away before.
    async fn unless_gone<F: Future>(&self, mut future: Pin<Box<F>>) -> Option<F::Output> {
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.reader.lock().poll_gone(cx).map(|()| None),
        })
        .await
    }

    /// Writes an answer. An error: it could not be written to its end, and the client sees that.
    async fn answer<B: Body<Data = Bytes>>(
        &mut self,
        method: &Method,
        response: Response<Pin<Box<B>>>,
        closes: bool,
    ) -> Result<Ending, ()> {
        let (mut parts, mut body) = response.into_parts();
        let closes = closes || framing::closes(Version::HTTP_11, &parts.headers);
        let ending = match poll_fn(|cx| Poll::Ready(self.is_at_end(cx))).await {
            false => Ending::Unread,
            true if closes => Ending::Last,
            true => Ending::Open,
        };
        let framed = framed(method, &mut parts, &*body);
        let mut out = Out::default();
        head::write_answer(&parts, framed, !matches!(ending, Ending::Open), &mut out.bytes);
        drop(parts);
        let mut left = match framed {
            _ if method == Method::HEAD => Payload::NONE,
            Framed::Bodiless => Payload::NONE,
            Framed::Length(length) => Payload::Length(length),
            Framed::Chunks => Payload::UntilClose,
        };
        while !left.is_over() {
            match self.frame(body.as_mut(), !out.is_empty()).await {
                // Nothing is there yet: what is there goes first.
                Next::Later => {}
                Next::Piece(data) => {
                    let taken = left.take(&data, |_| {}).unwrap_or(0);
                    out.add(data.slice(..taken), framed == Framed::Chunks);
                    if framed == Framed::Chunks && body.is_end_stream() {
                        out.add_last_chunk();
                        left = Payload::NONE;
                    }
                }
                Next::End if framed == Framed::Chunks => {
                    out.add_last_chunk();
                    left = Payload::NONE;
                }
                // It broke, or is shorter than it said; what came before is the client's.
                Next::End | Next::Broken => {
                    let _ = self.write(&mut out).await;
                    return Err(());
                }
            }
            self.write(&mut out).await.map_err(drop)?;
        }
        self.write(&mut out).await.map_err(drop)?;
        Ok(ending)
    }

    /// What comes next of a body, `Later` only where there is something else to write.
    async fn frame<B: Body<Data = Bytes>>(&self, mut body: Pin<&mut B>, has_more: bool) -> Next {
        poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            // Trailers are dropped.
            Poll::Ready(Some(Ok(frame))) => {
                Poll::Ready(Next::Piece(frame.into_data().unwrap_or_default()))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Next::Broken),
            Poll::Ready(None) => Poll::Ready(Next::End),
            Poll::Pending if has_more => Poll::Ready(Next::Later),
            Poll::Pending => self.reader.lock().poll_gone(cx).map(|()| Next::Broken),
        })
        .await
    }

    /// Whether the request's body was read, or can be thrown away now.
    fn is_at_end(&self, cx: &mut Context<'_>) -> bool {
        // A body that is still sent on belongs to whoever does that.
        Arc::strong_count(&self.reader) == 1 && self.reader.lock().drain(cx)
    }

    async fn write(&mut self, out: &mut Out) -> io::Result<()> {
        let Self { writer, watchdog, limits, .. } = self;
        watchdog.rest();
        poll_fn(|cx| {
            while !out.is_empty() {
                match out.poll_write(writer, cx) {
                    Poll::Ready(written) => {
                        written?;
                        watchdog.rest();
                    }
                    Poll::Pending => {
                        ready!(watchdog.poll(cx, limits.stall));
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                }
            }
            out.clear();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Whether the client has sent more than was read.
    async fn has_unread(&self) -> bool {
        poll_fn(|cx| Poll::Ready(self.reader.lock().has_unread(cx))).await
    }

    /// Closes, and hears the client out for a moment.
    async fn linger(mut self) {
        if poll_fn(|cx| Pin::new(&mut self.writer).poll_shutdown(cx)).await.is_err() {
            return;
        }
        let (mut read, mut over) = (0, pin!(tokio::time::sleep(LINGER)));
        poll_fn(|cx| {
            while read < LINGER_BYTES {
                match self.reader.lock().poll_discard(cx) {
                    Poll::Ready(Some(more)) => read += more,
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return over.as_mut().poll(cx),
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// How an answer's body is framed; what its headers say of that goes.
fn framed<B: Body>(method: &Method, parts: &mut http::response::Parts, body: &B) -> Framed {
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&parts.status);
    let framed = match body.size_hint().exact() {
        _ if bodiless || parts.status.is_informational() => Framed::Bodiless,
        // An upstream's word on the body that a GET would have brought stands.
        None | Some(0) if method == Method::HEAD => Framed::Bodiless,
        None => Framed::Chunks,
        Some(length) => Framed::Length(length),
    };
    // A 304 and an answer to HEAD may say what a GET would have brought; a 204 has no length at all
    // (RFC 9110 section 8.6).
    if framed != Framed::Bodiless || parts.status == StatusCode::NO_CONTENT {
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::TRANSFER_ENCODING);
    }
    framed
}
