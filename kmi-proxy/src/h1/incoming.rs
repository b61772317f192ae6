//! The reading side of a client's connection: heads, and bodies for whoever answers them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header, request::Parts};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{io::ReadBuf, net::tcp::OwnedReadHalf};

use super::{Error, MAX_HEAD, framing, head, payload::Payload, scratch, unseen::Unseen};

/// For a client that waits for it before it sends its body.
const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What is read of a body that nobody wants, so that the connection can go on.
const MAX_DRAINED: usize = 64 << 10;

/// The reading side, shared with the body that is under way.
#[derive(Debug)]
pub(super) struct Reader {
    socket: OwnedReadHalf,
    /// What was read and belongs to nobody yet.
    carry: Unseen<Vec<u8>>,
    /// So much of it was looked through for a head's end.
    searched: usize,
    /// What still comes of the request's body.
    body: Payload,
    /// The client waits for a word before it sends the body.
    expects: bool,
}

/// The body of a client's request.
#[derive(Debug)]
pub(crate) struct Incoming(Source);

#[derive(Debug)]
enum Source {
    /// It came with its head; empty once it was taken.
    Whole(Unseen<Bytes>),
    Coming(Arc<Mutex<Reader>>),
}

/// A head that was read.
struct Begun {
    parts: Parts,
    /// What of its body was not read with it.
    body: Payload,
    /// The body, if that was all of it.
    whole: Option<Bytes>,
    /// The bytes that were read.
    taken: usize,
}

impl Begun {
    /// A request at the front of `bytes`, if its head is whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let Some((mut parts, taken)) = head::request(bytes)? else { return Ok(None) };
        let body = framing::of_request(&mut parts.headers)?;
        let rest = &bytes[taken..];
        let whole = match body {
            Payload::Length(length) => usize::try_from(length).ok().and_then(|n| rest.get(..n)),
            Payload::Chunks(_) | Payload::UntilClose => None,
        };
        Ok(Some(match whole {
            Some(whole) => {
                let taken = taken + whole.len();
                let whole = Some(Bytes::copy_from_slice(whole));
                Self { parts, body: Payload::NONE, whole, taken }
            }
            None => Self { parts, body, whole: None, taken },
        }))
    }
}

impl Reader {
    pub(super) fn new(socket: OwnedReadHalf) -> Arc<Mutex<Self>> {
        let (carry, body) = (Unseen::default(), Payload::NONE);
        Arc::new(Mutex::new(Self { socket, carry, searched: 0, body, expects: false }))
    }

    /// The next request; `None` when the client has closed the connection instead.
    pub(super) fn poll_request(
        this: &Arc<Mutex<Self>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Request<Incoming>, Error>>> {
        let mut reader = this.lock();
        loop {
            match reader.search() {
                Ok(Some(begun)) => return Poll::Ready(Some(Ok(reader.begin(this, begun)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            let Self { socket, carry, .. } = &mut *reader;
            // Nearly always a request comes by itself and whole: then it is read where it is.
            let alone = carry.is_empty();
            let read = ready!(scratch::poll_read(socket, cx, |bytes| {
                let begun = if alone { Begun::read(bytes) } else { Ok(None) };
                let taken = if let Ok(Some(begun)) = &begun { begun.taken } else { 0 };
                carry.extend_from_slice(&bytes[taken..]);
                (!bytes.is_empty()).then_some(begun)
            }));
            let Ok(Some(begun)) = read else { return Poll::Ready(None) };
            match begun {
                Ok(Some(begun)) => return Poll::Ready(Some(Ok(reader.begin(this, begun)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if alone {
                reader.searched = reader.carry.len();
            }
        }
    }

    /// A whole head at the front of what was carried. One that comes byte by byte is not parsed
    /// byte by byte.
    fn search(&mut self) -> Result<Option<Begun>, Error> {
        let Self { carry, searched, .. } = self;
        if *searched == 0 {
            // Line breaks before a request are none of it.
            let breaks = breaks_before(carry);
            carry.drain(..breaks);
        }
        let new = &carry[searched.saturating_sub(3)..];
        let worth_it = *searched == 0 || head::may_end(new);
        if carry.len() > *searched
            && worth_it
            && let Some(begun) = Begun::read(carry)?
        {
            carry.drain(..begun.taken);
            carry.shrink_to(0);
            return Ok(Some(begun));
        }
        if carry.len() >= MAX_HEAD {
            return Err(Error::TooLarge);
        }
        *searched = carry.len();
        Ok(None)
    }

    /// Whether a head has begun that is not yet whole.
    pub(super) fn has_begun(&self) -> bool {
        self.carry.iter().any(|byte| !b"\r\n".contains(byte))
    }

    fn begin(&mut self, this: &Arc<Mutex<Self>>, begun: Begun) -> Request<Incoming> {
        let Begun { parts, body, whole, .. } = begun;
        self.searched = 0;
        self.expects = !body.is_over() && expects_continue(&parts.headers);
        self.body = body;
        let source =
            whole.map_or_else(|| Source::Coming(Arc::clone(this)), |it| Source::Whole(Unseen(it)));
        Request::from_parts(parts, Incoming(source))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.expects {
            self.expects = false;
            // Nothing else is under way to this client, so there is room for it.
            if !matches!(self.socket.as_ref().try_write(GO_ON), Ok(n) if n == GO_ON.len()) {
                return Poll::Ready(Some(Err(Error::Cut)));
            }
        }
        while !self.body.is_over() {
            let mut data = BytesMut::new();
            if self.carry.is_empty() {
                let Self { socket, carry, body, .. } = self;
                let read = scratch::poll_read(socket, cx, |bytes| {
                    if bytes.is_empty() {
                        return Err(Error::Cut);
                    }
                    data.reserve(bytes.len());
                    let taken = body.take(bytes, |piece| data.extend_from_slice(piece))?;
                    carry.extend_from_slice(&bytes[taken..]);
                    Ok(())
                });
                match ready!(read) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Err(error) => return Poll::Ready(Some(Err(error.into()))),
                }
            } else {
                data.reserve(self.carry.len());
                match self.body.take(&self.carry, |piece| data.extend_from_slice(piece)) {
                    Ok(taken) => drop(self.carry.drain(..taken)),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
                self.carry.shrink_to(0);
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(data.freeze())));
            }
        }
        Poll::Ready(None)
    }

    /// Ready when the client has gone. What it sends meanwhile is kept, so that its end is seen
    /// behind it; a client that sends very much of its next requests is not watched any more.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body.is_over() {
            let mut byte = [0];
            return match self.socket.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
                Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
                Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
            };
        }
        while self.carry.len() < MAX_HEAD {
            let Self { socket, carry, .. } = self;
            let read = scratch::poll_read(socket, cx, |bytes| {
                carry.extend_from_slice(bytes);
                bytes.len()
            });
            if !matches!(ready!(read), Ok(1..)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Whether the connection is at the end of the request; what is there already of a body that
    /// nobody wanted is thrown away.
    pub(super) fn drain(&mut self, cx: &mut Context<'_>) -> bool {
        if self.expects {
            // The client may send the body or not.
            return false;
        }
        let mut drained = 0;
        while !self.body.is_over() && drained < MAX_DRAINED {
            match self.poll_body(cx) {
                Poll::Ready(Some(Ok(data))) => drained += data.len(),
                Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
                Poll::Ready(None) => break,
            }
        }
        self.body.is_over()
    }

    /// Whether the client has sent more than was taken.
    pub(super) fn has_unread(&mut self, cx: &mut Context<'_>) -> bool {
        !self.carry.is_empty() || matches!(self.poll_discard(cx), Poll::Ready(Some(_)))
    }

    /// Throws away what still comes; `None` at the end of the connection.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.carry = Unseen::default();
        let read = ready!(scratch::poll_read(&mut self.socket, cx, <[u8]>::len));
        Poll::Ready(read.ok().filter(|read| *read > 0))
    }
}

/// The length of the line breaks at the front, as httparse passes them over in a request that comes
/// by itself (RFC 9112 section 2.2): no CR alone.
fn breaks_before(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some(next) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
        rest = next;
    }
    bytes.len() - rest.len()
}

fn expects_continue(headers: &HeaderMap) -> bool {
    let expected = headers.get(header::EXPECT);
    expected.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut **bytes)))))
            }
            Source::Coming(reader) => {
                reader.lock().poll_body(cx).map(|data| data.map(|data| data.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Coming(reader) => reader.lock().body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match &self.0 {
            Source::Whole(bytes) => Some(bytes.len() as u64),
            Source::Coming(reader) => reader.lock().body.exact(),
        };
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_before_a_request_are_those_that_httparse_passes_over() {
        for (before, passed) in [("", true), ("\n", true), ("\r\n\n\r\n", true), ("\r\r\n", false)]
        {
            let text = format!("{before}GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            let alone = Begun::read(text.as_bytes()).is_ok_and(|begun| begun.is_some());
            assert_eq!(alone, passed, "{before:?}");
            let breaks = breaks_before(text.as_bytes());
            assert_eq!(breaks == before.len(), passed, "{before:?}");
        }
        assert_eq!(breaks_before(b"\r\n\r"), 2, "what comes next may make a break of it");
    }
}
