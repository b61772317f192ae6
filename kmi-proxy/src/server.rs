//! Listening, accepting, and stopping in phases: no new connections, running requests end, what
//! is left is ended visibly.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use crate::{
    client_socket::ClientSocket,
    gate::{MAX_HEAD, Names},
    proxy::Proxy,
    service,
};

/// Header fields a request may have.
const HEADERS_LIMIT: usize = 100;
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
        mut stop: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (proxy, names) = (Arc::clone(&self.proxy), Arc::clone(&self.names));
        let live = self.proxy.live();
        async move {
            let _permit = permit;
            let settings = &live.settings.proxy;
            let (stream, head) = ClientSocket::new(stream, settings);
            let service = service_fn(move |request| {
                let (proxy, names, head) = (&proxy, &names, &head);
                let serving =
                    service::serve(Arc::clone(proxy), Arc::clone(names), Arc::clone(head), request);
                async move { Ok::<_, std::convert::Infallible>(serving.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(settings.idle_timeout)
                .max_buf_size(MAX_HEAD)
                .max_headers(HEADERS_LIMIT)
                .preserve_header_case(true)
                .serve_connection(TokioIo::new(stream), service);
            drop(live);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // A broken connection is the client's business; its attempt reports itself.
                _ = connection.as_mut() => {}
                _ = stop.changed() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
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
