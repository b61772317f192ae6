//! The reading side of a client's connection: heads, and bodies for whoever answers them.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, header, request::Parts};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, ReadBuf},
    net::tcp::OwnedReadHalf,
};

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

    /// Adds to `out` what one read brings of the body; `None` at its end.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut BytesMut,
    ) -> Poll<Option<Result<(), Error>>> {
        if self.expects {
            self.expects = false;
            // Nothing else is under way to this client, so there is room for it.
            if !matches!(self.socket.as_ref().try_write(GO_ON), Ok(n) if n == GO_ON.len()) {
                return Poll::Ready(Some(Err(Error::Cut)));
            }
        }
        let before = out.len();
        while !self.body.is_over() {
            if let Err(error) = ready!(self.poll_some(cx, out)) {
                return Poll::Ready(Some(Err(error)));
            }
            if out.len() > before {
                return Poll::Ready(Some(Ok(())));
            }
        }
        Poll::Ready(None)
    }

    /// As [`Self::poll_body`], but what was read may all have been framing.
    fn poll_some(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<Result<(), Error>> {
        let Self { socket, carry, body, .. } = self;
        if !carry.is_empty() {
            out.reserve(carry.len());
            let taken = body.take(carry, |piece| out.extend_from_slice(piece))?;
            carry.drain(..taken);
            carry.shrink_to(0);
            return Poll::Ready(Ok(()));
        }
        if let Payload::Length(left) = body {
            // Its end is known, so it is read straight into its place.
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            if out.capacity() == out.len() {
                out.reserve(most.min(scratch::SIZE));
            }
            let mut place = out.limit(most);
            let read = ready!(pin!(socket.read_buf(&mut place)).poll(cx))?;
            *left -= read as u64;
            return Poll::Ready(if read == 0 { Err(Error::Cut) } else { Ok(()) });
        }
        ready!(scratch::poll_read(socket, cx, |bytes| {
            if bytes.is_empty() {
                return Err(Error::Cut);
            }
            out.reserve(bytes.len());
            let taken = body.take(bytes, |piece| out.extend_from_slice(piece))?;
            carry.extend_from_slice(&bytes[taken..]);
            Ok(())
        }))?
        .into()
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
            let mut thrown_away = BytesMut::new();
            match scratch::ask(cx, |cx| self.poll_body(cx, &mut thrown_away)) {
                Poll::Ready(Some(Ok(()))) => drained += thrown_away.len(),
                Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
                Poll::Ready(None) => break,
            }
        }
        self.body.is_over()
    }

    /// Whether the client has sent more than was taken.
    pub(super) fn has_unread(&mut self, cx: &mut Context<'_>) -> bool {
        !self.carry.is_empty()
            || matches!(scratch::ask(cx, |cx| self.poll_discard(cx)), Poll::Ready(Some(_)))
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

impl Incoming {
    /// The whole body, where it came with its head and was not taken yet.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Source::Whole(bytes) if !bytes.is_empty() => Some(std::mem::take(&mut **bytes)),
            Source::Whole(_) | Source::Coming(_) => None,
        }
    }

    /// As [`Body::poll_frame`], but adds to `out`: a long body is read straight into its place.
    pub(crate) fn poll_into(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut BytesMut,
    ) -> Poll<Option<Result<(), Error>>> {
        match &mut self.0 {
            Source::Coming(reader) => reader.lock().poll_body(cx, out),
            Source::Whole(_) => Poll::Ready(self.take_whole().map(|whole| {
                out.extend_from_slice(&whole);
                Ok(())
            })),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Source::Whole(_) => Poll::Ready(self.take_whole().map(|whole| Ok(Frame::data(whole)))),
            Source::Coming(reader) => {
                let mut data = BytesMut::new();
                let polled = ready!(reader.lock().poll_body(cx, &mut data));
                Poll::Ready(polled.map(|read| read.map(|()| Frame::data(data.freeze()))))
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
