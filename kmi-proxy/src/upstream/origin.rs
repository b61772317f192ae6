//! One origin: kept connections, and the sending of a request over one of them.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, Uri};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::{
    answer::Answer,
    connect::{ConnectError, Connector},
    connection::Connection,
};
use crate::{
    body::Outgoing,
    h1::{self, Failed},
    settings::UpstreamSettings,
};

/// How long an unused connection is kept. Gateways close idle connections after 60 s and more; a
/// request that meets a closing connection is lost, so kmi closes first.
const IDLE_LIMIT: Duration = Duration::from_secs(50);
/// How often a streamed body is looked at, whether it goes on.
const LOOK: Duration = Duration::from_secs(1);
/// Unused connections that are kept at most.
const IDLE_MAX: usize = 256;

/// Scheme, host and port, with the connections to it that are not in use.
#[derive(Debug)]
pub(crate) struct Origin {
    connector: Connector,
    host: HeaderValue,
    idle: Mutex<Vec<(Instant, Connection)>>,
    first_byte_timeout: Duration,
}

/// What the upstream answered.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) response: Response<Answer>,
    /// Time to connect; zero on a kept connection.
    pub(crate) connect: Duration,
}

/// Why there is no answer. Only the first kind is certain not to have been carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No connection came about; nothing was sent.
    #[error("cannot connect to the upstream: {0}")]
    Connect(String),
    /// The client's body broke off while it was sent on.
    #[error("the request's body broke off")]
    RequestBody,
    /// The connection broke after the request was sent.
    #[error("the upstream closed the connection without an answer: {0}")]
    Closed(String),
    /// What came was no HTTP.
    #[error("the upstream's answer is not valid HTTP: {0}")]
    Protocol(String),
    /// No answer within `first_byte_timeout`.
    #[error("no answer from the upstream within {0:?}")]
    Timeout(Duration),
}

impl Origin {
    pub(crate) fn new(
        root: &Uri,
        host: String,
        tls: Option<Arc<ClientConfig>>,
        settings: &UpstreamSettings,
    ) -> Self {
        Self {
            connector: Connector::new(root, tls, settings.connect_timeout),
            // An authority was parsed from a URI, so it is a valid header value.
            host: HeaderValue::try_from(host).unwrap_or_else(|_| HeaderValue::from_static("")),
            idle: Mutex::default(),
            first_byte_timeout: settings.first_byte_timeout,
        }
    }

    /// The value of the Host header.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Sends a request and waits for the answer's head.
    ///
    /// A kept connection that turns out to be closed before anything was written is replaced
    /// without a word; nothing is ever sent twice.
    pub(crate) async fn send(
        self: &Arc<Self>,
        request: Request<Outgoing>,
    ) -> Result<Sent, SendError> {
        let (parts, mut body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        loop {
            let (mut connection, connect, reused) = self.checkout().await?;
            let (passed, again) = (body.passed(), body.again());
            // In a place of its own, so that the connection is free again below.
            let sent = {
                let sending = pin!(connection.send(&request, body));
                self.in_time(sending, passed).await
            };
            match sent {
                None => return Err(SendError::Timeout(self.first_byte_timeout)),
                Some(Ok(response)) => {
                    let answer = |()| Answer::new(connection, Arc::clone(self));
                    return Ok(Sent { response: response.map(answer), connect });
                }
                Some(Err(Failed::Unsent(_))) if let (true, Some(whole)) = (reused, again) => {
                    body = whole;
                }
                Some(Err(Failed::Unsent(error))) => {
                    return Err(SendError::Connect(error.to_string()));
                }
                Some(Err(Failed::Body)) => return Err(SendError::RequestBody),
                Some(Err(Failed::Answer(error))) => return Err(judge(&error)),
            }
        }
    }

    /// Keeps a connection whose answer was read to its end, if it can take another request.
    pub(super) fn give_back(&self, mut connection: Connection) {
        if !connection.is_ready() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock();
        // The oldest stand first; the list is short, and mostly nothing is old.
        let old = idle.iter().take_while(|(since, _)| now - *since > IDLE_LIMIT).count();
        idle.drain(..old);
        if idle.len() < IDLE_MAX {
            idle.push((now, connection));
        }
    }

    /// The answer, if its head comes in time; the time does not run while a streamed body goes on.
    async fn in_time<T>(
        &self,
        mut sending: Pin<&mut impl Future<Output = T>>,
        passed: Option<Arc<AtomicU64>>,
    ) -> Option<T> {
        let limit = self.first_byte_timeout;
        let Some(passed) = passed else { return timeout(limit, sending).await.ok() };
        let (mut before, mut since) = (0, Instant::now());
        while since.elapsed() < limit {
            if let Ok(sent) = timeout(LOOK.min(limit), sending.as_mut()).await {
                return Some(sent);
            }
            let now = passed.load(Ordering::Relaxed);
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        None
    }

    async fn checkout(&self) -> Result<(Connection, Duration, bool), SendError> {
        while let Some(mut connection) = self.youngest_idle() {
            if connection.is_ready() {
                return Ok((connection, Duration::ZERO, true));
            }
        }
        let start = Instant::now();
        let connected = Box::pin(self.connector.connect()).await;
        let connection =
            connected.map_err(|error: ConnectError| SendError::Connect(error.to_string()))?;
        Ok((connection, start.elapsed(), false))
    }

    fn youngest_idle(&self) -> Option<Connection> {
        let (since, connection) = self.idle.lock().pop()?;
        (since.elapsed() < IDLE_LIMIT).then_some(connection)
    }
}

fn judge(error: &h1::Error) -> SendError {
    match error {
        h1::Error::Malformed(_) | h1::Error::TooLarge => SendError::Protocol(error.to_string()),
        h1::Error::Cut | h1::Error::Io(_) => SendError::Closed(error.to_string()),
    }
}
