//! How soon the first token comes, straight and through kmi, over a long way with TLS, for a client
//! that opens a connection for every request, as kimi-cli does.
//!
//!     cargo bench -p kmi-benches --bench first_token
//!
//! Requests come at a person's pace; both ways take turns, so that a disturbance meets both.

#![expect(clippy::print_stdout, reason = "a table is what this is for")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use kmi_benches::DelayRelay;
use kmi_proxy::demo::{Scenario, Shape, StandIn};
use kmi_tests::{TestProxy, TlsFront, chat_body};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

const ONE_WAY: Duration = Duration::from_millis(30);
const PACE: Duration = Duration::from_millis(150);
const REQUESTS: usize = 50;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `cargo test` runs benches too, to see that they still work.
    let requests = if std::env::args().any(|arg| arg == "--bench") { REQUESTS } else { 2 };
    let scenario = Scenario::healthy(5).with_shape(Shape::sized(200, 20, Duration::ZERO));
    let secret = scenario.keys[0].secret.clone();
    let far = StandIn::start(scenario.clone()).await?;
    let front = TlsFront::start("localhost", far.address()).await?;
    let way = DelayRelay::start(front.address(), ONE_WAY).await?;
    let proxy = TestProxy::start_with(scenario, |settings| {
        let upstream = &mut settings.upstreams[0];
        upstream.base_url = format!("https://localhost:{}/coding/v1", way.address().port());
        upstream.ca_file = Some(front.ca_file());
    })
    .await?;
    let tls = connector(&front)?;
    let token = proxy.token()?.expose().to_owned();

    let (mut direct, mut proxied) = (Vec::new(), Vec::new());
    for _ in 0..requests {
        tokio::time::sleep(PACE).await;
        let start = Instant::now();
        let tcp = TcpStream::connect(way.address()).await?;
        tcp.set_nodelay(true)?;
        let stream = tls.connect(ServerName::try_from("localhost")?, tcp).await?;
        first_token(stream, "/coding/v1/chat/completions", "localhost", &secret).await?;
        direct.push(start.elapsed());

        tokio::time::sleep(PACE).await;
        let start = Instant::now();
        let stream = TcpStream::connect(proxy.engine.address()).await?;
        stream.set_nodelay(true)?;
        let host = proxy.engine.address().to_string();
        first_token(stream, "/kmi-rotor/v1/chat/completions", &host, &token).await?;
        proxied.push(start.elapsed());
    }
    let first = proxied[0];
    let (direct, proxied) = (median(direct), median(proxied));
    let trips = |time: Duration| time.as_secs_f64() / (ONE_WAY * 2).as_secs_f64();
    println!("{requests} requests each, a connection a request, one way {ONE_WAY:?}, medians:");
    println!("  direct      {direct:.1?}  ({:.2} round trips)", trips(direct));
    println!("  through kmi {proxied:.1?}  ({:.2} round trips)", trips(proxied));
    println!("  kmi's very first one, without a kept connection: {first:.1?}");
    proxy.engine.stop().await?;
    Ok(())
}

fn connector(front: &TlsFront) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(front.ca_file())? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Sends a streamed chat request and waits for the first event.
async fn first_token(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    host: &str,
    secret: &str,
) -> anyhow::Result<()> {
    let body = chat_body(true);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {secret}\r\n\
         Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.flush().await?;
    let mut read = Vec::new();
    while !read.windows(6).any(|part| part == b"data: ") {
        ensure!(stream.read_buf(&mut read).await? > 0, "no event: {:?}", read.utf8_chunks().next());
    }
    ensure!(read.starts_with(b"HTTP/1.1 200 "), "no good answer");
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
