//! The caller's side: blocking, so that a command needs no async runtime.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::protocol::{Reply, Request};

/// How long a call may take that is answered from memory.
const PATIENCE: Duration = Duration::from_secs(10);
/// As [`PATIENCE`], of one that asks providers, runs `api_key_cmd` programs or starts a successor.
const LONG_PATIENCE: Duration = Duration::from_mins(1);

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
    /// The proxy (its process, where the system tells) let the time pass: it hangs, or was stopped
    /// by SIGSTOP. Whether it will still do what it was asked is not known.
    #[error("the running proxy{} does not answer", process(*.0))]
    Silent(Option<i32>),
    /// The connection broke.
    #[error("the running proxy cannot be asked")]
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
    let patience = match request {
        Request::KeysChanged | Request::Reload | Request::Test { .. } | Request::HandOver => {
            LONG_PATIENCE
        }
        _ => PATIENCE,
    };
    call_within(patience, socket, request)
}

fn call_within(patience: Duration, socket: &Path, request: &Request) -> Result<Reply, CallError> {
    let stream = connect(socket, request)?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = String::new();
    let read = BufReader::new(&stream).read_line(&mut line);
    if read.map_err(|error| told_nothing(&stream, error))? == 0 {
        return Err(CallError::Gone);
    }
    Ok(serde_json::from_str(&line)?)
}

fn told_nothing(stream: &UnixStream, error: io::Error) -> CallError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            let listener = rustix::net::sockopt::socket_peercred(stream);
            CallError::Silent(listener.ok().map(|it| it.pid.as_raw_nonzero().get()))
        }
        _ => error.into(),
    }
}

fn process(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
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
    stream.write_all(&line).map_err(|error| told_nothing(&stream, error))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn who_hangs_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("kmi.sock");
        // The system takes the call, and nobody answers.
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = call_within(Duration::from_millis(1), &socket, &Request::Status).unwrap_err();
        let told = format!("the running proxy (process {}) does not answer", std::process::id());
        assert_eq!(error.to_string(), told);
    }
}
