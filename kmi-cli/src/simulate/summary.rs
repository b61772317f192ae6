//! What a simulation came to, beside its proof.

use kmi_core::state::Policy;
use serde::Serialize;

use super::clients::Tokens;

/// The answers to what one wanted to know before money is spent. Times are in simulated
/// milliseconds from the beginning.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) seed: u64,
    pub(crate) policy: Policy,
    pub(crate) keys: usize,
    pub(crate) simulated_ms: i64,
    pub(crate) turns: u64,
    /// Turns, and what sessions sent to the key that they have.
    pub(crate) attempts: u64,
    pub(crate) sessions: u64,
    pub(crate) requests: Requests,
    pub(crate) tokens: Sums,
    /// How often a key was blocked.
    pub(crate) blocks: u64,
    /// `None`: some key was usable all the time.
    pub(crate) exhausted: Option<Exhaustion>,
}

/// How requests fared.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Requests {
    pub(crate) asked: u64,
    pub(crate) good: u64,
    /// Ended with an error of the provider's.
    pub(crate) failed: u64,
    /// Ended because no key was left that could serve.
    pub(crate) refused: u64,
    /// Needed more than one key.
    pub(crate) moved: u64,
    /// Waited for a key, and for how long together.
    pub(crate) waited: u64,
    pub(crate) waited_ms: i64,
}

/// Tokens of the good answers.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sums {
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
    /// Prompt tokens that came out of an account's cache.
    pub(crate) cached: u64,
}

/// When no key could serve.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Exhaustion {
    pub(crate) first_ms: i64,
    /// From each refusal to the next choice, together.
    pub(crate) total_ms: i64,
    /// Nothing but the user's hand would have helped; the simulation ended there.
    pub(crate) for_good: bool,
}

impl Sums {
    pub(super) fn add(&mut self, tokens: Tokens) {
        self.prompt += tokens.prompt;
        self.completion += tokens.completion;
        self.cached += tokens.cached;
    }

    /// The share of prompt tokens that came out of a cache, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(crate) fn cached_share(&self) -> f64 {
        if self.prompt == 0 { 0.0 } else { self.cached as f64 / self.prompt as f64 }
    }
}
