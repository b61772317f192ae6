//! A long way to the upstream: a relay that holds back every byte for as long as a far network
//! would, in both directions.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

/// Pieces that are on their way at once, at most.
const UNDER_WAY: usize = 1024;

/// The relay; it ends when it is dropped.
#[derive(Debug)]
pub struct DelayRelay {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl DelayRelay {
    /// Starts before `target`; every byte takes `one_way`. The system completes a TCP handshake
    /// on its own and at once, so a connection's first bytes wait for the round trip that it would
    /// have taken.
    pub async fn start(target: SocketAddr, one_way: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(relay(near, target, one_way));
            }
        });
        Ok(Self { address, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for DelayRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(near: TcpStream, target: SocketAddr, one_way: Duration) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    sleep(one_way * 2).await;
    let far = TcpStream::connect(target).await?;
    far.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (there, back) =
        tokio::join!(delayed(near_in, far_out, one_way), delayed(far_in, near_out, one_way));
    there.and(back)
}

/// Passes everything on, each piece `by` later than it came.
async fn delayed(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    by: Duration,
) -> std::io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let reading = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now() + by, buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::join!(reading, writing).1
}
