//! The caller's side: blocking, so that a command needs no async runtime.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::protocol::{Reply, Request};

/// How long a call may take; a reload may run `api_key_cmd` programs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No proxy runs on this home.
    #[error("no proxy runs on this home")]
    NotRunning,
    /// The proxy ended before it answered; whether it did what it was asked is not known.
    #[error("the running proxy ended before it answered")]
    Gone,
    /// The connection broke.
    #[error("the running proxy does not answer")]
    Io(#[source] io::Error),
    /// What came was no answer: another version of kmi?
    #[error("the running proxy gives an answer that this version does not understand")]
    Answer(#[from] serde_json::Error),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionReset | UnexpectedEof => Self::Gone,
            _ => Self::Io(error),
        }
    }
}

/// Calls the running proxy and waits for its answer.
pub fn call(socket: &Path, request: &Request) -> Result<Reply, CallError> {
    let stream = connect(socket, request)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    if BufReader::new(stream).read_line(&mut line)? == 0 {
        return Err(CallError::Gone);
    }
    Ok(serde_json::from_str(&line)?)
}

pub(super) fn connect(socket: &Path, request: &Request) -> Result<UnixStream, CallError> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        // A socket file that nobody listens on is left from a process that was killed.
        // Nobody can listen where the path is too long for a socket (invalid input).
        io::ErrorKind::NotFound
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::InvalidInput => CallError::NotRunning,
        _ => CallError::Io(error),
    })?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(stream)
}
