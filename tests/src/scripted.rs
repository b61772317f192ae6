//! An upstream that answers with exactly the bytes it is given, however wrong they are.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What is done with one request.
#[derive(Debug, Clone)]
pub struct Step {
    bytes: Vec<u8>,
    at_once: bool,
    close: bool,
}

/// Answers as soon as the request's head is there, and keeps the connection.
pub fn at_once(bytes: impl Into<Vec<u8>>) -> Step {
    Step { bytes: bytes.into(), at_once: true, close: false }
}

/// Answers and closes.
pub fn then_close(bytes: impl Into<Vec<u8>>) -> Step {
    Step { bytes: bytes.into(), at_once: false, close: true }
}

/// Answers and keeps the connection.
pub fn then_keep(bytes: impl Into<Vec<u8>>) -> Step {
    Step { bytes: bytes.into(), at_once: false, close: false }
}

/// An upstream that plays steps: the first for the first request, and so on; the last one again
/// and again.
#[derive(Debug)]
pub struct Scripted {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Scripted {
    /// Starts.
    pub async fn start(steps: Vec<Step>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (requests, connections) = (Arc::<AtomicUsize>::default(), Arc::default());
        let (counted, accepted) = (Arc::clone(&requests), Arc::clone(&connections));
        let accepting = tokio::spawn(async move {
            let steps = Arc::new(steps);
            while let Ok((stream, _)) = listener.accept().await {
                AtomicUsize::fetch_add(&accepted, 1, Ordering::SeqCst);
                tokio::spawn(play(stream, Arc::clone(&steps), Arc::clone(&counted)));
            }
        });
        Ok(Self { address, requests, connections, accepting })
    }

    /// Its base URL.
    pub fn base_url(&self) -> String {
        format!("http://{}/coding/v1", self.address)
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn play(mut stream: TcpStream, steps: Arc<Vec<Step>>, requests: Arc<AtomicUsize>) {
    let mut read = Vec::new();
    while let Some((head, whole)) = next_request(&mut stream, &mut read).await {
        let number = requests.fetch_add(1, Ordering::SeqCst);
        let Some(step) = steps.get(number).or(steps.last()) else { return };
        if step.at_once && stream.write_all(&step.bytes).await.is_err() {
            return;
        }
        while read.len() < head + whole {
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                return;
            }
        }
        read.drain(..head + whole);
        if !step.at_once && stream.write_all(&step.bytes).await.is_err() || step.close {
            return;
        }
    }
}

/// Reads a request's head and gives its length and that of its body; `None` at the connection's
/// end.
async fn next_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<(usize, usize)> {
    loop {
        if let Some(head) = read.windows(4).position(|part| part == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
            let length = text.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            return Some((head + 4, length.unwrap_or(0)));
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}
