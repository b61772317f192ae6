//! One connection to an upstream: a request out, an answer in, driven by whoever uses it.
//!
//! It has no task of its own, so dropping it closes it at once, which cancels what is under way.
//! While it is unused nobody looks at it; it is looked at before it is used again.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, response::Parts};
use hyper::body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Error, MAX_HEAD, framing,
    head::{self, Framed},
    out::Out,
    payload::Payload,
    scratch,
    unseen::Unseen,
};

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(crate) struct Connection<S, B> {
    stream: S,
    /// What is still to be written of the request.
    sending: Option<Sending<B>>,
    /// How many bytes of it were written.
    sent: u64,
    /// What was read of a head that is not yet whole, or behind an answer.
    carry: Unseen<Vec<u8>>,
    /// What still comes of the answer's body.
    body: Payload,
    /// What came of the body together with the head, and what was wrong behind it.
    ahead: (Unseen<Bytes>, Option<Error>),
    /// Whether another request may follow.
    keeps: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nothing was written.
    Unsent(io::Error),
    /// The request's own body broke off.
    Body,
    /// The answer is none, or did not come.
    Answer(Error),
    /// Whoever sent it would not wait any longer.
    Late,
}

#[derive(Debug)]
struct Sending<B> {
    out: Out,
    /// `None` when its end is among what is written.
    body: Option<B>,
    chunked: bool,
    /// Whether the body was asked for its first piece.
    primed: bool,
}

/// How sending failed.
enum Broken {
    Io(io::Error),
    Body,
}

impl<S, B> Connection<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
{
    pub(crate) fn new(stream: S) -> Self {
        let (sending, carry, body) = (None, Unseen::default(), Payload::NONE);
        let ahead = (Unseen::default(), None);
        Self { stream, sending, sent: 0, carry, body, ahead, keeps: true }
    }

    /// Sends a request and waits for the head of its answer. The body may still be on its way
    /// then; [`Self::poll_body`] goes on with it.
    ///
    /// `overdue` hears how many bytes are written whenever there is nothing left to do but wait,
    /// and ends the wait when it is ready.
    pub(crate) async fn send(
        &mut self,
        request: &Request<()>,
        body: B,
        mut overdue: impl FnMut(&mut Context<'_>, u64) -> Poll<()>,
    ) -> Result<Response<()>, Failed> {
        (self.sending, self.sent) = (Some(Sending::new(request, body)), 0);
        let method = request.method();
        let mut broken = None;
        poll_fn(|cx| {
            if broken.is_none() {
                match self.poll_send(cx) {
                    Poll::Ready(Err(Broken::Body)) => return Poll::Ready(Err(Failed::Body)),
                    Poll::Ready(Err(Broken::Io(error))) => {
                        self.sending = None;
                        if self.sent == 0 {
                            return Poll::Ready(Err(Failed::Unsent(error)));
                        }
                        // An upstream may answer and close before it has read everything.
                        (broken, self.keeps) = (Some(error), false);
                    }
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            let Poll::Ready(answer) = self.poll_head(cx, method) else {
                return overdue(cx, self.sent).map(|()| Err(Failed::Late));
            };
            Poll::Ready(answer.map_err(|error| {
                Failed::Answer(match (error, broken.take()) {
                    (Error::Cut | Error::Io(_), Some(error)) => Error::Io(error),
                    (error, _) => error,
                })
            }))
        })
        .await
    }

    /// The next piece of the answer's body: all that one read brought; `None` at its end.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        // An upload may go on while it is answered.
        if let Poll::Ready(Err(_)) = self.poll_send(cx) {
            (self.sending, self.keeps) = (None, false);
        }
        if !self.ahead.0.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut *self.ahead.0))));
        }
        if let Some(error) = self.ahead.1.take() {
            return Poll::Ready(Some(Err(error)));
        }
        while !self.body.is_over() {
            let Self { stream, carry, body, .. } = self;
            let mut data = BytesMut::new();
            let read = scratch::poll_read(stream, cx, |bytes| {
                if bytes.is_empty() {
                    return if *body == Payload::UntilClose { Ok(false) } else { Err(Error::Cut) };
                }
                data.reserve(bytes.len());
                let taken = body.take(bytes, |piece| data.extend_from_slice(piece))?;
                carry.extend_from_slice(&bytes[taken..]);
                Ok(true)
            });
            // What came before a break is the client's.
            match ready!(read).map_err(Error::from).flatten() {
                Ok(true) => {}
                Ok(false) => *body = Payload::NONE,
                Err(error) if data.is_empty() => return Poll::Ready(Some(Err(error))),
                Err(error) => self.ahead.1 = Some(error),
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(data.freeze())));
            }
        }
        Poll::Ready(None)
    }

    /// Whether the answer's last byte was taken.
    pub(crate) fn is_over(&self) -> bool {
        self.body.is_over() && self.ahead.0.is_empty() && self.ahead.1.is_none()
    }

    /// The length of the rest of the body, where it is known.
    pub(crate) fn exact(&self) -> Option<u64> {
        Some(self.body.exact()? + self.ahead.0.len() as u64)
    }

    /// Whether it can take a request now: one that was closed meanwhile cannot, nor one that still
    /// sends the body of a request that was answered early, nor one on which something came that
    /// nobody asked for.
    pub(crate) fn is_ready(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let sent = matches!(self.poll_send(&mut cx), Poll::Ready(Ok(())));
        self.keeps
            && sent
            && self.is_over()
            && self.carry.is_empty()
            && scratch::ask(&mut cx, |cx| scratch::poll_read(&mut self.stream, cx, |_| ()))
                .is_pending()
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
    ) -> Poll<Result<Response<()>, Error>> {
        loop {
            let Self { stream, carry, .. } = self;
            let before = carry.len();
            let read = scratch::poll_read(stream, cx, |bytes| {
                if bytes.is_empty() {
                    return Err(Error::Cut);
                }
                if before > 0 {
                    carry.extend_from_slice(bytes);
                    return Ok(None);
                }
                // Nearly always a head comes by itself and whole: then it is read where it is.
                let (found, length) = final_head(bytes)?;
                let rest = &bytes[length..];
                if let Some(parts) = found {
                    return Ok(Some((parts, Bytes::copy_from_slice(rest))));
                }
                carry.extend_from_slice(rest);
                Ok(None)
            });
            let mut found = ready!(read)??;
            if before > 0 && head::may_end(&carry[before.saturating_sub(3)..]) {
                let (parts, length) = final_head(carry)?;
                carry.drain(..length);
                found = parts.map(|parts| (parts, std::mem::take(&mut **carry).into()));
            }
            if let Some((parts, rest)) = found {
                return Poll::Ready(self.begin(parts, &rest, method));
            }
            if carry.len() > MAX_HEAD {
                return Poll::Ready(Err(Error::TooLarge));
            }
        }
    }

    /// The head was read; `rest` came with it.
    fn begin(
        &mut self,
        mut parts: Parts,
        rest: &[u8],
        method: &Method,
    ) -> Result<Response<()>, Error> {
        let (status, version) = (parts.status, parts.version);
        self.body = framing::of_answer(method, status, version, &mut parts.headers)?;
        self.keeps &= !framing::closes(version, &parts.headers) && !status.is_informational();
        let mut ahead = BytesMut::with_capacity(rest.len());
        let taken = self.body.take(rest, |piece| ahead.extend_from_slice(piece));
        let error = match taken {
            Ok(taken) => {
                self.carry = Unseen(rest[taken..].to_vec());
                None
            }
            Err(error) => Some(error),
        };
        self.ahead = (Unseen(ahead.freeze()), error);
        Ok(Response::from_parts(parts, ()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Self { stream, sending, sent, .. } = self;
        let Some(request) = sending else { return Poll::Ready(Ok(())) };
        loop {
            let next = request.poll_next(cx)?;
            while !request.out.is_empty() {
                let written = ready!(request.out.poll_write(stream, cx)).map_err(Broken::Io)?;
                *sent += written as u64;
            }
            request.out.clear();
            match next {
                Poll::Ready(More::Yes) => {}
                Poll::Ready(More::No) => break,
                Poll::Pending => {
                    let _ = Pin::new(stream).poll_flush(cx).map_err(Broken::Io)?;
                    return Poll::Pending;
                }
            }
        }
        ready!(Pin::new(stream).poll_flush(cx)).map_err(Broken::Io)?;
        *sending = None;
        Poll::Ready(Ok(()))
    }
}

/// The head of the final answer, and how many bytes it and interim answers take; an upgrade, for
/// which nobody asked, is final.
fn final_head(bytes: &[u8]) -> Result<(Option<Parts>, usize), Error> {
    let mut at = 0;
    while let Some((parts, length)) = head::answer(&bytes[at..])? {
        at += length;
        if !parts.status.is_informational() || parts.status == http::StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok((Some(parts), at));
        }
    }
    Ok((None, at))
}

/// Whether more of a body comes.
enum More {
    Yes,
    No,
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    fn new(request: &Request<()>, body: B) -> Self {
        let ended = body.is_end_stream();
        let framed = match body.size_hint().exact() {
            _ if ended => Framed::Bodiless,
            Some(length) => Framed::Length(length),
            None => Framed::Chunks,
        };
        let mut out = Out::default();
        out.bytes.reserve(1 << 10);
        head::write_request(request, framed, &mut out.bytes);
        let chunked = framed == Framed::Chunks;
        Self { out, body: (!ended).then_some(body), chunked, primed: false }
    }

    /// Makes the next piece what is to be written; the first one goes out together with the head.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        if self.primed && !self.out.is_empty() {
            return Poll::Ready(Ok(More::Yes));
        }
        self.primed = true;
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(More::No)) };
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                // Trailers are dropped.
                self.out.add(frame.into_data().unwrap_or_default(), self.chunked);
                if !body.is_end_stream() {
                    return Poll::Ready(Ok(More::Yes));
                }
            }
            Some(Err(_)) => return Poll::Ready(Err(Broken::Body)),
            None => {}
        }
        self.body = None;
        if self.chunked {
            self.out.add_last_chunk();
        }
        Poll::Ready(Ok(More::No))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn a_connection_tells_nothing_of_what_it_carries() {
        let request = Request::post("/x").header("authorization", "Bearer sk-canary").body(());
        let mut connection = Connection::new(tokio::io::empty());
        connection.sending = Some(Sending::new(&request.unwrap(), Full::<Bytes>::default()));
        connection.carry = Unseen(b"sk-canary".to_vec());
        connection.ahead.0 = Unseen(Bytes::from_static(b"sk-canary"));
        let told = format!("{connection:?}");
        let numbers = format!("{:?}", b"sk-canary").replace(['[', ']'], "");
        assert!(told.contains("9 bytes"), "{told}");
        assert!(!told.contains("canary") && !told.contains(&numbers), "{told}");
    }

    #[tokio::test]
    async fn a_connection_that_has_ended_is_not_ready_however_many_were_looked_at() {
        // Without a pause, so that tokio would have this task pause.
        for n in 0..1000 {
            let (stream, theirs) = tokio::io::duplex(16);
            drop(theirs);
            let mut connection = Connection::<_, Full<Bytes>>::new(stream);
            assert!(!connection.is_ready(), "the {n}th one");
        }
    }

    #[tokio::test]
    async fn a_connection_that_could_not_send_all_is_not_ready() {
        let (reading, mut answers) = tokio::io::duplex(64);
        let (writing, takes) = tokio::io::duplex(64);
        answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let mut connection = Connection::new(tokio::io::join(reading, writing));
        let request = Request::post("/x").body(()).unwrap();
        let body = Full::from(vec![b'a'; 1 << 10]);
        connection.send(&request, body, |_, _| Poll::Pending).await.unwrap();
        assert!(!connection.is_ready(), "it is still sending");
        drop(takes);
        assert!(!connection.is_ready());
    }
}
