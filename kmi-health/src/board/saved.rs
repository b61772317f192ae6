//! Blocks as plain data, so that a restart does not hammer a key that rests.

use jiff::Timestamp;
use kmi_core::{key::KeyId, state::Reason, trace::HealthChange};

use super::Board;
use crate::{
    breaker::State,
    classify::Scope,
    cooldown::{HOUR, later},
    retry_after::LONGEST,
};

/// A block that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedBlock {
    /// The key; of an account's block, each of its keys has one.
    pub key: KeyId,
    /// Whether the key or its whole account rests.
    pub scope: Scope,
    /// Why.
    pub reason: Reason,
    /// Until when; `None` until the user acts.
    pub until: Option<Timestamp>,
}

impl Board {
    /// Every block that is in force.
    pub fn export(&self) -> Vec<SavedBlock> {
        let of_key = self.keys.iter().flat_map(|entry| {
            let account = self.accounts[entry.account].breaker.state();
            [(Scope::Key, entry.breaker.state()), (Scope::Account, account)].into_iter().filter_map(
                |(scope, state)| match state {
                    State::Open { reason, until } => {
                        Some(SavedBlock { key: entry.key.id, scope, reason, until })
                    }
                    _ => None,
                },
            )
        });
        of_key.collect()
    }

    /// Puts blocks back into force; what is over, and keys that are gone, are left out.
    ///
    /// A block that ends by itself is not believed for longer than its reason allows (the end of a quota's
    /// window, or a cooldown), so that a clock that was wrong once cannot park a key.
    pub fn import(&mut self, saved: &[SavedBlock], now: Timestamp) -> Vec<HealthChange> {
        for block in saved {
            let Some(key) = self.position(block.key) else { continue };
            let longest = match block.reason {
                Reason::QuotaExhausted => LONGEST,
                _ => self.policy.max_cooldown.min(HOUR),
            };
            let furthest = later(now, longest);
            let until = match block.until {
                None if block.reason.needs_the_user() => None,
                Some(until) if until > now => Some(until.min(furthest)),
                _ => continue,
            };
            let entry = &mut self.keys[key];
            match block.scope {
                Scope::Key => entry.breaker.block(block.reason, until),
                Scope::Account => self.accounts[entry.account].breaker.block(block.reason, until),
            }
        }
        self.settle_all(now)
    }
}
