//! The health of all keys of one upstream.
//!
//! The board is told when an attempt begins ([`Board::start`]) and how it ended
//! ([`Board::finish`]), and keeps the set of usable keys ready. It has no clock: whoever holds it
//! compares [`Board::next_change`] with the time before a choice and calls [`Board::refresh`] when
//! it has passed.
//!
//! A key serves when neither its own breaker and limits nor its account's keep it back. Limits
//! belong to accounts (CONTRACT section 5), so a refusal that speaks of the account rests all its
//! keys; which keys belong together is given in their files, or learnt ([`Board::learn`]).
//!
//! Every method that can change a key's health returns the trace's records of it; mostly there
//! are none, and then nothing is allocated.

mod account;
mod entry;
mod exhausted;
mod judge;
mod quota;
mod reload;
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
    classify::{Effect, Verdict},
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
    /// Whether any key is known to lack any model.
    some_lack_models: bool,
}

/// How an attempt ended, beside its verdict.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finished<'a> {
    /// The model that the request named.
    pub model: Option<&'a str>,
    /// From the choice to the end.
    pub latency: Duration,
    /// Prompt and completion tokens, as far as the upstream counted them.
    pub tokens: u64,
}

impl Board {
    /// All keys healthy, but for those that are disabled in their files.
    pub fn new(inventory: &Inventory, policy: Policy) -> Self {
        let mut accounts = Vec::new();
        let keys = inventory.keys().iter().enumerate().map(|(number, key)| {
            Entry::new(Arc::clone(key), account::place(&mut accounts, number, key))
        });
        let keys: Vec<_> = keys.collect();
        let mut board = Self {
            policy,
            usable: KeySet::default(),
            next_change: None,
            attempts: 0,
            some_lack_models: false,
            keys,
            accounts,
        };
        for key in 0..board.keys.len() {
            board.keys[key].shown = board.health(key);
            // No limit is used yet, so any time will do.
            board.settle_usable(key, Timestamp::UNIX_EPOCH);
        }
        board
    }

    /// The keys that may serve now, as of the last [`Self::refresh`].
    pub fn usable(&self) -> &KeySet {
        &self.usable
    }

    /// The usable keys whose plan has a model, as far as is known; `None` when that leaves out no
    /// key.
    ///
    /// None of them is left while the keys that may have the model rest for a moment. Where none
    /// will have it soon, nothing is left out: the name may be wrong, and any key can say so.
    pub fn usable_for(&self, model: &str, now: Timestamp) -> Option<KeySet> {
        let lacks = |key: &usize| self.keys[*key].lacks(model);
        // Asked at every choice, so the usual answer must not cost a look at every key.
        if !self.some_lack_models || !self.usable.iter().any(|key| lacks(&key)) {
            return None;
        }
        let left: KeySet = self.usable.iter().filter(|key| !lacks(key)).collect();
        (!left.is_empty() || self.keys_for(model).iter().any(|key| self.is_soon_usable(key, now)))
            .then_some(left)
    }

    /// The keys that are not known to lack a model, usable or not.
    pub fn keys_for(&self, model: &str) -> KeySet {
        let keys = self.keys.iter().enumerate();
        keys.filter(|(_, entry)| !entry.lacks(model)).map(|(key, _)| key).collect()
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
            entry.meter.begin(now);
            entry.usage.begin(now);
            account.usage.begin(now);
            entry.breaker.begin(attempt, now);
            account.breaker.begin(attempt, now);
            let calm = entry.breaker.is_calm() && account.breaker.is_calm();
            if !calm || entry.usage.is_limited() || account.usage.is_limited() {
                self.settle_account(key, now);
            }
        }
        attempt
    }

    /// Whether an attempt is the probe of its key or of the account.
    pub fn is_probe(&self, key: usize, attempt: AttemptId) -> bool {
        let probes = |entry| self.breakers(entry).into_iter().any(|it| it.is_probe(attempt));
        self.keys.get(key).is_some_and(probes)
    }

    /// The head of a good answer has come: a probe need not wait for the end of a long stream.
    pub fn answered(
        &mut self,
        key: usize,
        attempt: AttemptId,
        now: Timestamp,
    ) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        let account = &mut self.accounts[entry.account];
        if entry.breaker.is_calm() && account.breaker.is_calm() {
            return Vec::new();
        }
        entry.breaker.succeeded(attempt);
        account.breaker.succeeded(attempt);
        self.settle_all(now)
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
        let account = &mut self.accounts[entry.account];
        entry.meter.end(verdict.outcome, finished.latency);
        entry.usage.end(finished.tokens, now);
        account.usage.end(finished.tokens, now);
        if verdict.effect != Effect::Works {
            entry.breaker.says_nothing(attempt);
            account.breaker.says_nothing(attempt);
            return self.judge(key, verdict, finished.model, now);
        }
        entry.last_ok = Some(now);
        entry.breaker.fared_well(&self.policy, now);
        if entry.breaker.is_calm() && account.breaker.is_calm() && !entry.meter.is_due() {
            if entry.usage.is_limited() || account.usage.is_limited() {
                self.settle_account(key, now);
            }
            return Vec::new();
        }
        entry.breaker.succeeded(attempt);
        account.breaker.succeeded(attempt);
        self.compare_speed(key);
        self.settle_all(now)
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
            account.tick(&self.policy, now);
        }
        for entry in &mut self.keys {
            entry.tick(&self.policy, now);
        }
        self.settle_all(now)
    }

    /// The clock was set back: every block that ends at a time would last longer by as much, so each
    /// is tried by a probe instead.
    pub fn clock_set_back(&mut self, now: Timestamp) -> Vec<HealthChange> {
        self.accounts.iter_mut().for_each(Account::clock_set_back);
        self.keys.iter_mut().for_each(Entry::clock_set_back);
        self.settle_all(now)
    }

    /// The user switches a key off.
    pub fn disable(&mut self, key: usize, now: Timestamp) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        entry.switch(true);
        self.settle_all(now)
    }

    /// The user switches a key on, even one that its file disables, and forgives it everything.
    pub fn enable(&mut self, key: usize, now: Timestamp) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        entry.switch(false);
        self.clear(key, now)
    }

    /// Forgets every block of a key and of its account.
    pub fn clear(&mut self, key: usize, now: Timestamp) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        entry.clear();
        self.accounts[entry.account].clear();
        self.settle_all(now)
    }

    /// The key's row of the status table.
    pub fn row(&self, key: usize) -> Option<KeyRow> {
        let entry = self.keys.get(key)?;
        Some(entry.row(self.health(key), &self.accounts[entry.account]))
    }

    /// Brings everything that follows from the state of the breakers up to date.
    fn settle_all(&mut self, now: Timestamp) -> Vec<HealthChange> {
        let mut changes = Vec::new();
        for key in 0..self.keys.len() {
            self.settle_usable(key, now);
            let health = self.health(key);
            let entry = &mut self.keys[key];
            if health != entry.shown {
                changes.push(entry.change(health, now));
                entry.shown = health;
            }
        }
        self.some_lack_models = self.keys.iter().any(Entry::lacks_models);
        self.settle_time(now);
        changes
    }

    /// As [`Self::settle_all`] where no state can have changed, only who may serve.
    fn settle_account(&mut self, key: usize, now: Timestamp) {
        let account = self.keys[key].account;
        for at in 0..self.accounts[account].members.len() {
            self.settle_usable(self.accounts[account].members[at], now);
        }
        let (entry, account) = (&self.keys[key], &self.accounts[account]);
        let calm = entry.breaker.is_calm() && account.breaker.is_calm();
        if !calm || entry.usage.counts_minutes() || account.usage.counts_minutes() {
            self.settle_time(now);
        }
    }

    fn settle_usable(&mut self, key: usize, now: Timestamp) {
        let entry = &self.keys[key];
        if entry.admits(now) && self.accounts[entry.account].admits(now) {
            self.usable.insert(key);
        } else {
            self.usable.remove(key);
        }
    }

    fn settle_time(&mut self, now: Timestamp) {
        let keys = self.keys.iter().filter_map(|entry| entry.next_change(&self.policy, now));
        let accounts = self.accounts.iter();
        let accounts = accounts.filter_map(|account| account.next_change(&self.policy, now));
        self.next_change = keys.chain(accounts).min();
    }

    fn health(&self, key: usize) -> entry::Health {
        let entry = &self.keys[key];
        entry::Health::of(entry, &self.accounts[entry.account], &self.policy)
    }
}
