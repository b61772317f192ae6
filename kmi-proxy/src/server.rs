//! Listening, accepting, and stopping in phases: no new connections, running requests end, what
//! is left is ended visibly.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use crate::{gate::Names, h1, proxy::Proxy, service};

/// How long accepting rests after an error such as "too many open files".
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    proxy: Arc<Proxy>,
    listener: TcpListener,
    names: Arc<Names>,
}

/// Tells a server to stop; dropping it does so too.
pub type Stop = watch::Sender<()>;

impl Server {
    /// Binds the configured address.
    ///
    /// # Errors
    /// As the system says, such as "address in use".
    pub async fn bind(proxy: Arc<Proxy>) -> std::io::Result<Self> {
        let settings = proxy.live().settings.proxy.clone();
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let remote = (!address.ip().is_loopback() && settings.allow_remote).then_some(address.ip());
        Ok(Self { proxy, listener, names: Arc::new(Names::new(address.port(), remote)) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is sent or dropped, then lets running requests end for as long as the
    /// settings allow.
    pub async fn run(self, mut stop: watch::Receiver<()>) {
        let limit = self.proxy.live().settings.proxy.max_connections;
        let permits = Arc::new(Semaphore::new(limit));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &permits) => accepted,
                _ = stop.changed() => break,
            };
            // Ended connections are taken out as new ones come.
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, permit)) => {
                    let serving = self.connection(stream, permit, stop.clone());
                    connections.spawn(serving);
                }
                // A connection that was reset before it was accepted, or no file descriptors left.
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            }
        }
        drop(self.listener);
        // A page that stays open must not hold up the end.
        self.proxy.feed.end();
        let drain = self.proxy.live().settings.proxy.drain_timeout;
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, drained).await.is_err() {
            self.proxy.phase().end();
            connections.shutdown().await;
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        stop: watch::Receiver<()>,
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
            let answer = |request| service::serve(Arc::clone(&proxy), Arc::clone(&names), request);
            h1::serve(stream, limits, stop, answer).await;
        }
    }
}

/// A connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Without it a stream's small pieces wait for each other.
    let _ = stream.set_nodelay(true);
    Ok((stream, permit))
}
