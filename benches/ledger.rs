//! How many lines of the trace a second can be sealed, written and verified.
//!
//!     cargo bench -p kmi-benches --bench ledger

use std::time::{Duration, Instant};

use anyhow::ensure;
use criterion::{Criterion, Throughput};
use jiff::Timestamp;
use kmi_benches::Turns;
use kmi_core::trace::{ChainHash, Record, seal};
use kmi_proxy::{ledger::Ledger, settings::TraceSettings};
use kmi_stats::verify::{InFlight, Options, Verifier};
use sha2::{Digest as _, Sha256};

const LINES: usize = 10_000;
/// As many as the queue takes while the thread that writes does nothing, and less.
const MANY: usize = 50_000;

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let records: Vec<Record> = Turns::new()?.take(LINES).collect();
    let lines = sealed(&records)?;
    sealing(&mut criterion, &records);
    writing(&mut criterion)?;
    verifying(&mut criterion, &lines)?;
    criterion.final_summary();
    Ok(())
}

fn sealed(records: &[Record]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut prev = ChainHash::START;
    let mut line = |(seq, record)| {
        let mut out = Vec::new();
        prev = seal(record, seq, &prev, &mut out)?;
        Ok(out)
    };
    (1..).zip(records).map(&mut line).collect()
}

/// From the record to the chained line, in memory.
fn sealing(criterion: &mut Criterion, records: &[Record]) {
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Elements(1));
    let (mut seq, mut prev, mut out) = (0, ChainHash::START, Vec::new());
    let mut attempts = records[1..].iter().cycle();
    group.bench_function("a line", |bencher| {
        bencher.iter(|| {
            out.clear();
            seq += 1;
            if let Some(Ok(hash)) = attempts.next().map(|it| seal(it, seq, &prev, &mut out)) {
                prev = hash;
            }
        });
    });
    group.finish();
}

/// From the record to the disk: everything is pushed at once and waited for, synced.
fn writing(criterion: &mut Criterion) -> anyhow::Result<()> {
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(LINES as u64)).sample_size(20);
    let dir = tempfile::tempdir()?;
    let (ledger, _) = Ledger::open(dir.path(), &TraceSettings::default(), Timestamp::now())?;
    let sink = ledger.sink();
    let mut turns = Turns::new()?;
    let mut push = |lines, batches| {
        let (mut pushing, mut whole) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..batches {
            let records: Vec<Record> = turns.by_ref().take(lines).collect();
            let start = Instant::now();
            for record in records {
                sink.push(record);
            }
            pushing += start.elapsed();
            ledger.flush()?;
            whole += start.elapsed();
        }
        anyhow::Ok((pushing, whole))
    };
    group.bench_function(format!("{LINES} lines, push"), |bencher| {
        bencher.iter_custom(|batches| push(LINES, batches).map_or(Duration::MAX, |(it, _)| it));
    });
    for lines in [LINES, MANY] {
        group.throughput(Throughput::Elements(lines as u64));
        group.bench_function(format!("{lines} lines, push and flush"), |bencher| {
            bencher.iter_custom(|batches| push(lines, batches).map_or(Duration::MAX, |(_, it)| it));
        });
    }
    group.finish();
    ensure!(sink.dropped() == 0, "{} records were dropped", sink.dropped());
    Ok(())
}

/// From the lines to the report, beside the hashing that no verifier can do without.
fn verifying(criterion: &mut Criterion, lines: &[Vec<u8>]) -> anyhow::Result<()> {
    let bytes = lines.iter().map(Vec::len).sum::<usize>() / lines.len();
    let report = verify(lines);
    ensure!(report == "verified", "the trace is not true: {report}");
    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Elements(LINES as u64)).sample_size(30);
    group.bench_function(format!("floor: SHA-256 of {LINES} lines of {bytes} bytes"), |bencher| {
        bencher.iter(|| lines.iter().map(|line| Sha256::digest(line)[0]).fold(0, u8::wrapping_add));
    });
    group.bench_function(format!("{LINES} lines"), |bencher| bencher.iter(|| verify(lines)));
    group.finish();
    Ok(())
}

fn verify(lines: &[Vec<u8>]) -> &'static str {
    let mut verifier = Verifier::new(Options::default());
    for line in lines {
        if verifier.line(line).is_err() {
            return "refused";
        }
    }
    verifier.report(&InFlight::None).all.verdict.as_str()
}
