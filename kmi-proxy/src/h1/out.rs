//! What is written next to a connection: by one system call, where the other side keeps up.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::{head, unseen::Unseen};

/// A piece of a body up to this size is copied behind what stands before it.
const COPIED: usize = 4 << 10;

/// What is written next: bytes of kmi's own, then a large piece, then what stands behind it.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) bytes: Unseen<Vec<u8>>,
    data: Unseen<Bytes>,
    tail: &'static [u8],
    /// Bytes of all that are written.
    done: usize,
}

impl Out {
    pub(super) fn is_empty(&self) -> bool {
        self.done == self.bytes.len() + self.data.len() + self.tail.len()
    }

    /// Gives the memory back: the next piece may come much later.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a piece of a body, with its framing; there is none yet.
    pub(super) fn add(&mut self, data: Bytes, chunk: bool) {
        if data.is_empty() {
            return;
        }
        if chunk {
            head::write_chunk_size(data.len(), &mut self.bytes);
        }
        let tail: &[u8] = if chunk { b"\r\n" } else { b"" };
        if data.len() <= COPIED {
            self.bytes.extend_from_slice(&data);
            self.bytes.extend_from_slice(tail);
        } else {
            (self.data, self.tail) = (Unseen(data), tail);
        }
    }

    pub(super) fn add_last_chunk(&mut self) {
        if self.data.is_empty() {
            self.bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            self.tail = b"\r\n0\r\n\r\n";
        }
    }

    /// Writes what it can; the number of bytes.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let written = if self.data.is_empty() {
            // Then there is no tail either.
            ready!(Pin::new(writer).poll_write(cx, &self.bytes[self.done..]))?
        } else {
            let mut slices = [&self.bytes[..], &self.data, self.tail].map(io::IoSlice::new);
            let mut left = &mut slices[..];
            io::IoSlice::advance_slices(&mut left, self.done);
            ready!(Pin::new(writer).poll_write_vectored(cx, left))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.done += written;
        Poll::Ready(Ok(written))
    }
}
