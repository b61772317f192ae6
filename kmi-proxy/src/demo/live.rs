//! A day of Kimi in minutes, without an end: for those who watch.

use std::time::Duration;

use super::{
    errors,
    scenario::{Act, Asked, Scenario, Shape, When},
};

/// The key that runs out of quota, from 0, …
const SPENT: usize = 4;
/// … for so long, which is longer than anybody watches.
const SPENT_FOR: Duration = Duration::from_mins(107);

impl Scenario {
    /// Seven keys whose answers take some time, and now and then go wrong: `charlie` (the third)
    /// is rate limited, `echo` (the fifth) runs out of quota, `golf` (the seventh) has
    /// an answer broken off, `delta` (the fourth) meets an overload.
    pub fn live() -> Self {
        let spent = When::Span { from: 6, lasts: SPENT_FOR };
        let mut live = Self::healthy(7).with_fault(SPENT, spent, Act::Error(errors::PERIOD_SPENT));
        for (key, n) in live.keys.iter_mut().zip(0..) {
            (key.used_5h, key.used_7d) = (11 + 13 * n % 60, 8 + 17 * n % 70);
        }
        live.deciding(|asked| decide(asked).or_else(|| is_good(asked).then(|| answer(asked))))
    }
}

fn decide(asked: &Asked<'_>) -> Option<Act> {
    let secret = &asked.key.secret;
    if asked.method != "POST" {
        return None;
    }
    let n = asked.key_requests;
    let key = secret.bytes().last().map(|digit| digit.wrapping_sub(b'0'))?;
    match key {
        3 if n % 11 == 3 => {
            Some(Act::Error(errors::TOO_MANY_REQUESTS.with_header("retry-after", "12")))
        }
        4 if n % 23 == 17 => Some(Act::Error(errors::ENGINE_OVERLOADED)),
        7 if n % 21 == 19 => Some(Act::CutAfter(2)),
        _ => None,
    }
}

/// Whether a request is answered; the others are left to the key's fault.
fn is_good(asked: &Asked<'_>) -> bool {
    asked.method != "POST" || !asked.key.secret.ends_with('5') || asked.key_requests < 9
}

/// Answers of different lengths, so that there is something to compare.
fn answer(asked: &Asked<'_>) -> Act {
    if asked.method != "POST" {
        return Act::SlowHead(Duration::from_millis(3));
    }
    // Any spread will do, as long as it is the same every time.
    let spread = asked.seq.wrapping_mul(2_654_435_761) % 100;
    let delay = Duration::from_millis(4 + spread);
    let words = usize::try_from(spread).unwrap_or(0) + 4;
    let shape = Shape {
        chunks: 6,
        prompt_tokens: 900 + 37 * spread,
        cached_tokens: 31 * spread,
        completion_tokens: 2 * words as u64,
        ..Shape::sized(5 * words, 6, delay)
    };
    Act::Answer(shape)
}
