//! What the quota endpoints say, and what that means for the keys.

use jiff::Timestamp;
use kmi_core::{state::Reason, trace::HealthChange};

use super::{Board, account::Account};
use crate::{
    classify::{Block, QuotaWindow, Scope},
    quota::Quota,
};

impl Board {
    /// Takes a quota that was asked with a key, for its whole account.
    ///
    /// A quota that looks spent blocks nothing, and one that looks fresh frees nothing: the
    /// endpoint is known to lie in both ways, and real refusals count (WIRE section 1.5). What it
    /// gives is the reset that ends a block, the account's id and its concurrency. Only with real
    /// refusals together is a spent window believed (see `Account::really`). A balance is believed:
    /// without one, inference is refused.
    pub fn set_quota(&mut self, key: usize, quota: Quota, now: Timestamp) -> Vec<HealthChange> {
        if key >= self.keys.len() {
            return Vec::new();
        }
        if let Some(id) = &quota.account {
            self.join(key, id);
        }
        let account = &mut self.accounts[self.keys[key].account];
        let window = account.spent.unwrap_or(QuotaWindow::Unnamed);
        if account.breaker.blocked_for() == Some(Reason::QuotaExhausted)
            && let Some(reset) = quota.reset(window).filter(|reset| *reset > now)
        {
            let known = account.quota.as_ref().and_then(|quota| quota.reset(window));
            let known = known.filter(|reset| *reset > now);
            if quota.uses_up(window) {
                account.breaker.ends_at(reset);
            } else if known.is_none() {
                // The first that is heard of it. Later another reset of a window that is not used
                // up is that of the next window, and no reason to wait for its end too.
                account.breaker.block(Reason::QuotaExhausted, Some(reset));
            }
        }
        let balance = quota.balance;
        account.set_polled(quota.concurrency);
        account.quota = Some(quota);
        account.quota_unknown = false;
        match balance {
            Some(left) if left > 0.0 => account.breaker.relieve(&[Reason::BalanceExhausted]),
            Some(_) => {
                let reason = Reason::BalanceExhausted;
                let block = Block { reason, scope: Scope::Account, wait: None, window: None };
                self.block(key, &block, now);
            }
            None => {}
        }
        self.settle_all(now)
    }

    /// The quota endpoint gave no usable answer: that is shown, and blocks nothing.
    pub fn quota_failed(&mut self, key: usize, now: Timestamp) -> Vec<HealthChange> {
        let Some(entry) = self.keys.get(key) else { return Vec::new() };
        self.accounts[entry.account].quota_unknown = true;
        self.settle_all(now)
    }

    /// The newest quota of each account that has a key which is not switched off; for the one
    /// answer that [`crate::quota::pool::usages`] makes of them.
    pub fn quotas(&self) -> impl Iterator<Item = &Quota> {
        let on = |account: &&Account| account.members.iter().any(|key| !self.keys[*key].is_off());
        self.accounts.iter().filter(on).filter_map(|account| account.quota.as_ref())
    }

    /// The newest quota of a key's account.
    pub fn quota(&self, key: usize) -> Option<&Quota> {
        self.accounts[self.keys.get(key)?.account].quota.as_ref()
    }
}
