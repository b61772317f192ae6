//! Accounts: the keys that share their limits.

use std::sync::Arc;

use kmi_core::inventory::Key;

use crate::breaker::Breaker;

/// The keys of one account; a key whose account nobody knows has one of its own.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// The name from the key files.
    pub(super) given: Option<Arc<str>>,
    /// The numbers of its keys.
    pub(super) members: Vec<usize>,
    /// Its breaker, for everything that the provider refuses to the account.
    pub(super) breaker: Breaker,
    /// Attempts under way, over all its keys.
    pub(super) in_flight: u64,
}

impl Account {
    /// The name that the status table shows.
    pub(super) fn id(&self) -> Option<&str> {
        self.given.as_deref()
    }
}

/// Puts a key into its account, which is made when it is the first; the account's number.
pub(super) fn join(accounts: &mut Vec<Account>, number: usize, key: &Key) -> usize {
    let same = |account: &Account| key.account.is_some() && account.given == key.account;
    let at = accounts.iter().position(same).unwrap_or_else(|| {
        accounts.push(Account { given: key.account.clone(), ..Account::default() });
        accounts.len() - 1
    });
    accounts[at].members.push(number);
    at
}
