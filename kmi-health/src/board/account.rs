//! Accounts on the board: the keys that share their limits.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    inventory::{Key, Limits},
    state::Reason,
    trace::HealthChange,
};

use super::Board;
use crate::{
    Policy,
    account::AccountId,
    breaker::Breaker,
    classify::{Block, QuotaWindow},
    cooldown::later,
    limits::Usage,
    quota::Quota,
};

/// So many blocks in a row without a success between them are no burst any more.
const HIDDEN_FROM: u32 = 2;

/// The keys of one account; a key whose account nobody knows has one of its own. An account that
/// turned out to be another one's stays behind without members.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// The name from the key files.
    given: Option<Arc<str>>,
    /// The numbers of its keys.
    pub(super) members: Vec<usize>,
    /// Its breaker, for everything that the provider refuses to the account.
    pub(super) breaker: Breaker,
    /// What it uses of the limits that were learnt for it.
    pub(super) usage: Usage,
    /// What its quota endpoint said last.
    pub(super) quota: Option<Quota>,
    /// Whether the endpoint gave no answer since.
    pub(super) quota_unknown: bool,
    /// The quota window that the last such refusal named.
    pub(super) spent: Option<QuotaWindow>,
    /// The concurrency that the quota endpoint reports.
    polled: Option<u32>,
    /// The limits that refusals printed, and until when they are believed.
    told: Option<(Limits, Timestamp)>,
}

impl Account {
    /// The name that the status table shows; a learnt id is shortened.
    pub(super) fn name(&self, learnt: Option<&AccountId>) -> Option<String> {
        self.given.as_deref().map(str::to_owned).or_else(|| learnt.map(ToString::to_string))
    }

    pub(super) fn admits(&self, now: Timestamp) -> bool {
        self.breaker.admits() && self.usage.admits(now)
    }

    pub(super) fn clear(&mut self) {
        self.breaker.close();
        self.told = None;
        self.settle_limits();
    }

    pub(super) fn clock_set_back(&mut self) {
        self.breaker.clock_set_back();
        self.told = None;
        self.settle_limits();
    }

    pub(super) fn tick(&mut self, policy: &Policy, now: Timestamp) {
        self.breaker.tick(policy, now);
        if self.told.is_some_and(|(_, until)| until <= now) {
            self.told = None;
            self.settle_limits();
        }
    }

    pub(super) fn next_change(&self, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
        let told = self.told.map(|(_, until)| until);
        let times = [self.breaker.next_change(policy), told, self.usage.frees_at(now)];
        times.into_iter().flatten().min()
    }

    /// Takes the limits that a refusal printed. They are kept for a while only: the provider
    /// raises them with the account's tier and tells nobody.
    pub(super) fn was_told(&mut self, limits: Limits, policy: &Policy, now: Timestamp) {
        if limits == Limits::default() {
            return;
        }
        let before = self.told.map(|(limits, _)| limits).unwrap_or_default();
        let both = Limits {
            rpm: limits.rpm.or(before.rpm),
            tpm: limits.tpm.or(before.tpm),
            concurrency: limits.concurrency.or(before.concurrency),
        };
        self.told = Some((both, later(now, policy.max_cooldown)));
        self.settle_limits();
    }

    /// What a refusal is really about: "too many requests" that does not end sometimes hides that a
    /// quota window is spent (WIRE section 3.1). Where the account has been refused so again and
    /// again and its quota says that one is, both together are believed.
    pub(super) fn really(&self, block: Block, now: Timestamp) -> Block {
        let spent = self.quota.as_ref().filter(|quota| quota.is_spent());
        let reset = spent.and_then(|quota| quota.reset(QuotaWindow::Unnamed));
        let hidden = block.reason == Reason::RateLimited
            && self.breaker.strikes() >= HIDDEN_FROM
            && reset.is_some_and(|reset| reset > now);
        if !hidden {
            return block;
        }
        let (reason, window) = (Reason::QuotaExhausted, Some(QuotaWindow::Unnamed));
        Block { reason, window, wait: None, ..block }
    }

    pub(super) fn set_polled(&mut self, concurrency: Option<u32>) {
        self.polled = concurrency;
        self.settle_limits();
    }

    fn settle_limits(&mut self) {
        let told = self.told.map(|(limits, _)| limits).unwrap_or_default();
        let concurrency = [told.concurrency, self.polled].into_iter().flatten().min();
        self.usage.set_limits(Limits { concurrency, ..told });
    }

    /// Takes over what another account, now or before a reload, knows; the counts aside.
    pub(super) fn adopt(&mut self, other: &Self) {
        self.breaker.merge(&other.breaker);
        let asked = |quota: &Option<Quota>| quota.as_ref().map(|quota| quota.checked_at);
        if asked(&other.quota) > asked(&self.quota) {
            self.quota.clone_from(&other.quota);
            self.quota_unknown = other.quota_unknown;
        }
        self.spent = self.spent.or(other.spent);
        self.polled = self.polled.or(other.polled);
        self.told = self.told.or(other.told);
        self.settle_limits();
    }
}

/// Puts a key into its account, which is made when it is the first; the account's number.
pub(super) fn place(accounts: &mut Vec<Account>, number: usize, key: &Key) -> usize {
    let same = |account: &Account| key.account.is_some() && account.given == key.account;
    let at = accounts.iter().position(same).unwrap_or_else(|| {
        accounts.push(Account { given: key.account.clone(), ..Account::default() });
        accounts.len() - 1
    });
    accounts[at].members.push(number);
    at
}

impl Board {
    /// The provider named the account of a key: keys of one id share every limit from now on.
    pub fn learn(&mut self, key: usize, id: &AccountId, now: Timestamp) -> Vec<HealthChange> {
        if self.join(key, id) { self.settle_all(now) } else { Vec::new() }
    }

    /// The keys of a key's account, itself included, ascending; none for a number that is no key's.
    pub fn siblings(&self, key: usize) -> &[usize] {
        self.keys.get(key).map_or(&[], |entry| &self.accounts[entry.account].members)
    }

    /// The keys that turned out to share an account although their files do not say so: rotation
    /// among them gains nothing.
    pub fn undeclared_siblings(&self) -> Vec<Vec<usize>> {
        let undeclared = |account: &&Account| {
            let mut given = account.members.iter().map(|key| &self.keys[*key].key.account);
            let first = given.next();
            first.is_some_and(|first| first.is_none() || given.any(|given| given != first))
        };
        let accounts = self.accounts.iter().filter(|account| account.members.len() > 1);
        accounts.filter(undeclared).map(|account| account.members.clone()).collect()
    }

    /// Notes an id; `true` when that brought accounts together.
    pub(super) fn join(&mut self, key: usize, id: &AccountId) -> bool {
        self.keys.get_mut(key).is_some_and(|entry| entry.known.learn(id)) && self.unite(key)
    }

    /// Brings a key's account together with those of the siblings that it is now known to have.
    pub(super) fn unite(&mut self, key: usize) -> bool {
        let mut united = false;
        while let Some(theirs) = self.account_of_a_sibling(key) {
            let ours = self.keys[key].account;
            self.merge(ours.min(theirs), ours.max(theirs));
            united = true;
        }
        united
    }

    fn account_of_a_sibling(&self, key: usize) -> Option<usize> {
        let ours = &self.keys[key];
        let elsewhere = self.keys.iter().filter(|other| other.account != ours.account);
        elsewhere.filter(|other| other.known.is_sibling(&ours.known)).map(|it| it.account).next()
    }

    fn merge(&mut self, keep: usize, gone: usize) {
        let gone = std::mem::take(&mut self.accounts[gone]);
        for member in &gone.members {
            self.keys[*member].account = keep;
        }
        let kept = &mut self.accounts[keep];
        kept.members.extend(&gone.members);
        kept.members.sort_unstable();
        kept.given = kept.given.take().or_else(|| gone.given.clone());
        kept.adopt(&gone);
        kept.usage.merge_minutes(&gone.usage);
        kept.usage.add_in_flight(gone.usage.in_flight());
    }
}
