//! A bad line between kmi and its upstream: what comes back can be late, cut, reset or stuck.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use crate::eventually;

/// What happens to the bytes that come back, connection by connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fault {
    /// Each piece comes so much later.
    pub latency: Duration,
    /// What happens after so many bytes.
    pub after: Option<(u64, Trouble)>,
}

/// What a line can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It ends, in order.
    Cut,
    /// It is reset.
    Reset,
    /// Nothing comes any more, and it stays open.
    Stall,
    /// It ends in order, but still takes what is sent.
    HalfClose,
}

/// The line; it forwards to one address.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    fault: watch::Sender<Fault>,
    connections: AtomicUsize,
    open: AtomicUsize,
    back: AtomicU64,
}

impl FaultProxy {
    /// A line to an address, good until something else is asked for.
    pub async fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, state) = (listener.local_addr()?, Arc::<State>::default());
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(line(client, upstream, Arc::clone(&shared)));
            }
        });
        Ok(Self { address, state, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens from now on; connections from before are ended.
    pub async fn set(&self, fault: Fault) -> anyhow::Result<()> {
        self.state.fault.send_replace(fault);
        eventually(async || Ok(self.open() == 0)).await?;
        Ok(())
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Bytes that went back so far.
    pub fn bytes_back(&self) -> u64 {
        self.state.back.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn line(client: TcpStream, upstream: SocketAddr, state: Arc<State>) {
    let Ok(upstream) = TcpStream::connect(upstream).await else { return };
    let mut changes = state.fault.subscribe();
    let fault = *changes.borrow_and_update();
    state.open.fetch_add(1, Ordering::SeqCst);
    let (mut from_client, to_client) = client.into_split();
    let (from_upstream, mut to_upstream) = upstream.into_split();
    let forth = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_upstream).await;
    };
    let back = back(from_upstream, to_client, fault, &state);
    // The line ends with either side; the client's end is seen here.
    tokio::select! { () = forth => {}, () = back => {}, _ = changes.changed() => {} }
    state.open.fetch_sub(1, Ordering::SeqCst);
}

/// Ends when the line ends.
async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: Fault, state: &State) {
    let mut left = fault.after.map_or(u64::MAX, |(bytes, _)| bytes);
    let mut piece = vec![0; 16 << 10];
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let Ok(read @ 1..) = from.read(&mut piece[..room]).await else { return };
        tokio::time::sleep(fault.latency).await;
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
        state.back.fetch_add(read as u64, Ordering::SeqCst);
        left -= read as u64;
    }
    match fault.after.map(|(_, trouble)| trouble) {
        Some(Trouble::Reset) => {
            // Without lingering, an end is a reset.
            let _ = to.as_ref().set_zero_linger();
        }
        Some(Trouble::Stall) => std::future::pending::<()>().await,
        Some(Trouble::HalfClose) => {
            let _ = to.shutdown().await;
            std::future::pending::<()>().await;
        }
        Some(Trouble::Cut) | None => {}
    }
}
