//! One origin: kept connections, and the sending of a request over one of them.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Request, Response, Uri};
use rustls::ClientConfig;
use tokio::time::{Instant, Sleep};

use super::{
    answer::Answer,
    connect::{ConnectError, Connector},
    connection::Connection,
    kept::{Kept, Moment},
};
use crate::{
    body::Outgoing,
    h1::{self, Failed},
    settings::UpstreamSettings,
};

/// Scheme, host and port, with the connections to it that are not in use.
#[derive(Debug)]
pub(crate) struct Origin {
    connector: Connector,
    host: HeaderValue,
    kept: Kept<Connection>,
    first_byte_timeout: Duration,
}

/// What the upstream answered.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) response: Response<Answer>,
    /// Time to connect; zero on a kept connection.
    pub(crate) connect: Duration,
}

/// Why there is no answer. Only the first two kinds are certain not to have been carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No connection came about; nothing was sent.
    #[error("cannot connect to the upstream: {0}")]
    Connect(String),
    /// This machine has no room for a connection; nothing was sent.
    #[error("kmi has no room for another connection: {0}")]
    NoRoom(String),
    /// The client's body broke off while it was sent on.
    #[error("the request's body broke off")]
    RequestBody,
    /// The connection broke after the request was sent.
    #[error("the upstream closed the connection without an answer: {0}")]
    Closed(String),
    /// What came was no HTTP.
    #[error("the upstream's answer is not valid HTTP: {0}")]
    Protocol(String),
    /// No answer within `first_byte_timeout` after the request was sent, or so long a pause in
    /// sending it.
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
            kept: Kept::default(),
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
            let again = body.again();
            // In a place of its own, so that the connection is free again below.
            let sent = {
                let alarm = pin!(tokio::time::sleep(self.first_byte_timeout));
                let mut silence = Silence::new(alarm, self.first_byte_timeout);
                connection.send(&request, body, |cx, sent| silence.poll(cx, sent)).await
            };
            match sent {
                Ok(response) => {
                    let answer = |()| Answer::new(connection, Arc::clone(self));
                    return Ok(Sent { response: response.map(answer), connect });
                }
                Err(Failed::Unsent(_)) if let (true, Some(whole)) = (reused, again) => {
                    body = whole;
                }
                Err(Failed::Unsent(error)) => {
                    return Err(SendError::Connect(error.to_string()));
                }
                Err(Failed::Body) => return Err(SendError::RequestBody),
                Err(Failed::Answer(error)) => return Err(judge(&error)),
                Err(Failed::Late) => return Err(SendError::Timeout(self.first_byte_timeout)),
            }
        }
    }

    /// Keeps a connection whose answer was read to its end, if it can take another request.
    pub(super) fn give_back(&self, mut connection: Connection) {
        if !connection.is_ready() {
            return;
        }
        self.kept.put(connection, Moment::now());
    }

    /// Closes the connections that nobody has used for too long.
    pub(super) fn sweep(&self) {
        self.kept.sweep(Moment::now());
    }

    async fn checkout(&self) -> Result<(Connection, Duration, bool), SendError> {
        while let Some(mut connection) = self.kept.take(Moment::now()) {
            if connection.is_ready() {
                return Ok((connection, Duration::ZERO, true));
            }
        }
        let start = Instant::now();
        let connected = Box::pin(self.connector.connect()).await;
        let connection = connected.map_err(|error| match error {
            ConnectError::NoRoom(why) => SendError::NoRoom(why),
            error => SendError::Connect(error.to_string()),
        })?;
        Ok((connection, start.elapsed(), false))
    }
}

/// The limit on an upstream that takes nothing and says nothing: it begins anew with whatever is
/// written of the request, so that the answer's time begins when the request has ended.
struct Silence<'a> {
    /// Moved only when it fires: a request that is written at once costs one look at the clock.
    alarm: Pin<&'a mut Sleep>,
    limit: Duration,
    since: Instant,
    /// Bytes that were written by then.
    sent: u64,
}

impl<'a> Silence<'a> {
    fn new(alarm: Pin<&'a mut Sleep>, limit: Duration) -> Self {
        Self { alarm, limit, since: Instant::now(), sent: 0 }
    }

    /// Ready when it has been too long; `sent` bytes are written by now.
    fn poll(&mut self, cx: &mut Context<'_>, sent: u64) -> Poll<()> {
        if sent != self.sent {
            (self.sent, self.since) = (sent, Instant::now());
        }
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let end = self.since + self.limit;
            if self.alarm.deadline() >= end {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(end);
        }
    }
}

fn judge(error: &h1::Error) -> SendError {
    match error {
        h1::Error::Malformed(_) | h1::Error::TooLarge => SendError::Protocol(error.to_string()),
        h1::Error::Cut | h1::Error::Io(_) => SendError::Closed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_answers_time_begins_when_the_request_has_ended() {
        let (limit, start) = (Duration::from_secs(10), Instant::now());
        let alarm = pin!(tokio::time::sleep(limit));
        let mut silence = Silence::new(alarm, limit);
        for sent in 1..=5 {
            // A slow uplink: each piece comes before the limit, all of them long after it.
            let waited =
                tokio::time::timeout(Duration::from_secs(9), poll_fn(|cx| silence.poll(cx, sent)));
            assert!(waited.await.is_err(), "piece {sent}");
        }
        poll_fn(|cx| silence.poll(cx, 5)).await;
        assert_eq!(start.elapsed().as_secs(), 4 * 9 + 10);
    }
}
