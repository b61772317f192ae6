//! The client's socket, watched for three things that hyper keeps to itself.
//!
//! A head with both Content-Length and Transfer-Encoding: hyper drops the length. A target with a
//! fragment: hyper drops that. Clients that send one request after the other are seen exactly. Of
//! pipelined requests only the first is; the others get hyper's treatment, which is safe: the
//! connection ends after the answer, or the target goes on without the fragment.
//!
//! A client that has gone: hyper does not look while it holds bytes of a further request, be it
//! one line break too many, and the upstream would work on for nobody.
//!
//! And for two that hyper has no clock for: a head that comes in drops, and an answer that nobody
//! reads.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use memchr::memmem;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use crate::{gate::MAX_HEAD, settings::ProxySettings};

const END: &[u8] = b"\r\n\r\n";
/// A larger buffer is not kept for the connection's next request.
const KEPT: usize = 4 << 10;

/// The head of the request that a connection serves.
#[derive(Debug, Default)]
pub(crate) struct HeadTap(Mutex<Head>);

#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    complete: bool,
}

impl HeadTap {
    /// Whether a line of the head is a Content-Length.
    pub(crate) fn names_length(&self) -> bool {
        let head = self.0.lock();
        let lines = head.bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.take_while(|line| !line.is_empty()).any(|line| {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"content-length")
        })
    }

    /// Whether the request line has a `#`.
    pub(crate) fn has_fragment(&self) -> bool {
        let head = self.0.lock();
        // An empty line may stand before it.
        let line = head.bytes.trim_ascii_start().split(|byte| *byte == b'\n').next();
        memchr::memchr(b'#', line.unwrap_or_default()).is_some()
    }

    /// Whether a head has begun that is not yet whole. Line breaks between requests are none.
    fn is_open(&self) -> bool {
        let head = self.0.lock();
        !head.complete && !head.bytes.trim_ascii().is_empty()
    }

    fn read(&self, bytes: &[u8]) {
        let mut head = self.0.lock();
        let room = MAX_HEAD - head.bytes.len();
        if head.complete || room == 0 {
            return;
        }
        // The end may be split over two reads.
        let searched = head.bytes.len().saturating_sub(END.len() - 1);
        let end = memmem::find(bytes, END).map_or(bytes.len(), |at| at + END.len());
        head.bytes.extend_from_slice(&bytes[..end.min(room)]);
        head.complete = memmem::find(&head.bytes[searched..], END).is_some();
    }

    /// An answer is being written: what is read from now on is another head.
    fn written(&self) {
        let mut head = self.0.lock();
        head.complete = false;
        head.bytes.clear();
        head.bytes.shrink_to(KEPT);
    }
}

/// A client's socket.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    socket: TcpStream,
    tap: Arc<HeadTap>,
    /// Runs while a head is begun and not whole.
    head: Deadline,
    /// Runs while the client does not read.
    stall: Deadline,
}

/// A limit, whose clock runs from the first wait until it is cleared.
#[derive(Debug)]
struct Deadline {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    fn poll<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn clear(&mut self) {
        self.timer = None;
    }

    /// The result of a write; an error where it has waited for too long.
    fn over<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() {
            return self.poll(cx);
        }
        self.clear();
        written
    }
}

impl ClientSocket {
    pub(crate) fn new(socket: TcpStream, settings: &ProxySettings) -> (Self, Arc<HeadTap>) {
        let tap = Arc::<HeadTap>::default();
        let (head, stall) = (settings.head_timeout, settings.stall_timeout);
        let (head, stall) = (Deadline::new(head), Deadline::new(stall));
        (Self { socket, tap: Arc::clone(&tap), head, stall }, tap)
    }

    /// An error once the client has closed its side and everything it sent was read. Costs a
    /// system call only when something has happened on the socket.
    fn still_there(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut byte = [0];
        match self.socket.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) {
            self.tap.read(&buf.filled()[before..]);
        }
        if !self.tap.is_open() {
            self.head.clear();
        } else if read.is_pending() {
            return self.head.poll(cx);
        }
        read
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tap.written();
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.stall.over(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes whenever it has been woken, so this is where it hears of a client's end.
        self.still_there(cx)?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tap.written();
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.stall.over(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_length(reads: &[&str]) -> bool {
        let tap = HeadTap::default();
        for bytes in reads {
            tap.read(bytes.as_bytes());
        }
        tap.names_length()
    }

    #[test]
    fn a_length_is_seen_however_it_comes() {
        assert!(names_length(&["POST / HTTP/1.1\r\nCONTENT-length: 5\r\n\r\n"]));
        assert!(names_length(&["POST / HTTP/1.1\r\nConte", "nt-Length:5\r\n\r", "\n"]));
        assert!(names_length(&["POST / HTTP/1.1\nContent-Length: 5\n\n"]));
        assert!(!names_length(&["POST / HTTP/1.1\r\nX-Content-Length: 5\r\n\r\n"]));
    }

    #[test]
    fn a_fragment_is_seen_in_the_request_line_only() {
        let has = |head: &str| {
            let tap = HeadTap::default();
            tap.read(head.as_bytes());
            tap.has_fragment()
        };
        assert!(has("GET /a#b HTTP/1.1\r\n\r\n"));
        assert!(has("\r\nGET /a?b#c HTTP/1.1\r\n\r\n"));
        assert!(!has("GET /a HTTP/1.1\r\nX: #1\r\n\r\n"));
    }

    #[test]
    fn bodies_are_not_heads() {
        let body = "content-length: 5\r\n";
        assert!(!names_length(&["POST / HTTP/1.1\r\nHost: x\r\n\r\n", body]));
        assert!(!names_length(&[&format!("POST / HTTP/1.1\r\nHost: x\r\n\r\n{body}")]));
        assert!(!names_length(&["POST / HTTP/1.1\r\nHost: x\r\n\r", &format!("\n{body}")]));
    }

    #[test]
    fn every_answer_begins_anew_and_the_memory_is_bounded() {
        let tap = HeadTap::default();
        tap.read(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n");
        tap.written();
        tap.read(b"POST / HTTP/1.1\r\n\r\n");
        assert!(!tap.names_length());
        tap.written();
        for _ in 0..100 {
            tap.read(&[b'a'; 1000]);
        }
        assert_eq!(tap.0.lock().bytes.len(), MAX_HEAD);
        tap.written();
        assert!(tap.0.lock().bytes.capacity() <= KEPT);
    }
}
