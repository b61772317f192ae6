//! The proxy's side of the control socket.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

use super::protocol::{Failure, Reply, Request};
use crate::feed::{Begin, Feed, Watcher};

/// Callers at once; further ones wait.
const CALLERS: usize = 64;
/// A request is one short line.
const REQUEST_LIMIT: u64 = 64 << 10;
/// A caller that says nothing, or does not read, is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers what callers ask.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers every request but [`Request::Feed`] and [`Request::Follow`]; may block.
    fn answer(&self, request: Request) -> Reply;
    /// What answers those two.
    fn feed(&self) -> Feed;
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
        Ok(request) => match answer(request, handler).await? {
            Answer::Reply(reply) => reply,
            Answer::Stream(watcher) => return watch(&mut write, *watcher).await,
        },
        Err(error) => Reply::Failed(Failure {
            message: format!("the running proxy does not understand the request: {error}"),
            hint: Some("restart the proxy if kmi was updated".to_owned()),
        }),
    };
    let mut answer = serde_json::to_vec(&reply)?;
    answer.push(b'\n');
    tokio::time::timeout(PATIENCE, write.write_all(&answer)).await?
}

enum Answer {
    Reply(Reply),
    Stream(Box<Watcher>),
}

async fn answer<H: Handler>(request: Request, handler: Arc<H>) -> io::Result<Answer> {
    let (begin, pictures) = match request {
        Request::Feed { after, back } => (after.map_or(Begin::Back(back), Begin::After), true),
        Request::Follow { after } => (after.map_or(Begin::Back(0), Begin::After), false),
        request => {
            let answering = tokio::task::spawn_blocking(move || handler.answer(request));
            return answering.await.map(Answer::Reply).map_err(io::Error::other);
        }
    };
    let feed = handler.feed();
    // A watcher must not keep alive what it watches: its end is the proxy's end.
    drop(handler);
    let watching = tokio::task::spawn_blocking(move || feed.watch(begin, pictures));
    Ok(match watching.await.map_err(io::Error::other)? {
        Ok(watcher) => Answer::Stream(Box::new(watcher)),
        Err(refused) => Answer::Reply(Reply::Failed(Failure {
            message: refused.to_string(),
            hint: Some("close one of the windows that show the trace".to_owned()),
        })),
    })
}

/// Hands on what the feed tells until one side ends it.
async fn watch(write: &mut (impl AsyncWrite + Unpin), mut watcher: Watcher) -> io::Result<()> {
    while let Some(lines) = watcher.next().await {
        tokio::time::timeout(PATIENCE, write.write_all(&lines)).await??;
    }
    Ok(())
}
