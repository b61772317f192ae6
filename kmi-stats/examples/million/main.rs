//! A long life, and its proof: a million turns with all that happens to a rotation, verified.
//!
//!     cargo run --release -p kmi-stats --example million [-- TURNS [FILE]]
//!
//! Two upstreams with weights and priorities; keys flap; requests fail and are tried again with
//! another key; attempts end in any order; keys come and go; every now and then the process is
//! killed with turns in flight. With FILE the trace is written there too.

#![expect(clippy::print_stdout, reason = "printing is what the example is for")]
#![expect(clippy::disallowed_methods, reason = "the library is pure, its example has a clock")]

mod life;

use std::{
    env,
    error::Error,
    fs::File,
    io::{BufWriter, Write},
    time::{Duration, Instant},
};

use kmi_core::trace::{ChainHash, Record, seal};
use kmi_stats::{
    report::{Report, Verdict},
    verify::{InFlight, Options, Verifier},
};

use self::life::Life;

/// Lines that are made before they are verified, so that only verifying is on the clock; few
/// enough to be in the cache still, as a file that is read chunk by chunk is.
const BATCH: usize = 400;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let turns = args.next().map_or(Ok(1_000_000), |turns| turns.parse())?;
    let mut file = args.next().map(File::create).transpose()?.map(BufWriter::new);
    let Lived { report, took, bytes } = live(turns, file.as_mut().map(|it| it as &mut dyn Write))?;
    let all = &report.all;
    println!("{}: {} of {} turns conform", all.verdict, all.conforming, all.turns);
    println!(
        "{} lines, {} MB; {} turns in {} gaps; largest pair gap {}; lower bound {:.9}",
        report.chain.records,
        bytes / 1_000_000,
        all.gap_turns,
        all.gap_count,
        all.max_pair_gap,
        all.lower_bound,
    );
    let lines = u32::try_from(report.chain.records)?;
    println!("verified in {took:.2?}, {:.0?} a line", took / lines.max(1));
    if all.verdict != Verdict::Verified || all.turns != all.conforming {
        return Err(format!("not verified: {:?}", report.findings).into());
    }
    Ok(())
}

struct Lived {
    report: Report,
    took: Duration,
    bytes: usize,
}

/// Lives `turns` turns (and the gaps that come with them) and verifies the trace.
fn live(turns: u64, mut file: Option<&mut dyn Write>) -> Result<Lived, Box<dyn Error>> {
    let mut life = Life::new(7)?;
    let mut verifier = Verifier::new(Options::default());
    let (mut seq, mut prev, mut took, mut bytes) = (0, ChainHash::START, Duration::ZERO, 0);
    let (mut records, mut batch, mut ends) = (Vec::<Record>::new(), Vec::new(), Vec::new());
    while life.turns() < turns || !records.is_empty() {
        while life.turns() < turns && records.len() < BATCH {
            life.step(&mut records)?;
        }
        if life.turns() >= turns {
            life.end(&mut records);
        }
        batch.clear();
        ends.clear();
        for record in records.drain(..) {
            seq += 1;
            prev = seal(&record, seq, &prev, &mut batch)?;
            ends.push(batch.len());
            batch.push(b'\n');
        }
        bytes += batch.len();
        if let Some(file) = &mut file {
            file.write_all(&batch)?;
        }
        let begin = Instant::now();
        let mut from = 0;
        for end in &ends {
            verifier.line(&batch[from..*end])?;
            from = end + 1;
        }
        took += begin.elapsed();
    }
    if let Some(file) = &mut file {
        file.flush()?;
    }
    Ok(Lived { report: verifier.report(&InFlight::None), took, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The million is the gate's business; what it is made of is tested here.
    #[test]
    fn a_life_with_everything_in_it_verifies() {
        let mut text = Vec::new();
        let Lived { report, .. } = live(30_000, Some(&mut text)).unwrap();
        let all = &report.all;
        assert_eq!(report.findings, []);
        assert_eq!((all.verdict, all.conforming), (Verdict::Verified, all.turns));
        assert_eq!((all.open, all.unlinked, all.unverifiable), (0, 0, 0));
        assert!((all.max_pair_gap - 1.0).abs() < 1e-12);
        assert_eq!(all.turns + all.gap_turns, 30_000);
        assert!(report.upstreams.len() == 2 && all.gap_count > 2);
        let text = String::from_utf8(text).unwrap();
        let has = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert!(has(r#""type":"epoch""#) > 4, "keys came and went");
        assert!(has(r#""attempt":3"#) > 10, "retries");
        assert!(has(r#""weight":3"#) > 0 && has(r#""tier":1"#) > 0);
    }
}
