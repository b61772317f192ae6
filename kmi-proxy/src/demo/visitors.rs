//! Clients for the demonstration: they send what Kimi's clients send, at a steady pace.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::Instant};

use crate::home::Token;

/// Clients that visit a proxy.
#[derive(Debug, Clone)]
pub struct Visitors {
    /// Where the proxy listens.
    pub address: SocketAddr,
    /// What lets them in.
    pub token: Token,
    /// The path that all of kmi lives under.
    pub base_path: String,
    /// How many there are; each has one request at a time.
    pub clients: u32,
    /// From the start of one request to the start of the next one, all clients together.
    pub pace: Duration,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// The key that served.
    pub key: Option<String>,
    /// The turn that served.
    pub turn: Option<u64>,
}

/// The kinds of requests, in turn: a streamed chat, a plain one, the Anthropic form, the models.
const KINDS: [(Method, &str, &str); 4] = [
    (
        Method::POST,
        "/v1/chat/completions",
        r#"{"model":"kimi-for-coding","messages":[{"role":"user","content":"Say pong."}],"stream":true,"stream_options":{"include_usage":true},"prompt_cache_key":"demo-1"}"#,
    ),
    (
        Method::POST,
        "/v1/chat/completions",
        r#"{"model":"kimi-for-coding","messages":[{"role":"user","content":"Say pong."}],"prompt_cache_key":"demo-2"}"#,
    ),
    (
        Method::POST,
        "/v1/messages",
        r#"{"model":"kimi-for-coding","max_tokens":64,"messages":[{"role":"user","content":"Say pong."}],"stream":true,"metadata":{"user_id":"demo-3"}}"#,
    ),
    (Method::GET, "/v1/models", ""),
];

impl Visitors {
    /// Sends `requests` requests; each that has ended is told over the channel, which closes when
    /// all have.
    pub fn send(self, requests: u32) -> mpsc::Receiver<Visit> {
        let (tell, told) = mpsc::channel(256);
        tokio::spawn(async move {
            let (this, next, start) = (Arc::new(self), Arc::new(AtomicU32::new(0)), Instant::now());
            let mut clients = JoinSet::new();
            for _ in 0..this.clients {
                let (this, next, tell) = (Arc::clone(&this), Arc::clone(&next), tell.clone());
                clients.spawn(async move { this.client(&next, requests, start, &tell).await });
            }
            while clients.join_next().await.is_some() {}
        });
        told
    }

    async fn client(
        &self,
        next: &AtomicU32,
        requests: u32,
        start: Instant,
        tell: &mpsc::Sender<Visit>,
    ) {
        let mut connection = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= requests {
                return;
            }
            tokio::time::sleep_until(start + self.pace * number).await;
            let visit = self.visit(number, &mut connection).await;
            let lost = Visit { status: None, key: None, turn: None };
            if tell.send(visit.unwrap_or(lost)).await.is_err() {
                return;
            }
        }
    }

    /// One request, on the kept connection or a new one; `None` when the connection broke.
    async fn visit(
        &self,
        number: u32,
        connection: &mut Option<SendRequest<Full<Bytes>>>,
    ) -> Option<Visit> {
        let mut sender = match connection.take() {
            Some(sender) => sender,
            None => connect(self.address).await.ok()?,
        };
        let (method, path, body) = &KINDS[number as usize % KINDS.len()];
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_path))
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", self.token.expose()))
            .header("user-agent", concat!("kmi-demo/", env!("CARGO_PKG_VERSION")))
            .header("content-type", "application/json")
            .body(Full::from(*body))
            .ok()?;
        sender.ready().await.ok()?;
        let response = sender.send_request(request).await.ok()?;
        let text = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let turn = text("x-kmi-turn").and_then(|turn: String| turn.parse().ok());
        let status = response.status().as_u16();
        let visit = Visit { status: Some(status), key: text("x-kmi-key"), turn };
        response.into_body().collect().await.ok()?;
        *connection = Some(sender);
        Some(visit)
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    let _ = stream.set_nodelay(true);
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}
