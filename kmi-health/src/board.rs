//! The health of all keys of one upstream.
//!
//! The board is told when an attempt begins ([`Board::start`]) and how it ended
//! ([`Board::finish`]), and keeps the set of usable keys ready. It has no clock: whoever holds it
//! compares [`Board::next_change`] with the time before a choice and calls [`Board::refresh`] when
//! it has passed.
//!
//! A key serves when neither its own breaker nor its account's keeps it back. Limits belong to
//! accounts (CONTRACT section 5), so a refusal that speaks of the account rests all its keys.

mod account;
mod entry;
mod exhausted;
mod saved;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kmi_core::{
    eligible::KeySet, inventory::Inventory, key::KeyId, snapshot::KeyRow, trace::HealthChange,
};

pub use exhausted::Exhausted;
pub use saved::SavedBlock;

use crate::{
    Policy,
    breaker::AttemptId,
    classify::{Block, Effect, Scope, Verdict},
    cooldown,
};
use account::Account;
use entry::Entry;

/// The health of all keys of one upstream, by their number in the inventory.
///
/// A number that is no key's is ignored by every method: it can come from a request that began
/// before a reload.
#[derive(Debug)]
pub struct Board {
    policy: Policy,
    keys: Vec<Entry>,
    accounts: Vec<Account>,
    usable: KeySet,
    next_change: Option<Timestamp>,
    attempts: u64,
}

/// How an attempt ended, beside its verdict.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finished<'a> {
    /// The model that the request named.
    pub model: Option<&'a str>,
    /// From the choice to the end.
    pub latency: Duration,
}

impl Board {
    /// All keys healthy, but for those that are disabled in their files.
    pub fn new(inventory: &Inventory, policy: Policy) -> Self {
        let mut accounts = Vec::new();
        let keys = inventory.keys().iter().enumerate().map(|(number, key)| {
            Entry::new(Arc::clone(key), account::join(&mut accounts, number, key))
        });
        let mut board = Self {
            policy,
            keys: keys.collect(),
            accounts: Vec::new(),
            usable: KeySet::default(),
            next_change: None,
            attempts: 0,
        };
        board.accounts = accounts;
        for key in 0..board.keys.len() {
            let health = board.health(key);
            board.keys[key].shown = health;
            board.settle_usable(key);
        }
        board
    }

    /// Takes over what another board knows of the keys that are on both, after a reload.
    pub fn adopt(&mut self, old: &Self, now: Timestamp) -> Vec<HealthChange> {
        self.attempts = self.attempts.max(old.attempts);
        for key in 0..self.keys.len() {
            let Some(before) = old.position(self.keys[key].key.id) else { continue };
            let account = self.keys[key].account;
            self.accounts[account].breaker.merge(&old.accounts[old.keys[before].account].breaker);
            self.accounts[account].in_flight += old.keys[before].meter.in_flight;
            self.keys[key].adopt(&old.keys[before]);
        }
        self.settle_all(now)
    }

    /// The keys that may serve now, as of the last [`Self::refresh`].
    pub fn usable(&self) -> &KeySet {
        &self.usable
    }

    /// The usable keys whose plan has a model, as far as is known; `None` when that leaves out no
    /// key, or all of them: a model that no key has is the request's fault, and any key can say so.
    pub fn usable_for(&self, model: &str) -> Option<KeySet> {
        let lacks = |key: &usize| self.keys[*key].lacks(model);
        if !self.usable.iter().any(|key| lacks(&key)) {
            return None;
        }
        let left: KeySet = self.usable.iter().filter(|key| !lacks(key)).collect();
        (!left.is_empty()).then_some(left)
    }

    /// The number of the key with this id.
    pub fn position(&self, id: KeyId) -> Option<usize> {
        self.keys.iter().position(|entry| entry.key.id == id)
    }

    /// The settings in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// An attempt with a key begins; the result is handed to [`Self::finish`].
    ///
    /// Call it in the same critical section as the choice: the key of a probe is not usable for
    /// a second request.
    pub fn start(&mut self, key: usize, now: Timestamp) -> AttemptId {
        self.attempts += 1;
        let attempt = AttemptId(self.attempts);
        if let Some(entry) = self.keys.get_mut(key) {
            let account = &mut self.accounts[entry.account];
            let calm = entry.breaker.is_calm() && account.breaker.is_calm();
            entry.meter.begin(now);
            account.in_flight += 1;
            if !calm {
                entry.breaker.begin(attempt, now);
                account.breaker.begin(attempt, now);
                self.settle_account(key);
            }
        }
        attempt
    }

    /// The head of a good answer has come: a probe need not wait for the end of a long stream.
    pub fn answered(
        &mut self,
        key: usize,
        attempt: AttemptId,
        now: Timestamp,
    ) -> Vec<HealthChange> {
        self.succeeded(key, attempt, now)
    }

    /// An attempt has ended. To be called once for each [`Self::start`].
    pub fn finish(
        &mut self,
        key: usize,
        attempt: AttemptId,
        verdict: &Verdict,
        finished: &Finished<'_>,
        now: Timestamp,
    ) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        entry.meter.end(verdict.outcome, finished.latency);
        let account = &mut self.accounts[entry.account];
        account.in_flight = account.in_flight.saturating_sub(1);
        if verdict.effect == Effect::Works {
            return self.succeeded(key, attempt, now);
        }
        entry.breaker.says_nothing(attempt);
        account.breaker.says_nothing(attempt);
        self.judge(key, verdict, finished.model, now)
    }

    /// Takes a verdict that no counted attempt gave, such as that of a quota poll.
    pub fn judge(
        &mut self,
        key: usize,
        verdict: &Verdict,
        model: Option<&str>,
        now: Timestamp,
    ) -> Vec<HealthChange> {
        if key >= self.keys.len() {
            return Vec::new();
        }
        match (verdict.effect, model) {
            (Effect::Block(block), _) => self.block(key, &block, now),
            (Effect::LacksModel, Some(model)) => self.lacks_model(key, model, now),
            _ => {}
        }
        self.settle_all(now)
    }

    fn succeeded(&mut self, key: usize, attempt: AttemptId, now: Timestamp) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        let account = &mut self.accounts[entry.account];
        if entry.breaker.is_calm() && account.breaker.is_calm() {
            return Vec::new();
        }
        entry.breaker.succeeded(attempt);
        account.breaker.succeeded(attempt);
        self.settle_all(now)
    }

    fn block(&mut self, key: usize, block: &Block, now: Timestamp) {
        let entry = &mut self.keys[key];
        let breaker = match block.scope {
            Scope::Key => &mut entry.breaker,
            Scope::Account => &mut self.accounts[entry.account].breaker,
        };
        let until = cooldown::end(&self.policy, block, breaker.strikes(), None, now);
        breaker.block(block.reason, until);
    }

    fn lacks_model(&mut self, key: usize, model: &str, now: Timestamp) {
        let until = cooldown::later(now, self.policy.model_cooldown);
        self.keys[key].set_lacking(model, until);
        // When no key has it, the name is wrong, and no key is to blame.
        if self.keys.iter().all(|entry| entry.is_off() || entry.lacks(model)) {
            for entry in &mut self.keys {
                entry.forget_lacking(model);
            }
        }
    }

    /// When [`Self::refresh`] has something to do next; `None`: not before something happens.
    pub fn next_change(&self) -> Option<Timestamp> {
        self.next_change
    }

    /// Lets time pass: blocks end, lost probes are given up.
    pub fn refresh(&mut self, now: Timestamp) -> Vec<HealthChange> {
        if self.next_change.is_none_or(|at| at > now) {
            return Vec::new();
        }
        for account in &mut self.accounts {
            account.breaker.tick(&self.policy, now);
        }
        for entry in &mut self.keys {
            entry.tick(&self.policy, now);
        }
        self.settle_all(now)
    }

    /// The user switches a key off.
    pub fn disable(&mut self, key: usize, now: Timestamp) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        entry.switched_off = true;
        self.settle_all(now)
    }

    /// The user switches a key on, even one that its file disables, and forgives it everything.
    pub fn enable(&mut self, key: usize, now: Timestamp) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        entry.switched_off = false;
        self.clear(key, now)
    }

    /// Forgets every block of a key and of its account.
    pub fn clear(&mut self, key: usize, now: Timestamp) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        entry.clear();
        self.accounts[entry.account].breaker.close();
        self.settle_all(now)
    }

    /// The key's row of the status table.
    pub fn row(&self, key: usize) -> Option<KeyRow> {
        let entry = self.keys.get(key)?;
        Some(entry.row(self.health(key), self.accounts[entry.account].id()))
    }

    /// Brings everything that follows from the state of the breakers up to date.
    fn settle_all(&mut self, now: Timestamp) -> Vec<HealthChange> {
        let mut changes = Vec::new();
        for key in 0..self.keys.len() {
            self.settle_usable(key);
            let health = self.health(key);
            let entry = &mut self.keys[key];
            if health != entry.shown {
                changes.push(entry.change(health, now));
                entry.shown = health;
            }
        }
        self.settle_time();
        changes
    }

    /// As [`Self::settle_all`] where no state can have changed, only who may serve.
    fn settle_account(&mut self, key: usize) {
        let account = self.keys[key].account;
        for at in 0..self.accounts[account].members.len() {
            self.settle_usable(self.accounts[account].members[at]);
        }
        self.settle_time();
    }

    fn settle_usable(&mut self, key: usize) {
        let entry = &self.keys[key];
        let account = &self.accounts[entry.account];
        if !entry.is_off() && entry.breaker.admits() && account.breaker.admits() {
            self.usable.insert(key);
        } else {
            self.usable.remove(key);
        }
    }

    fn settle_time(&mut self) {
        let keys = self.keys.iter().filter_map(|entry| entry.next_change(&self.policy));
        let accounts = self.accounts.iter();
        let accounts = accounts.filter_map(|account| account.breaker.next_change(&self.policy));
        self.next_change = keys.chain(accounts).min();
    }

    fn health(&self, key: usize) -> entry::Health {
        let entry = &self.keys[key];
        entry::Health::of(entry, &self.accounts[entry.account])
    }
}
