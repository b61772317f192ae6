//! A plain HTTP/1.1 client on one connection.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A client on one connection.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    token: Option<String>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A header's value, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    /// Connects; requests carry `token`, if there is one, as a bearer.
    pub async fn connect(address: SocketAddr, token: Option<&str>) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, address, token: token.map(str::to_owned) })
    }

    /// A request with Host and token; `path` is below the base path.
    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("/kmi-rotor{path}"))
            .header("host", self.address.to_string());
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Sends a request and waits for the answer's head.
    pub async fn send(
        &mut self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Response<Incoming>> {
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(body.into()))?).await?)
    }

    /// Sends a request and reads the answer to its end.
    pub async fn fetch(
        &mut self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let (parts, body) = self.send(request, body).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// A chat request, streamed or not.
    pub async fn chat(&mut self, stream: bool) -> anyhow::Result<Answer> {
        let request = self
            .request(Method::POST, "/v1/chat/completions")
            .header("content-type", "application/json");
        self.fetch(request, chat_body(stream)).await
    }
}

/// The body of a small chat request.
pub fn chat_body(stream: bool) -> String {
    serde_json::json!({
        "model": "kimi-for-coding",
        "messages": [{ "role": "user", "content": "say pong" }],
        "stream": stream,
        "prompt_cache_key": "session-1",
    })
    .to_string()
}
