//! Both ends of a connection, for fuzzing: a real socket to kmi, and a made-up one to an upstream.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    runtime::{Builder, Runtime},
};

use crate::h1::{Incoming, Limits, serve};

/// Nothing here takes time, so whatever waits, waits for ever.
const NEVER: Duration = Duration::from_hours(1);
const LIMITS: Limits = Limits { head: NEVER, idle: NEVER, stall: NEVER };

thread_local!(static RUNTIME: Runtime =
    Builder::new_current_thread().enable_all().build().expect("a runtime"));

/// What a client reads that sends `bytes` in pieces of `size` and then ends its side.
pub(super) fn talk<S, F, B>(bytes: &[u8], size: usize, service: S) -> Vec<u8>
where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
{
    let talking = async {
        let (client, server) = UnixStream::pair().expect("a pair of sockets");
        let (mut reading, mut writing) = tcp(client).into_split();
        let sending = async move {
            for piece in bytes.chunks(size) {
                if writing.write_all(piece).await.is_err() {
                    break;
                }
                // So that it is read by itself.
                tokio::task::yield_now().await;
            }
            // An error: kmi has closed first.
            let _ = writing.shutdown().await;
            writing.forget();
        };
        let mut answers = Vec::new();
        let reading = reading.read_to_end(&mut answers);
        let serving = serve(tcp(server), LIMITS, pending(), service);
        let ((), (), read) = tokio::join!(serving, sending, reading);
        drop(read);
        answers
    };
    RUNTIME.with(|runtime| runtime.block_on(talking))
}

/// Reading, writing and peeking are the same for both kinds of sockets, and a pair needs no ports.
fn tcp(socket: UnixStream) -> TcpStream {
    socket.set_nonblocking(true).expect("a socket");
    TcpStream::from_std(OwnedFd::from(socket).into()).expect("a runtime")
}

/// An upstream: takes whatever comes, and answers in pieces once it may.
#[derive(Debug, Default)]
pub(super) struct Upstream<'a> {
    /// What was written to it.
    pub(super) written: Rc<RefCell<Vec<u8>>>,
    /// Whether it answers.
    pub(super) answers: Rc<Cell<bool>>,
    answer: &'a [u8],
    size: usize,
}

impl<'a> Upstream<'a> {
    /// It answers with `answer`, in pieces of `size`.
    pub(super) fn new(answer: &'a [u8], size: usize) -> Self {
        Self { answer, size, ..Self::default() }
    }
}

impl AsyncRead for Upstream<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.answers.get() {
            // Whoever lets it answer goes on by itself.
            return Poll::Pending;
        }
        let size = self.size.min(self.answer.len()).min(buffer.remaining());
        let (piece, rest) = self.answer.split_at(size);
        buffer.put_slice(piece);
        self.answer = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upstream<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
