//! Chi-square of shares: are the keys served as often as their exposure asks for?
//! (FAIRNESS section 4)
//!
//! A strict rotation is *more* even than chance, so `p` sits near 1: this test looks for bias and
//! is no proof. The replay is the proof.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Below this `p` the shares are called biased.
pub const BIAS_LEVEL: f64 = 0.05;

/// A chi-square statistic and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChiSquare {
    /// The sum of `(observed - expected)² / expected`.
    pub statistic: f64,
    /// Degrees of freedom: keys with an expectation, less one.
    pub df: u64,
    /// How likely chance alone would be at least as uneven; 1 where there is nothing to compare.
    pub p: f64,
}

impl Default for ChiSquare {
    /// Nothing to compare.
    fn default() -> Self {
        Self { statistic: 0.0, df: 0, p: 1.0 }
    }
}

impl ChiSquare {
    /// Compares observed counts with expected ones; keys that expect nothing are left out.
    pub fn of(shares: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let (mut statistic, mut keys) = (0.0, 0u64);
        for (observed, expected) in shares {
            if expected > 0.0 {
                statistic += (crate::confidence::as_f64(observed) - expected).powi(2) / expected;
                keys += 1;
            }
        }
        Self::new(statistic, keys.saturating_sub(1))
    }

    /// The test over several upstreams: statistics and degrees of freedom added.
    pub fn together(parts: impl IntoIterator<Item = Self>) -> Self {
        let sum = |(x, df), part: Self| (x + part.statistic, df + part.df);
        let (statistic, df) = parts.into_iter().fold((0.0, 0), sum);
        Self::new(statistic, df)
    }

    fn new(statistic: f64, df: u64) -> Self {
        let p = ChiSquared::new(crate::confidence::as_f64(df)).map_or(1.0, |x| x.sf(statistic));
        Self { statistic, df, p }
    }

    /// Whether the shares are more uneven than chance explains.
    pub fn is_biased(&self) -> bool {
        self.p < BIAS_LEVEL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_itself_is_no_bias() {
        let at = |p| ChiSquare { p, ..ChiSquare::default() }.is_biased();
        assert!(!at(BIAS_LEVEL) && at(BIAS_LEVEL.next_down()));
    }

    fn even(observed: &[u64]) -> ChiSquare {
        let total: u64 = observed.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let expected = total as f64 / observed.len() as f64;
        ChiSquare::of(observed.iter().map(|n| (*n, expected)))
    }

    fn assert_close(is: f64, should: f64, what: &str) {
        assert!((is - should).abs() <= 1e-11 * should, "{what}: {is} instead of {should}");
    }

    /// The table of FAIRNESS section 4.
    #[test]
    fn the_numbers_are_those_of_the_contract() {
        for (observed, statistic, df, p) in [
            (&[40, 40, 40, 40, 40][..], 0.0, 4, 1.0),
            (&[41, 40, 40, 40, 39], 0.05, 4, 0.999_692_659_829),
            (&[52, 37, 41, 33, 37], 5.3, 4, 0.257_876_927_671),
            (&[60, 35, 35, 35, 35], 12.5, 4, 0.013_995_792_487_7),
            (&[29, 29, 29, 29, 28, 28, 28], 0.06, 6, 0.999_995_600_045),
            (&[100, 100, 0], 100.0, 2, 1.928_749_847_96e-22),
            (&[200, 0, 0, 0, 0], 800.0, 4, 7.679_830_082_82e-172),
        ] {
            let test = even(observed);
            assert_close(test.statistic, statistic, &format!("statistic of {observed:?}"));
            assert_close(test.p, p, &format!("p of {observed:?}"));
            assert_eq!(test.df, df);
        }
    }

    #[test]
    fn keys_that_expect_nothing_are_left_out() {
        assert_eq!(ChiSquare::of([(10, 10.0), (0, 0.0), (10, 10.0)]).df, 1);
        assert_eq!(ChiSquare::of([(10, 10.0), (7, 0.0)]), ChiSquare::default());
        assert_eq!(ChiSquare::of([]), ChiSquare::default());
    }

    #[test]
    fn upstreams_are_added() {
        let [a, b] = [even(&[52, 37, 41, 33, 37]), even(&[100, 100, 0])];
        let both = ChiSquare::together([a, b]);
        assert_close(both.statistic, 105.3, "sum");
        assert_eq!(both.df, 6);
        assert!(both.is_biased() && !a.is_biased());
        assert_eq!(ChiSquare::together([]), ChiSquare::default());
    }
}
