//! HTTP/1.1 on the wire, for clients and upstreams alike.
//!
//! Heads are parsed by `httparse`, which hyper uses too; what is here is the framing of bodies and
//! the reading and writing around it. A library's connection would keep two read buffers and two
//! write buffers for each stream that is under way; here all connections of a thread share one
//! ([`scratch`]), what one read brought is handed on by one write, and a connection has no task
//! beside the request that uses it. That is the difference between 29 and 5 KiB for an open
//! stream (`docs/performance.md`).
//!
//! Nothing is ever passed on as it came: heads and chunks are read, and written anew. What has two
//! meanings is an error; what may come is in `tests/edge`.

mod client;
mod framing;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod head;
mod incoming;
mod out;
mod payload;
mod scratch;
mod server;
mod unseen;
mod watchdog;

pub(crate) use self::{
    client::{Connection, Failed},
    incoming::Incoming,
    server::{Limits, serve},
};

/// Longest head, in bytes, that is read.
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// Header lines that a head may have.
const MAX_LINES: usize = 100;

/// Why a message could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// It breaks the rules.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its head is too long.
    #[error("its head is too large")]
    TooLarge,
    /// The connection ended first.
    #[error("the connection ended before the message did")]
    Cut,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
}
