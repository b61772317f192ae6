//! The listener: accepts on loopback, serves HTTP/1.1, stops when the [`StandIn`] is dropped.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{answer::answer, record::Record, scenario::Scenario, state::Shared, wire_tap::WireTap};

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16_384;
/// How long running answers may go on after a stop.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// A running stand-in for Kimi; dropping it stops it.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

impl StandIn {
    /// Starts one on a free port of 127.0.0.1, on the current tokio runtime.
    pub async fn start(scenario: Scenario) -> io::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), scenario).await
    }

    /// Starts one on `listen`; port 0 picks one.
    pub async fn start_on(listen: SocketAddr, scenario: Scenario) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(scenario));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(accept(listener, Arc::clone(&shared), stopped));
        Ok(Self { address, shared, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, the place of `/__requests` and `/__reset`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The OpenAI-style base of Kimi Code; its Anthropic-style base is the same without `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/coding/v1", self.address)
    }

    /// The OpenAI-style base of the Open Platform; its Anthropic-style base is
    /// `ORIGIN/anthropic`.
    pub fn open_platform_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it does.
    pub fn scenario(&self) -> &Scenario {
        &self.shared.scenario
    }

    /// The requests that it remembers, in order of arrival.
    pub fn records(&self) -> Vec<Record> {
        self.shared.log.records()
    }

    /// How many requests came with each key so far, in the scenario's order.
    pub fn requests_per_key(&self) -> Vec<u64> {
        (0..self.shared.scenario.keys.len()).map(|key| self.shared.requests(key)).collect()
    }

    /// Forgets all requests and starts every count anew, but for time spans that have begun.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Stops and waits until every connection is closed, at most about a second.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // Each connection holds a receiver. Past the limit they end with their runtime.
        let _ = timeout(STOP_WITHIN * 2, self.stop.closed()).await;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: others have to close first.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
        tokio::spawn(async move {
            serve(stream, shared, stopped).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    // Without it small events would wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let (tap, wire) = WireTap::new(stream);
    let service =
        service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&wire), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_headers(200)
        .serve_connection(TokioIo::new(tap), service);
    tokio::pin!(connection);
    let stopping = async {
        // An error means that the stand-in is gone: the same.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        // How a connection ends is the client's affair; the log has what it asked.
        _ = connection.as_mut() => {}
        () = stopping => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(STOP_WITHIN, connection).await;
        }
    }
}
