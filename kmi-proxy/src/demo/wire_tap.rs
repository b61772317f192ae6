//! The socket below hyper: it keeps each request's head as it was on the wire (hyper forgets the
//! case of names) and can turn the connection's end into a reset.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Longer heads are not kept; hyper refuses them anyway.
const HEAD_LIMIT: usize = 256 << 10;

/// What the service shares with the socket that its request came on.
#[derive(Debug, Default)]
pub(super) struct Wire {
    head: Mutex<Head>,
    reset: AtomicBool,
}

#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    complete: bool,
}

impl Wire {
    /// The head of the request that is being served; empty where it was not seen on its own (a
    /// pipelined request).
    pub(super) fn take_head(&self) -> Bytes {
        let mut head = self.head.lock();
        if head.complete { std::mem::take(&mut head.bytes).into() } else { Bytes::new() }
    }

    /// The body was read to its end: what comes next is a head again.
    pub(super) fn expect_head(&self) {
        *self.head.lock() = Head::default();
    }

    /// Lets the connection end with a reset instead of a close.
    pub(super) fn reset_at_end(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    fn saw(&self, bytes: &[u8]) {
        let mut head = self.head.lock();
        if head.complete || head.bytes.len() + bytes.len() > HEAD_LIMIT {
            return;
        }
        let searched = head.bytes.len().saturating_sub(3);
        head.bytes.extend_from_slice(bytes);
        if let Some(at) = head.bytes[searched..].windows(4).position(|w| w == b"\r\n\r\n") {
            head.bytes.truncate(searched + at + 4);
            head.complete = true;
        }
    }
}

/// A connection whose reads are seen by a [`Wire`].
#[derive(Debug)]
pub(super) struct WireTap {
    stream: TcpStream,
    wire: Arc<Wire>,
}

impl WireTap {
    pub(super) fn new(stream: TcpStream) -> (Self, Arc<Wire>) {
        let wire = Arc::new(Wire::default());
        (Self { stream, wire: Arc::clone(&wire) }, wire)
    }
}

impl Drop for WireTap {
    fn drop(&mut self) {
        if self.wire.reset.load(Ordering::Relaxed) {
            // A socket that is gone already needs no reset.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for WireTap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) {
            self.wire.saw(&buf.filled()[before..]);
        }
        read
    }
}

impl AsyncWrite for WireTap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.reset.load(Ordering::Relaxed) {
            // A clean end would arrive before the reset.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
