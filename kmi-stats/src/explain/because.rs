//! Why one key did not serve.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    outcome::Outcome,
    state::{KeyState, Reason},
};
use serde::Serialize;

use super::{Evidence, Note, later};
use crate::conformity::EpochRing;

/// Why a key did not serve.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Because {
    /// It could have; its turn comes later.
    Later,
    /// It could have; the request was tied to another key.
    NotMeant,
    /// The request had tried it before.
    Tried {
        /// How that ended, where the trace has it.
        outcome: Option<Outcome>,
        /// The upstream's status.
        status: Option<u16>,
        /// The provider's words.
        words: Option<Arc<str>>,
    },
    /// It was blocked.
    Blocked {
        /// Why.
        reason: Option<Reason>,
        /// Until when; `None`: until the user acts.
        until: Option<Timestamp>,
        /// Since when.
        since: Timestamp,
        /// The provider's words.
        words: Option<Arc<str>>,
    },
    /// The user had switched it off.
    Disabled {
        /// Since when.
        since: Timestamp,
    },
    /// A key of a better priority could serve.
    LowerPriority {
        /// Its own tier.
        tier: i32,
        /// The tier that served.
        than: i32,
    },
    /// Its block had ended, and another request was probing it.
    Probed {
        /// Why it had been blocked.
        reason: Option<Reason>,
    },
    /// It was not in the plan of this key to serve the model.
    LacksModel {
        /// The model.
        model: Option<Arc<str>>,
    },
    /// It was well, and at a limit of its own: requests at once, or requests or tokens a minute.
    AtLimit,
    /// The lines that are kept say nothing of the key before the choice: it was at a limit of its
    /// own, or switched off or blocked earlier, or by its file from the start.
    Untold,
}

impl Evidence {
    /// Why the key at this place of the epoch did not serve.
    pub(super) fn because(&self, ring: &EpochRing, at: usize) -> Because {
        let it = &self.attempt;
        let key = &ring.keys[at];
        if it.tried.contains(at) {
            let before = self.tried.iter().find(|attempt| attempt.key == key.key);
            return Because::Tried {
                outcome: before.map(|attempt| attempt.outcome),
                status: before.and_then(|attempt| attempt.status),
                words: before.and_then(|attempt| attempt.error.clone()),
            };
        }
        if it.eligible.contains(at) {
            return if it.turn.is_some() { Because::Later } else { Because::NotMeant };
        }
        let notes = self.notes.get(&key.key).map(Vec::as_slice).unwrap_or_default();
        let told = notes.iter().rev().find_map(|note| self.kept_back(note));
        if let Some(because) = told {
            return because;
        }
        let tier = |at: usize| ring.keys.get(at).map(|key| key.tier);
        let best = it.eligible.iter().filter(|at| !it.tried.contains(*at)).filter_map(tier).min();
        if let Some(than) = best.filter(|best| *best < key.tier) {
            return Because::LowerPriority { tier: key.tier, than };
        }
        match notes.last().map(|note| (note.change.to, note.change.reason)) {
            Some((KeyState::Warn, Some(Reason::ModelNotAllowed))) => {
                Because::LacksModel { model: it.model.clone() }
            }
            Some((KeyState::Warn, reason)) if reason.is_some_and(was_blocked) => {
                Because::Probed { reason }
            }
            None => Because::Untold,
            // A block that was over when kmi was stopped has no line that ends it.
            _ => Because::AtLimit,
        }
    }

    /// What a change says about why its key could not serve at the time of the choice.
    fn kept_back(&self, note: &Note) -> Option<Because> {
        let change = &note.change;
        match change.to {
            KeyState::Disabled => Some(Because::Disabled { since: change.ts }),
            KeyState::Blocked if change.until.is_none_or(|until| later(until) > self.chosen) => {
                Some(Because::Blocked {
                    reason: change.reason,
                    until: change.until,
                    since: note.since,
                    words: note.cause.clone(),
                })
            }
            KeyState::Blocked | KeyState::Healthy | KeyState::Warn => None,
        }
    }
}

/// Whether a key that is shown with this reason and may serve is being probed.
fn was_blocked(reason: Reason) -> bool {
    match reason {
        Reason::AccountTerminated
        | Reason::AuthFailed
        | Reason::BalanceExhausted
        | Reason::ConcurrencyLimited
        | Reason::Failing
        | Reason::MembershipLapsed
        | Reason::QuotaExhausted
        | Reason::RateLimited => true,
        Reason::ModelNotAllowed | Reason::QuotaLow | Reason::QuotaUnknown | Reason::Slow => false,
    }
}
