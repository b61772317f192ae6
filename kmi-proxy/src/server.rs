//! Listening, accepting, and stopping in phases: no new connections, running requests end, what
//! is left is ended visibly.
//!
//! Where the listener is handed over to another program, nobody is refused in between: new
//! connections wait in the listener, and clients are told to open one before theirs is closed.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, header};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use crate::{gate::Names, h1, proxy::Proxy, service};

/// How long accepting rests after an error such as "too many open files".
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Before the listener is handed over: how long a kept connection still answers one more request,
/// with the word that it is the last one. A client that was just about to send it gets its answer.
const FAREWELL: Duration = Duration::from_millis(300);

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    proxy: Arc<Proxy>,
    listener: TcpListener,
    names: Arc<Names>,
}

/// What a server is told to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// To serve.
    #[default]
    Serve,
    /// To let running requests end, and to end.
    Stop,
    /// The same, but with the listener left open for whoever comes next.
    HandOver,
}

/// Gives a server its orders; dropping it is one to stop.
pub type Orders = watch::Sender<Order>;

impl Server {
    /// Binds the configured address, or takes a listener that was handed over.
    ///
    /// # Errors
    /// As the system says, such as "address in use"; and where the listener that was handed over
    /// is open to other machines though the settings do not allow it.
    pub async fn bind(proxy: Arc<Proxy>, given: Option<StdListener>) -> io::Result<Self> {
        let settings = proxy.live().settings.proxy.clone();
        let listener = match given {
            Some(given) => {
                given.set_nonblocking(true)?;
                TcpListener::from_std(given)?
            }
            None => TcpListener::bind(settings.listen).await?,
        };
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() && !settings.allow_remote {
            return Err(io::Error::other(format!(
                "{address} is open to other machines, and proxy.allow_remote is not set"
            )));
        }
        let remote = (!address.ip().is_loopback() && settings.allow_remote).then_some(address.ip());
        Ok(Self { proxy, listener, names: Arc::new(Names::new(address.port(), remote)) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is told otherwise, then lets running requests end for as long as the
    /// settings allow. Gives the listener back when it is to be handed over.
    pub async fn run(self, mut orders: watch::Receiver<Order>) -> Option<StdListener> {
        let limit = self.proxy.live().settings.proxy.max_connections;
        let permits = Arc::new(Semaphore::new(limit));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &permits) => accepted,
                _ = orders.changed() => break,
            };
            // Ended connections are taken out as new ones come.
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, permit)) => {
                    let serving = self.connection(stream, permit, orders.clone());
                    connections.spawn(serving);
                }
                // A connection that was reset before it was accepted, or no file descriptors left.
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            }
        }
        let handed_over = *orders.borrow() == Order::HandOver;
        let listener = handed_over.then_some(self.listener);
        // A page that stays open must not hold up the end.
        self.proxy.feed.end();
        let drain = self.proxy.live().settings.proxy.drain_timeout;
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, drained).await.is_err() {
            self.proxy.phase().end();
            connections.shutdown().await;
        }
        listener?.into_std().ok()
    }

    fn connection(
        &self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        mut orders: watch::Receiver<Order>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (proxy, names) = (Arc::clone(&self.proxy), Arc::clone(&self.names));
        let settings = &self.proxy.live().settings.proxy;
        let limits = h1::Limits {
            head: settings.head_timeout,
            idle: settings.idle_timeout,
            stall: settings.stall_timeout,
        };
        async move {
            let _permit = permit;
            let service = |request| {
                let (proxy, names) = (Arc::clone(&proxy), Arc::clone(&names));
                // Called in here: a future that is captured would take its room twice.
                async move {
                    let mut answer = service::serve(&proxy, &names, request).await;
                    if proxy.phase().is_leaving() {
                        let close = HeaderValue::from_static("close");
                        answer.headers_mut().insert(header::CONNECTION, close);
                    }
                    answer
                }
            };
            let stopped = async {
                let _ = orders.changed().await;
                let handed_over = *orders.borrow() == Order::HandOver;
                if handed_over {
                    tokio::time::sleep(FAREWELL).await;
                }
            };
            h1::serve(stream, limits, stopped, service).await;
        }
    }
}

/// A connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Without it a stream's small pieces wait for each other.
    let _ = stream.set_nodelay(true);
    Ok((stream, permit))
}
