//! How sure `m` conforming turns of `n` make us: the exact one-sided binomial test and the
//! Clopper-Pearson lower bound (FAIRNESS section 3).

use statrs::distribution::{Beta, Binomial, ContinuousCDF, DiscreteCDF};

/// The share of turns that must rotate correctly for the claim to hold.
pub const CLAIMED_RATE: f64 = 0.95;

/// The confidence that the verdict asks for.
pub const REQUIRED_CONFIDENCE: f64 = 0.95;

/// Fewer turns than this never prove anything: with no violation at all the confidence passes
/// 95 % at the 59th turn.
pub const MIN_TURNS: u64 = 59;

/// How confident `conforming` of `turns` make us that at least 95 % of all turns conform:
/// `1 - P(Bin(turns, 0.95) >= conforming)`, 0 without data.
///
/// ```
/// assert_eq!(kmi_stats::confidence::confidence(0, 0), 0.0);
/// assert!(kmi_stats::confidence::confidence(58, 58) < 0.95);
/// assert!(kmi_stats::confidence::confidence(59, 59) > 0.95);
/// ```
pub fn confidence(conforming: u64, turns: u64) -> f64 {
    // P(X >= 0) is certain: nothing conforming gives no confidence.
    let Some(fewer) = conforming.min(turns).checked_sub(1) else { return 0.0 };
    // 1 - P(X >= m) is P(X <= m - 1), which loses no digits.
    Binomial::new(CLAIMED_RATE, turns).map_or(0.0, |x| x.cdf(fewer))
}

/// The one-sided 95 % Clopper-Pearson lower bound of the conformity rate, 0 without data.
pub fn lower_bound(conforming: u64, turns: u64) -> f64 {
    let conforming = conforming.min(turns);
    if conforming == 0 {
        return 0.0;
    }
    let alpha = 1.0 - REQUIRED_CONFIDENCE;
    let (m, n) = (as_f64(conforming), as_f64(turns));
    if conforming == turns {
        // The quantile has a closed form here, and this is by far the usual case.
        return alpha.powf(1.0 / n);
    }
    Beta::new(m, n - m + 1.0).map_or(0.0, |beta| quantile(&beta, alpha))
}

/// What people read of a confidence or a lower bound: percent with two decimals, rounded down, and
/// never more than `99.99 %`. Any number of turns leaves a doubt, also where `f64` has no digits
/// left for it (from 717 turns without a violation on, [`confidence`] is 1.0 to it).
///
/// ```
/// use kmi_stats::confidence::{confidence, shown};
/// assert_eq!(shown(confidence(58, 58)), "94.89 %");
/// assert_eq!(shown(confidence(1_000_000, 1_000_000)), "99.99 %");
/// ```
pub fn shown(probability: f64) -> String {
    // What is no number stands for no confidence.
    let probability = if probability > 0.0 { probability } else { 0.0 };
    // The nearest step, or the one below: a product alone may lie on either side of a step.
    let nearest = (probability * 10_000.0).round();
    let reached = if nearest / 10_000.0 > probability { nearest - 1.0 } else { nearest };
    format!("{:.2} %", reached.min(9_999.0) / 100.0)
}

/// Bisection down to neighbouring floats. The library's own inverse iterates without a bound and
/// does not come back for extreme shapes.
fn quantile(beta: &Beta, p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // Every step halves an interval of 64-bit floats in [0, 1].
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if beta.cdf(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Counts above 2^53 lose their last digits, which no probability here can show.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of FAIRNESS section 3.
    #[test]
    fn the_numbers_are_those_of_the_contract() {
        for (n, m, sure, low) in [
            (10, 10, 0.401_263_060_762, 0.741_134_449_107),
            (58, 58, 0.948_953_131_316, 0.949_660_661_670),
            (59, 59, 0.951_505_474_751, 0.950_492_390_112),
            (93, 92, 0.950_024_204_757, 0.950_006_021_612),
            (92, 91, 0.947_863_597_068, 0.949_473_639_123),
            (124, 122, 0.950_470_222_321, 0.950_099_828_772),
            (200, 200, 0.999_964_947_334, 0.985_132_960_769),
            (200, 199, 0.999_595_971_900, 0.976_501_529_565),
            (200, 195, 0.937_657_504_958, 0.948_156_660_880),
            (200, 190, 0.416_932_817_919, 0.916_664_848_934),
            (1000, 1000, 1.000_000_000_000, 0.997_008_750_455),
        ] {
            assert_close(confidence(m, n), sure, &format!("confidence {m} of {n}"));
            assert_close(lower_bound(m, n), low, &format!("lower bound {m} of {n}"));
        }
    }

    fn assert_close(is: f64, should: f64, what: &str) {
        assert!((is - should).abs() <= 1e-11 * should, "{what}: {is} instead of {should}");
    }

    #[test]
    fn violations_must_be_made_up_for_by_more_turns() {
        for (violations, first) in [(0, 59), (1, 93), (2, 124), (3, 153), (4, 181)] {
            let passes = |n: u64| confidence(n - violations, n) >= REQUIRED_CONFIDENCE;
            assert_eq!((5..300).find(|n| passes(*n)), Some(first), "{violations} violations");
            assert!((first..2_000).all(passes), "{violations} violations: stays passed");
        }
        assert_eq!(MIN_TURNS, 59);
    }

    #[test]
    fn no_data_is_no_confidence() {
        assert_eq!((confidence(0, 0), lower_bound(0, 0)), (0.0, 0.0));
        assert_eq!((confidence(0, 50), lower_bound(0, 50)), (0.0, 0.0));
    }

    /// Thin data, and then as much of it as there will ever be.
    #[test]
    fn nothing_is_ever_shown_as_certain() {
        for turns in (1..=2_000).chain([10_000_000, 1 << 53, u64::MAX]) {
            for probability in [confidence(turns, turns), lower_bound(turns, turns)] {
                let percent: f64 = shown(probability).strip_suffix(" %").unwrap().parse().unwrap();
                assert!(percent <= 99.99, "{turns} turns: {percent}");
                assert!(percent / 100.0 <= probability, "{turns} turns: rounded up to {percent}");
                let proven = probability >= REQUIRED_CONFIDENCE;
                assert_eq!(percent >= 95.0, proven, "{turns} turns: {percent} of {probability}");
            }
        }
        assert_eq!([shown(0.0), shown(-1.0), shown(f64::NAN)], ["0.00 %"; 3]);
        let near = [0.949_999, 0.949_99, 0.95, 0.999_9, 1.0, f64::INFINITY].map(shown);
        assert_eq!(near, ["94.99 %", "94.99 %", "95.00 %", "99.99 %", "99.99 %", "99.99 %"]);
    }

    /// Just below each step: some of these products are rounded up to the step.
    #[test]
    fn what_falls_short_by_a_hair_is_not_shown_as_reached() {
        for step in 1..10_000 {
            let reached = f64::from(step) / 10_000.0;
            let hundredths = |shown: String| shown.replace(['.', '%', ' '], "").parse::<i32>();
            assert_eq!(hundredths(shown(reached)), Ok(step));
            assert_eq!(hundredths(shown(reached.next_down())), Ok(step - 1));
        }
    }

    #[test]
    fn huge_counts_stay_probabilities() {
        for (m, n) in [(u64::MAX, u64::MAX), (1, u64::MAX), (5, 1), (1 << 40, 1 << 41)] {
            for p in [confidence(m, n), lower_bound(m, n)] {
                assert!((0.0..=1.0).contains(&p), "{m} of {n}: {p}");
            }
        }
    }
}
