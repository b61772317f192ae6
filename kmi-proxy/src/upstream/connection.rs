//! What a connection to an upstream runs over.

use std::fmt::Debug;

use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{body::Outgoing, h1};

/// TCP, or TLS over it.
pub(super) trait Socket: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Debug + Send + Unpin> Socket for S {}

/// In a box, as it changes hands several times a request; each in one of its own size, as the state
/// of TLS is a hundred times as large as a socket.
pub(super) type Stream = Box<dyn Socket>;

/// A connection to an upstream.
pub(super) type Connection = h1::Connection<Stream, Outgoing>;

/// What was connected, without the layers that differ between the two.
pub(super) fn stream(connected: MaybeHttpsStream<TokioIo<TcpStream>>) -> Stream {
    match connected {
        MaybeHttpsStream::Http(tcp) => Box::new(tcp.into_inner()),
        tls @ MaybeHttpsStream::Https(_) => Box::new(TokioIo::new(tls)),
    }
}
