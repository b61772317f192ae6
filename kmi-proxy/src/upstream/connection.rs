//! What a connection to an upstream runs over.

use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{body::Outgoing, h1};

/// TCP, or TLS over it; in a box, as it is large and changes hands several times a request.
pub(super) type Stream = Box<TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>>;

/// A connection to an upstream.
pub(super) type Connection = h1::Connection<Stream, Outgoing>;
