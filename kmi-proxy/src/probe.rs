//! Whether a kmi serves at an address: one short request, which it refuses as only kmi does.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use memchr::memmem;

use crate::rotor::reachable;

/// How long connecting and the answer may take, each.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends a request without a token, which goes nowhere; `false` when something else answers.
///
/// # Errors
/// When nobody answers in time.
pub fn is_kmi(address: SocketAddr, base_path: &str) -> io::Result<bool> {
    let host = reachable(address);
    let mut stream = TcpStream::connect_timeout(&host, PATIENCE)?;
    let asked = Instant::now();
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!("GET {base_path}/v1/ HTTP/1.1\r\nhost: {host}\r\n");
    // In one piece: whoever answers and closes after a part of it would reset the connection.
    stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while answer.len() < piece.len() && asked.elapsed() < PATIENCE {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            // Something answers, and keeps the connection.
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(memmem::find(&answer, b"\r\nx-kmi-error: token_required\r\n").is_some())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Asks a listener that gives this answer to its one caller.
    fn asked(answer: &'static str) -> (io::Result<bool>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        let said = is_kmi(address, "/kmi-rotor");
        (said, server.join().unwrap().replace(&address.to_string(), "HOST"))
    }

    #[test]
    fn only_kmi_asks_for_its_token() {
        let (said, request) = asked("HTTP/1.1 401 -\r\nx-kmi-error: token_required\r\n\r\n{}");
        assert!(said.unwrap());
        assert!(request.starts_with("GET /kmi-rotor/v1/ HTTP/1.1\r\nhost: HOST\r\n"), "{request}");
        for other in ["HTTP/1.1 401 -\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "SSH-2.0-x\r\n", ""] {
            assert!(!asked(other).0.unwrap(), "{other}");
        }
    }

    #[test]
    fn nobody_is_an_error() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(is_kmi(free, "/kmi-rotor").is_err());
    }
}
