//! How long a choice of a key takes: the rule alone, under the lock, with all that the proxy does
//! at a choice, and with several threads at once.
//!
//!     cargo bench -p kmi-benches --bench rotation

use std::{
    hint::black_box,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput};
use jiff::Timestamp;
use kmi_benches::inventory;
use kmi_core::{
    eligible::{Eligible, KeySet},
    outcome::Outcome,
    ring::{Ring, Seat},
    rotation::Rotation,
    state::Mode,
};
use kmi_health::{Policy, classify::Verdict};
use kmi_proxy::{
    ledger::Ledger,
    pool::{Affinity, Journal, Pool, Seen, Start, Tried},
    settings::{TraceSettings, UpstreamSettings},
    upstream::Upstream,
};
use parking_lot::Mutex;
use tempfile::TempDir;

const KEYS: [usize; 3] = [7, 64, 10_000];
const THREADS: [usize; 4] = [1, 2, 4, 8];

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    bare(&mut criterion)?;
    locked(&mut criterion)?;
    whole_choice(&mut criterion)?;
    contended(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// A rotation over `keys` keys, with all, half and one of them eligible.
fn rotations(keys: usize) -> anyhow::Result<[(&'static str, Rotation, Eligible); 3]> {
    let ring = Arc::new(Ring::new(&vec![Seat::default(); keys])?);
    let with = |name, eligible: KeySet| {
        let eligible = Eligible::of(&eligible, Arc::clone(&ring));
        (name, Rotation::new(Arc::clone(&ring)), eligible)
    };
    Ok([
        with("all", KeySet::full(keys)),
        with("half", (0..keys).step_by(2).collect()),
        with("one", KeySet::from_iter([keys / 2])),
    ])
}

/// The rule alone.
fn bare(criterion: &mut Criterion) -> anyhow::Result<()> {
    let mut group = criterion.benchmark_group("next");
    group.throughput(Throughput::Elements(1));
    let tried = KeySet::default();
    for keys in KEYS {
        for (name, mut rotation, eligible) in rotations(keys)? {
            group.bench_function(BenchmarkId::new(name, keys), |bencher| {
                bencher.iter(|| rotation.next(black_box(&eligible), black_box(&tried)));
            });
        }
    }
    group.finish();
    Ok(())
}

/// What stands under one lock in the proxy's pool: rotation and eligible keys.
fn locked(criterion: &mut Criterion) -> anyhow::Result<()> {
    let mut group = criterion.benchmark_group("next under the lock");
    group.throughput(Throughput::Elements(1));
    let tried = KeySet::default();
    for keys in KEYS {
        for (name, rotation, eligible) in rotations(keys)? {
            let state = Mutex::new((rotation, eligible));
            group.bench_function(BenchmarkId::new(name, keys), |bencher| {
                bencher.iter(|| {
                    let (rotation, eligible) = &mut *state.lock();
                    rotation.next(eligible, black_box(&tried))
                });
            });
        }
    }
    group.finish();
    Ok(())
}

/// A pool as the proxy has it, with its ledger and its page of turns.
struct Place {
    pool: Pool,
    // Dropped after the pool, in this order.
    _ledger: Ledger,
    _dir: TempDir,
}

impl Place {
    fn new(keys: usize, now: Timestamp) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (ledger, _) = Ledger::open(dir.path(), &TraceSettings::default(), now)?;
        let start = Start {
            inventory: inventory(keys)?,
            policy: Policy::default(),
            resumed: None,
            page: ledger.page("kimi")?,
            mode: Mode::Auto,
            failover: true,
            active: None,
            disabled: [].into(),
        };
        let upstream = Upstream::new(&UpstreamSettings {
            base_url: "http://127.0.0.1:9/v1".into(),
            ..UpstreamSettings::default()
        })?;
        let journal = Journal::new("kimi".into(), ledger.sink(), ledger.settings().clone());
        let pool = Pool::open(upstream, journal, start, now)?;
        Ok(Self { pool, _ledger: ledger, _dir: dir })
    }
}

/// One whole turn of a healthy key: choose it, note the turn in the page, take note of its end.
fn turn(pool: &Pool, tried: &Tried, verdict: &Verdict, now: Timestamp) {
    let model = Some("kimi-for-coding");
    if let Ok(picked) = pool.pick(tried, model, &Affinity::None, now) {
        let seen = Seen {
            verdict,
            model,
            latency: Duration::from_millis(900),
            tokens: 1_234,
            account: None,
        };
        pool.observe(&picked, &seen, now);
        pool.recorded(&picked);
    }
}

/// All that the proxy does to choose a key and to note how the attempt ended.
fn whole_choice(criterion: &mut Criterion) -> anyhow::Result<()> {
    let mut group = criterion.benchmark_group("pick and observe");
    group.throughput(Throughput::Elements(1));
    let (now, tried) = (Timestamp::now(), Tried::default());
    let verdict = Verdict::of(Outcome::Ok);
    for keys in KEYS {
        let place = Place::new(keys, now)?;
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            bencher.iter(|| turn(&place.pool, &tried, &verdict, now));
        });
    }
    group.finish();
    Ok(())
}

/// Threads that do nothing but choose, beside threads that count up one atomic number.
fn contended(criterion: &mut Criterion) -> anyhow::Result<()> {
    let mut group = criterion.benchmark_group("contended");
    let (now, tried) = (Timestamp::now(), Tried::default());
    let verdict = Verdict::of(Outcome::Ok);
    for threads in THREADS {
        group.throughput(Throughput::Elements(threads as u64));

        let counter = AtomicU64::new(0);
        group.bench_function(BenchmarkId::new("floor: fetch_add", threads), |bencher| {
            bencher.iter_custom(|turns| {
                together(threads, turns, || {
                    black_box(counter.fetch_add(1, Ordering::Relaxed));
                })
            });
        });

        let [(_, rotation, eligible), ..] = rotations(7)?;
        let state = Mutex::new((rotation, eligible));
        let none_tried = KeySet::default();
        group.bench_function(BenchmarkId::new("next under the lock", threads), |bencher| {
            bencher.iter_custom(|turns| {
                together(threads, turns, || {
                    let (rotation, eligible) = &mut *state.lock();
                    black_box(rotation.next(eligible, &none_tried));
                })
            });
        });

        let place = Place::new(7, now)?;
        group.bench_function(BenchmarkId::new("pick and observe", threads), |bencher| {
            bencher.iter_custom(|turns| {
                together(threads, turns, || turn(&place.pool, &tried, &verdict, now))
            });
        });
    }
    group.finish();
    Ok(())
}

/// How long `threads` threads take to do something `times` times each: from the first one's start
/// to the last one's end, as the threads themselves see it.
fn together(threads: usize, times: u64, act: impl Fn() + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let work = || {
        barrier.wait();
        let start = Instant::now();
        (0..times).for_each(|_| act());
        (start, Instant::now())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let spans = running.into_iter().filter_map(|thread| thread.join().ok());
        let whole = spans.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
        whole.map_or(Duration::MAX, |(start, end)| end - start)
    })
}
