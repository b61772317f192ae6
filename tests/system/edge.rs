//! The edge on both sides, byte for byte: what may come in from clients and from upstreams, and
//! what kmi makes of it. The tables are in tests/edge; `tests/http_parsers.py` reads them too.

use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use kmi_proxy::demo::{Act, Record, Reply, Scenario};
use kmi_tests::{Scripted, TestProxy, then_close, then_keep};
use serde::Deserialize;

#[derive(Deserialize)]
struct Table<T> {
    case: Vec<T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientCase {
    name: String,
    send: String,
    status: Statuses,
    passes: Option<String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    keeps: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamCase {
    name: String,
    answer: String,
    status: u16,
    body: Option<String>,
    #[serde(default)]
    cut: bool,
    outcome: Option<String>,
    #[serde(default)]
    keeps: bool,
    method: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Statuses {
    One(u16),
    Any(Vec<u16>),
}

impl Statuses {
    fn has(&self, status: u16) -> bool {
        match self {
            Self::One(one) => *one == status,
            Self::Any(any) => any.contains(&status),
        }
    }
}

fn table<T: for<'a> Deserialize<'a>>(name: &str) -> anyhow::Result<Vec<T>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("edge").join(name);
    Ok(toml::from_str::<Table<T>>(&std::fs::read_to_string(path)?)?.case)
}

/// Replaces `{what*N}` by N of what `make` gives.
fn repeated(text: &str, what: &str, make: impl Fn(usize) -> String) -> String {
    let Some((before, rest)) = text.split_once(&format!("{{{what}*")) else { return text.into() };
    let (count, after) = rest.split_once('}').expect("a closing brace");
    let count = count.parse().expect("a number");
    before.to_owned() + &(0..count).map(make).collect::<String>() + after
}

/// A table's text as bytes: Latin-1, with its repetitions.
fn bytes(text: &str) -> Vec<u8> {
    let text = repeated(text, "a", |_| "a".to_owned());
    let text = repeated(&text, "lines", |n| format!("X-{n}: 1\r\n"));
    let text =
        repeated(&text, "hints", |_| "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_owned());
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect()
}

/// An answer as a strict reader sees it.
#[derive(Debug)]
struct Seen {
    status: u16,
    body: Vec<u8>,
    /// Whether it came to the end that its framing names.
    whole: bool,
}

/// Reads answers one after the other, and refuses whatever has no single meaning.
fn answers(mut bytes: &[u8], head_only: bool) -> anyhow::Result<Vec<Seen>> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = find(bytes, b"\r\n\r\n").context("a whole head")?;
        let head = std::str::from_utf8(&bytes[..end]).unwrap_or("an 8-bit head");
        let lines: Vec<&[u8]> = bytes[..end].split(|b| *b == b'\n').collect();
        bytes = &bytes[end + 4..];
        let status = std::str::from_utf8(lines[0]).ok().and_then(|line| {
            let (version, rest) = line.trim_end().split_once(' ')?;
            let status: u16 = rest.get(..3)?.parse().ok()?;
            // The one answer to another version is in that version.
            (version == "HTTP/1.1" || version == "HTTP/1.0" && status == 505).then_some(status)
        });
        let status: u16 = status.with_context(|| format!("no status line: {head}"))?;
        let value = |name: &str| {
            let wanted = format!("{name}:");
            let of = |line: &&[u8]| {
                let (start, rest) = line.split_at_checked(wanted.len())?;
                let same = start.eq_ignore_ascii_case(wanted.as_bytes());
                same.then(|| String::from_utf8_lossy(rest).trim().to_owned())
            };
            let all: Vec<_> = lines.iter().filter_map(of).collect();
            ensure!(all.len() <= 1, "{name} twice: {head}");
            Ok(all.into_iter().next())
        };
        let (length, coding) = (value("content-length")?, value("transfer-encoding")?);
        ensure!(length.is_none() || coding.is_none(), "two framings: {head}");
        let bodiless = status < 200 || status == 204;
        ensure!(!bodiless || length.is_none() && coding.is_none(), "a length of nothing: {head}");
        if head_only || status < 200 || status == 204 || status == 304 {
            answers.push(Seen { status, body: Vec::new(), whole: true });
            continue;
        }
        let (body, whole) = match (length, coding.as_deref()) {
            (Some(length), _) => {
                let length: usize = length.parse()?;
                let taken = length.min(bytes.len());
                let body = bytes[..taken].to_vec();
                bytes = &bytes[taken..];
                (body, taken == length)
            }
            (None, Some("chunked")) => chunks(&mut bytes)?,
            (None, other) => anyhow::bail!("framing {other:?}: {head}"),
        };
        answers.push(Seen { status, body, whole });
        if !whole {
            ensure!(bytes.is_empty(), "more after an end: {head}");
        }
    }
    Ok(answers)
}

fn chunks(bytes: &mut &[u8]) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return Ok((body, false)) };
        let size = std::str::from_utf8(&bytes[..end])?;
        let size = usize::from_str_radix(size, 16)?;
        let rest = &bytes[end + 2..];
        let Some((chunk, rest)) = rest.split_at_checked(size) else {
            body.extend_from_slice(rest);
            *bytes = &[];
            return Ok((body, false));
        };
        body.extend_from_slice(chunk);
        let Some(rest) = rest.strip_prefix(b"\r\n") else {
            ensure!(rest.is_empty(), "a chunk is longer than it says");
            *bytes = &[];
            return Ok((body, false));
        };
        *bytes = rest;
        if size == 0 {
            return Ok((body, true));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|part| part == what)
}

/// The one request that went upstream, and that it has one meaning only.
fn well_framed(record: &Record) -> anyhow::Result<()> {
    let head = String::from_utf8_lossy(&record.head).into_owned();
    ensure!(
        head.ends_with("\r\n\r\n") && !head.replace("\r\n", "").contains(['\r', '\n']),
        "{head}"
    );
    ensure!(head.split("\r\n").next().map(|line| line.split(' ').count()) == Some(3), "{head}");
    let headers = record.headers();
    let count = |name: &str| headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
    ensure!((count("host"), count("authorization")) == (1, 1), "{head}");
    let framings = count("content-length") + count("transfer-encoding");
    ensure!(framings == 1 || framings == 0 && record.body.is_empty(), "{head}");
    for name in [
        "connection",
        "upgrade",
        "te",
        "trailer",
        "keep-alive",
        "proxy-connection",
        "http2-settings",
        "cookie",
        "api-key",
        "x-api-key",
        "proxy-authorization",
    ] {
        ensure!(count(name) == 0, "{name}: {head}");
    }
    ensure!(head.contains("sk-demo-key-0001"), "{head}");
    Ok(())
}

/// What a table's cases did wrong, with the name of each.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn note(&mut self, name: &str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.0.push(format!("{name}: {error:.500}"));
        }
    }

    fn none(&self) -> anyhow::Result<()> {
        ensure!(self.0.is_empty(), "{}", self.0.join("\n"));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_send_is_refused_or_passed_on_with_one_meaning() -> anyhow::Result<()> {
    let cases: Vec<ClientCase> = table("client.toml")?;
    assert!(cases.len() >= 80, "{}", cases.len());
    let body = Bytes::from_static(b"{}");
    let reply = Act::Reply(Reply { status: 200, headers: Vec::new(), body });
    let scenario = Scenario::healthy(1).deciding(move |_| Some(reply.clone()));
    let proxy = TestProxy::start(scenario).await?;
    let mut failures = Failures::default();
    for case in cases {
        failures.note(&case.name, client_case(&proxy, &case).await);
    }
    failures.none()
}

async fn client_case(proxy: &TestProxy, case: &ClientCase) -> anyhow::Result<()> {
    let (host, token) = (proxy.engine.address().to_string(), proxy.token()?.expose().to_owned());
    let open = format!("Host: {host}\r\nAuthorization: Bearer {token}\r\n");
    let send = case.send.replace("{open}", &open);
    let mut send = bytes(&send.replace("{host}", &host).replace("{token}", &token));
    let goes_on = case.keeps || case.passes.is_some();
    let next = if goes_on {
        format!("GET /kmi-rotor/healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    } else {
        format!("GET /kmi-rotor/v1/smuggled HTTP/1.1\r\n{open}\r\n")
    };
    send.extend_from_slice(next.as_bytes());
    let before = proxy.upstream.records().len();
    let mut raw = proxy.raw().await?;
    // The proxy may have closed the connection before it has read everything.
    let _ = raw.send(&send).await;
    let wire = raw.to_end().await?;
    let seen = answers(wire.as_bytes(), false)?;
    if seen.is_empty() && case.status.has(0) {
        return Ok(());
    }
    // Not even a refusal tells a page of another origin that it may read it.
    ensure!(!wire.to_lowercase().contains("access-control-"), "{wire}");
    let statuses: Vec<_> = seen.iter().map(|it| it.status).collect();
    ensure!(seen.len() == 1 + usize::from(goes_on), "{} answers: {wire}", seen.len());
    ensure!(case.status.has(statuses[0]) && seen.iter().all(|it| it.whole), "{wire}");
    ensure!(!goes_on || statuses[1] == 200, "{wire}");

    let records = proxy.upstream.records();
    let went = records.len() - before;
    ensure!(went == usize::from(case.passes.is_some()), "{went} went upstream: {wire}");
    let (Some(passes), Some(record)) = (&case.passes, records.last()) else { return Ok(()) };
    let line = format!("{} {}", record.method(), record.target());
    ensure!(&line == passes && record.body == bytes(&case.body), "{line} {:?}", record.body);
    well_framed(record)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_upstreams_answer_is_whole_or_a_502_or_aborted() -> anyhow::Result<()> {
    let cases: Vec<UpstreamCase> = table("upstream.toml")?;
    assert!(cases.len() >= 35, "{}", cases.len());
    let mut failures = Failures::default();
    for case in cases {
        failures.note(&case.name, upstream_case(&case).await);
    }
    failures.none()
}

async fn upstream_case(case: &UpstreamCase) -> anyhow::Result<()> {
    let answer = bytes(&case.answer);
    let step = if case.keeps { then_keep(answer) } else { then_close(answer) };
    let good = then_close("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    let upstream = Scripted::start(vec![step, good]).await?;
    let proxy = TestProxy::start_with(Scenario::healthy(1), |settings| {
        settings.upstreams[0].base_url = upstream.base_url();
    })
    .await?;
    let method = case.method.as_deref().unwrap_or("GET");
    let wire = fetched(&proxy, method).await?;
    let text = String::from_utf8_lossy(&wire);
    let seen = answers(&wire, method == "HEAD")?;
    ensure!(seen.len() == 1 && seen[0].status == case.status, "{text}");
    ensure!(seen[0].whole != case.cut, "cut or not: {text}");
    ensure!(case.status != 502 || text.contains("x-kmi-error: upstream_"), "{text}");
    ensure!(case.body.as_ref().is_none_or(|body| seen[0].body == bytes(body)), "{text}");
    let attempts = proxy.attempts_when(1).await?;
    ensure!(attempts.len() == 1, "{attempts:?}");
    let outcome = attempts[0].outcome.as_str();
    ensure!(case.outcome.as_ref().is_none_or(|it| it == outcome), "{outcome}: {text}");
    let error = attempts[0].error.as_deref().unwrap_or_default();
    ensure!(!error.contains(char::is_control), "{error:?}");

    let next = fetched(&proxy, "GET").await?;
    ensure!(answers(&next, false)?[0].body == b"good", "the next one is spoilt");
    ensure!(upstream.requests() == 2, "{} requests", upstream.requests());
    Ok(())
}

/// All bytes that a client gets for one request.
async fn fetched(proxy: &TestProxy, method: &str) -> anyhow::Result<Vec<u8>> {
    let (host, token) = (proxy.engine.address(), proxy.token()?);
    let mut raw = proxy.raw().await?;
    raw.send(format!(
        "{method} /kmi-rotor/v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\n\r\n",
        token.expose()
    ))
    .await?;
    raw.bytes_to_end().await
}
