//! The one read buffer of each thread: who reads takes what came out of it at once, so that a
//! connection that waits holds no buffer.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    task::coop::unconstrained,
};

/// What one read takes at most.
pub(super) const SIZE: usize = 64 << 10;

thread_local!(static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SIZE]));

/// Reads once and hands what came to `take`: nothing at the end of the stream.
///
/// Not `try_read`: `poll_read` knows that a short read has emptied the socket, and spares the
/// system call that would only say so.
pub(super) fn poll_read<R: AsyncRead + Unpin, T>(
    from: &mut R,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    })
}

/// Asks what is there now, where no answer is one too: tokio says "nothing yet" to a task that has
/// done much without a pause, and an ended connection would be taken for a quiet one.
pub(super) fn ask<T>(
    cx: &mut Context<'_>,
    poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    pin!(unconstrained(poll_fn(poll))).poll(cx)
}
