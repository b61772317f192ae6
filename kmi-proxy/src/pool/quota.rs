//! What the quota endpoints say about the pool's keys.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    inventory::Key,
    key::KeyId,
    snapshot::QuotaRow,
    state::{KeyState, Reason},
};
use kmi_health::{
    classify::{Effect, Verdict},
    quota::{Quota, pool},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Pool;

/// Keys that were refused for what their account has left, until somebody asks what that is: the
/// end of such a block stands in no refusal.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Each key once.
    keys: Mutex<Vec<KeyId>>,
    news: Notify,
}

impl Refused {
    /// Takes note of a verdict on a key; costs nothing for all but those refusals.
    pub(super) fn note(&self, key: KeyId, verdict: &Verdict) {
        let Effect::Block(block) = &verdict.effect else { return };
        if !matches!(block.reason, Reason::QuotaExhausted | Reason::BalanceExhausted) {
            return;
        }
        let mut keys = self.keys.lock();
        if !keys.contains(&key) {
            keys.push(key);
        }
        drop(keys);
        self.news.notify_one();
    }
}

impl Pool {
    /// Waits until a key is refused for its quota. Can be dropped while it waits.
    pub async fn quota_refused(&self) {
        self.refused.news.notified().await;
    }

    /// The keys that were refused for their quota since the last call.
    pub fn take_quota_refused(&self) -> Vec<Arc<Key>> {
        let ids = std::mem::take(&mut *self.refused.keys.lock());
        let inventory = self.inventory();
        let key = |id| inventory.position(id).map(|at| Arc::clone(&inventory.keys()[at]));
        ids.into_iter().filter_map(key).collect()
    }

    /// Takes what a quota endpoint said of a key's account.
    pub fn set_quota(&self, key: KeyId, quota: Quota, now: Timestamp) {
        self.on_board(key, |board, key| board.set_quota(key, quota, now));
    }

    /// A quota endpoint gave no usable answer: that is shown, and blocks nothing.
    pub fn quota_failed(&self, key: KeyId, now: Timestamp) {
        self.on_board(key, |board, key| board.quota_failed(key, now));
    }

    /// The user asked whether a key works, and it does: what waited for the user is over.
    pub fn forgive(&self, key: KeyId, now: Timestamp) {
        self.on_board(key, |board, key| {
            let waits = board.row(key).and_then(|row| row.reason);
            let waits = waits.is_some_and(Reason::needs_the_user);
            if waits { board.clear(key, now) } else { Vec::new() }
        });
    }

    /// The user asked whether a key works, and the provider refused it.
    pub fn judge(&self, key: KeyId, verdict: &Verdict, now: Timestamp) {
        self.on_board(key, |board, key| board.judge(key, verdict, None, now));
    }

    /// The keys whose quota is worth asking: those that are neither switched off nor refused until
    /// the user acts, which no quota ends.
    pub fn keys_to_ask(&self) -> Vec<Arc<Key>> {
        let state = self.state.lock();
        let keys = state.inventory.keys().iter().enumerate();
        let asked = keys.filter(|(number, _)| {
            let row = state.board.row(*number);
            row.is_some_and(|row| {
                row.state != KeyState::Disabled && !row.reason.is_some_and(Reason::needs_the_user)
            })
        });
        asked.map(|(_, key)| Arc::clone(key)).collect()
    }

    /// What is known of a key's quota.
    pub fn quota_row(&self, key: KeyId) -> QuotaRow {
        let state = self.state.lock();
        let row = state.board.position(key).and_then(|key| state.board.row(key));
        row.map(|row| row.quota).unwrap_or_default()
    }

    /// The quota of the whole pool in both shapes that clients read; `None` before any is known.
    pub fn usages(&self) -> Option<String> {
        pool::usages(self.state.lock().board.quotas())
    }

    /// Keys that turned out to be of one account though their files do not say so, by label.
    pub fn undeclared_siblings(&self) -> Vec<Vec<String>> {
        let state = self.state.lock();
        let label = |key: &usize| Some(state.inventory.keys().get(*key)?.label.to_string());
        let groups = state.board.undeclared_siblings();
        groups.iter().map(|keys| keys.iter().filter_map(label).collect()).collect()
    }
}
