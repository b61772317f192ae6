//! How long answers take: a histogram of fixed size that slowly forgets.

use std::time::Duration;

use kmi_core::snapshot::LatencyRow;

/// Buckets per doubling; a quantile is at most 1/4 too high.
const PER_OCTAVE: u32 = 4;
/// Up to 2^22 ms, more than an hour; the last bucket takes everything beyond.
const BUCKETS: usize = 22 * PER_OCTAVE as usize;
/// At so many samples all counts are halved, so that old answers lose their weight.
const FORGET_AT: u32 = 1024;

/// With fewer samples a median is an accident.
const SETTLED_AT: u32 = 20;

/// A histogram of latencies in logarithmic buckets.
#[derive(Debug, Clone)]
pub(crate) struct Latency {
    counts: [u32; BUCKETS],
    total: u32,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }
}

impl Latency {
    /// Takes one sample.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.counts[bucket(latency.as_millis().try_into().unwrap_or(u64::MAX))] += 1;
        self.total += 1;
        if self.total >= FORGET_AT {
            for count in &mut self.counts {
                *count /= 2;
            }
            self.total = self.counts.iter().sum();
        }
    }

    /// The latency in ms that a part `q` (0 to 1) of the samples does not exceed, rounded up to
    /// its bucket's end; `None` without samples.
    pub(crate) fn quantile(&self, q: f64) -> Option<u64> {
        let mut left = (f64::from(self.total) * q.clamp(0.0, 1.0)).ceil().max(1.0);
        for (at, count) in self.counts.iter().enumerate() {
            left -= f64::from(*count);
            if *count > 0 && left <= 0.0 {
                return Some(upper_end(at));
            }
        }
        None
    }

    /// The median in ms, once there are enough samples to compare it with others.
    pub(crate) fn settled_median(&self) -> Option<u64> {
        (self.total >= SETTLED_AT).then(|| self.quantile(0.5)).flatten()
    }

    /// Median and 95th percentile for the status table.
    pub(crate) fn row(&self) -> LatencyRow {
        LatencyRow { p50: self.quantile(0.5), p95: self.quantile(0.95) }
    }
}

/// Where a latency is counted: its power of two, and the two bits after the leading one.
fn bucket(ms: u64) -> usize {
    let ms = ms.max(1);
    let octave = ms.ilog2();
    let quarter = if octave >= 2 { ms >> (octave - 2) & 3 } else { ms << (2 - octave) & 3 };
    let at = u64::from(octave * PER_OCTAVE) + quarter;
    usize::try_from(at).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1))
}

/// The largest latency of a bucket, in ms.
fn upper_end(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket as u64 / 4, bucket as u64 % 4);
    ((1 << octave) + ((quarter + 1) << octave).div_ceil(4)).saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(samples: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for ms in samples {
            latency.record(Duration::from_millis(*ms));
        }
        latency
    }

    #[test]
    fn no_samples_are_no_numbers() {
        assert_eq!(Latency::default().row(), LatencyRow::default());
    }

    #[test]
    fn quantiles_sit_at_the_end_of_their_bucket() {
        assert_eq!(of(&[0]).row(), LatencyRow { p50: Some(1), p95: Some(1) });
        let row = of(&[100; 99]).row();
        assert_eq!(row, LatencyRow { p50: Some(111), p95: Some(111) });
        let mixed: Vec<u64> = (1..=100).map(|n| n * 10).collect();
        assert_eq!(of(&mixed).row(), LatencyRow { p50: Some(511), p95: Some(1023) });
    }

    #[test]
    fn old_answers_lose_their_weight() {
        let mut latency = of(&[60_000; 1000]);
        for _ in 0..3000 {
            latency.record(Duration::from_millis(10));
        }
        assert!(latency.quantile(0.95) < Some(20), "{:?}", latency.row());
        assert!(latency.total < FORGET_AT);
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_too_low_and_little_too_high(ms in 1u64..4_000_000) {
            let shown = of(&[ms]).quantile(0.5).unwrap();
            prop_assert!(shown >= ms && shown * 4 <= ms * 5, "{ms} shown as {shown}");
        }

        #[test]
        fn no_latency_panics(ms in any::<u64>()) {
            prop_assert!(of(&[ms]).quantile(0.95).is_some());
        }
    }
}
