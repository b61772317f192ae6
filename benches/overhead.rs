//! What the proxy adds to a request: a small answer and a stream of 20 pieces, straight from the
//! stand-in and through a proxy with seven keys, with its trace.
//!
//!     cargo bench -p kmi-benches --bench overhead
//!
//! Criterion measures one after the other. As a machine's mood changes in between, the ratio comes
//! from a second measurement that takes turns: a few requests here, a few there, round by round.

#![expect(clippy::print_stdout, reason = "the paired figures are no business of criterion's")]

use std::time::{Duration, Instant};

use anyhow::ensure;
use criterion::{BenchmarkId, Criterion, Throughput};
use http::Method;
use kmi_proxy::demo::{Scenario, Shape};
use kmi_tests::{Client, TestProxy, chat_body};
use tokio::runtime::{Builder, Runtime};

const KEYS: usize = 7;
const ROUNDS: usize = 101;
const REQUESTS_A_ROUND: u32 = 50;

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut place = Place::start()?;
    for (name, stream) in [("small answer", false), ("stream of 20 pieces", true)] {
        if measure(&mut criterion, &mut place, name, stream)? {
            compare(&mut place, name, stream)?;
        }
    }
    criterion.final_summary();
    place.stop()
}

/// Which way a request goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Direct,
    Proxied,
}

/// A stand-in, a proxy before it, and a client on a kept connection to each.
struct Place {
    servers: Runtime,
    clients: Runtime,
    proxy: TestProxy,
    direct: Client,
    proxied: Client,
}

impl Place {
    fn start() -> anyhow::Result<Self> {
        let servers = Builder::new_multi_thread().enable_all().build()?;
        let clients = Builder::new_current_thread().enable_all().build()?;
        let mut scenario =
            Scenario::healthy(KEYS).with_shape(Shape::sized(200, 20, Duration::ZERO));
        scenario.remembered = 0;
        let secret = scenario.keys[0].secret.clone();
        let proxy = servers.block_on(TestProxy::start(scenario))?;
        let (direct, proxied) = clients.block_on(async {
            let direct = Client::connect(proxy.upstream.address(), Some(&secret)).await?;
            anyhow::Ok((direct, proxy.client().await?))
        })?;
        Ok(Self { servers, clients, proxy, direct, proxied })
    }

    /// How long `n` requests take, one after the other.
    fn requests(&mut self, way: Way, stream: bool, n: u64) -> anyhow::Result<Duration> {
        let (client, path) = match way {
            Way::Direct => (&mut self.direct, "/coding/v1/chat/completions"),
            Way::Proxied => (&mut self.proxied, "/kmi-rotor/v1/chat/completions"),
        };
        let body = bytes::Bytes::from(chat_body(stream));
        self.clients.block_on(async {
            let start = Instant::now();
            for _ in 0..n {
                let request = client.request(Method::POST, "").uri(path);
                let request = request.header("content-type", "application/json");
                let answer = client.fetch(request, body.clone()).await?;
                ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
            }
            Ok(start.elapsed())
        })
    }

    /// Says what the trace of all these requests proves.
    fn stop(self) -> anyhow::Result<()> {
        let proxy = self.proxy;
        let report = self.servers.block_on(async { proxy.verify() })?;
        println!("the trace: {} turns, {}", report.all.turns, report.all.verdict.as_str());
        Ok(self.servers.block_on(proxy.engine.stop())?)
    }
}

/// Criterion's own measurement, one way after the other. False when it only tried them out, or
/// when a filter left one of them out.
fn measure(
    criterion: &mut Criterion,
    place: &mut Place,
    name: &str,
    stream: bool,
) -> anyhow::Result<bool> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    let (mut failed, mut measured) = (None, true);
    for way in [Way::Direct, Way::Proxied] {
        let mut batches = 0;
        group.bench_function(BenchmarkId::from_parameter(format!("{way:?}")), |bencher| {
            bencher.iter_custom(|n| {
                batches += 1;
                place.requests(way, stream, n).unwrap_or_else(|error| {
                    failed = Some(error);
                    Duration::from_nanos(n)
                })
            });
        });
        measured &= batches > 1;
    }
    group.finish();
    failed.map_or(Ok(measured), Err)
}

/// The paired measurement.
fn compare(place: &mut Place, name: &str, stream: bool) -> anyhow::Result<()> {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let direct = place.requests(Way::Direct, stream, REQUESTS_A_ROUND.into())?;
        let proxied = place.requests(Way::Proxied, stream, REQUESTS_A_ROUND.into())?;
        rounds
            .push([direct, proxied].map(|it| it.as_secs_f64() * 1e6 / f64::from(REQUESTS_A_ROUND)));
    }
    let direct = median(rounds.iter().map(|[direct, _]| *direct));
    let proxied = median(rounds.iter().map(|[_, proxied]| *proxied));
    let added = median(rounds.iter().map(|[direct, proxied]| proxied - direct));
    let ratio = median(rounds.iter().map(|[direct, proxied]| proxied / direct));
    println!(
        "{name}, in turns: direct {direct:.1} us, proxied {proxied:.1} us, \
         added {added:.1} us, ratio {ratio:.2} (medians of {ROUNDS} rounds)\n"
    );
    Ok(())
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
