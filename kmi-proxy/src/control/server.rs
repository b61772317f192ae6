//! The proxy's side of the control socket.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

use super::protocol::{Failure, Reply, Request};
use crate::ledger::{Live, Reader, Subscription};

/// Callers at once; further ones wait.
const CALLERS: usize = 64;
/// A request is one short line.
const REQUEST_LIMIT: u64 = 64 << 10;
/// A caller that says nothing, or does not read, is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far back a follower may begin, in lines.
const REPLAY_LIMIT: u64 = 100_000;

/// Answers what callers ask.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers every request but [`Request::Follow`]; may block.
    fn answer(&self, request: Request) -> Reply;
    /// Committed lines from now on.
    fn subscribe(&self) -> Subscription;
    /// A reader of the lines before.
    fn reader(&self) -> Option<Reader>;
}

/// A bound control socket; its file goes away with it.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket. Whoever does so holds the state directory's lock, so a file that is
    /// there was left by a process that was killed.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        // The directory is 0700 already; this is for those who move the socket elsewhere.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves callers until it is dropped.
    pub(crate) async fn run<H: Handler>(self, handler: Arc<H>) {
        let permits = Arc::new(Semaphore::new(CALLERS));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let handler = Arc::clone(&handler);
            tokio::spawn(async move {
                let _permit = permit;
                // A caller that goes away in the middle of its call is no concern of the proxy.
                let _ = serve(stream, handler).await;
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn serve<H: Handler>(stream: UnixStream, handler: Arc<H>) -> io::Result<()> {
    if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(REQUEST_LIMIT));
    tokio::time::timeout(PATIENCE, read.read_line(&mut line)).await??;
    let reply = match serde_json::from_str(&line) {
        Ok(Request::Follow { after }) => {
            let (subscription, reader) = (handler.subscribe(), handler.reader());
            // A follower must not keep alive what it follows: its end is the proxy's end.
            drop(handler);
            return follow(&mut write, after, reader, subscription).await;
        }
        Ok(request) => {
            let answering = tokio::task::spawn_blocking(move || handler.answer(request));
            answering.await.map_err(io::Error::other)?
        }
        Err(error) => Reply::Failed(Failure {
            message: format!("the running proxy does not understand the request: {error}"),
            hint: Some("restart the proxy if kmi was updated".to_owned()),
        }),
    };
    let mut answer = serde_json::to_vec(&reply)?;
    answer.push(b'\n');
    tokio::time::timeout(PATIENCE, write.write_all(&answer)).await?
}

/// Lines from the ledger first, then those that are committed; each once.
async fn follow(
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
    after: Option<u64>,
    reader: Option<Reader>,
    mut subscription: Subscription,
) -> io::Result<()> {
    let mut last = 0;
    if let (Some(after), Some(reader)) = (after, reader) {
        let older = tokio::task::spawn_blocking(move || older(&reader, after)).await;
        for (seq, text) in older.map_err(io::Error::other)? {
            last = seq;
            send(write, &text).await?;
        }
    }
    while let Some(live) = subscription.recv().await {
        match live {
            Live::Line(line) if line.seq > last => send(write, &line.text).await?,
            Live::Line(_) => {}
            Live::Missed(lines) => {
                send(write, &format!("{{\"type\":\"missed\",\"lines\":{lines}}}")).await?;
            }
        }
    }
    Ok(())
}

fn older(reader: &Reader, after: u64) -> Vec<(u64, String)> {
    let Ok(Some((_, newest))) = reader.span() else { return Vec::new() };
    let from = after.saturating_add(1).max(newest.saturating_sub(REPLAY_LIMIT));
    reader.lines(from, newest).map_while(Result::ok).map(|line| (line.seq, line.text)).collect()
}

async fn send(write: &mut (impl tokio::io::AsyncWrite + Unpin), text: &str) -> io::Result<()> {
    let line = async {
        write.write_all(text.as_bytes()).await?;
        write.write_all(b"\n").await
    };
    tokio::time::timeout(PATIENCE, line).await?
}
