//! Which account has which uploaded file. An id is of use only there, so requests that name it go
//! there, also after a restart (CONTRACT section 4).

use std::sync::Arc;

use hashlink::LinkedHashMap;
use jiff::Timestamp;
use kmi_core::{
    eligible::KeySet,
    inventory::{Inventory, Key},
    key::KeyId,
};
use kmi_health::board::{Board, Exhausted};
use parking_lot::Mutex;

use super::{Affinity, Journal, NoKey, Pool, state::State};

/// Files that are remembered; the oldest one leaves for a new one.
const CAPACITY: usize = 10_000;
/// Longest id that is taken for one, in bytes.
const ID_LIMIT: usize = 128;

/// The files of one pool, the newest last. Its lock is never held together with the pool's.
#[derive(Debug)]
pub(super) struct Files(Mutex<LinkedHashMap<Box<str>, Owner>>);

/// Whose a file is: the key that uploaded it, and the account that its key file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub(super) key: KeyId,
    pub(super) account: Option<Arc<str>>,
}

/// A request names files of several accounts: no key can serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeveralAccounts;

/// Whether this can be the id of a file, as far as kmi remembers it: nothing else is stored.
pub fn is_file_id(id: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=ID_LIMIT).contains(&id.len()) && id.bytes().all(safe)
}

impl Files {
    /// The files that earlier processes remembered.
    pub(super) fn open(journal: &Journal) -> Self {
        let mut stored = journal.files();
        stored.sort_by_key(|(_, at, _)| *at);
        let mut files = LinkedHashMap::new();
        for (id, _, owner) in stored {
            keep(&mut files, id, owner, journal);
        }
        Self(Mutex::new(files))
    }

    /// A file was uploaded. What cannot be an id is not remembered.
    fn remember(&self, id: &str, owner: Owner, journal: &Journal, now: Timestamp) {
        if is_file_id(id) {
            let mut files = self.0.lock();
            journal.remember_file(id, &owner, now);
            keep(&mut files, id.into(), owner, journal);
        }
    }

    fn forget(&self, id: &str, journal: &Journal) {
        let mut files = self.0.lock();
        if files.remove(id).is_some() {
            journal.forget_file(id);
        }
    }

    fn owner(&self, id: &str) -> Option<Owner> {
        self.0.lock().get(id).cloned()
    }
}

/// Adds the newest file; the oldest one leaves when there are too many.
fn keep(files: &mut LinkedHashMap<Box<str>, Owner>, id: Box<str>, owner: Owner, journal: &Journal) {
    files.insert(id, owner);
    if files.len() > CAPACITY
        && let Some((oldest, _)) = files.pop_front()
    {
        journal.forget_file(&oldest);
    }
}

impl Pool {
    /// A key has uploaded a file. What cannot be an id is not remembered.
    pub fn remember_file(&self, id: &str, key: &Key, now: Timestamp) {
        let owner = Owner { key: key.id, account: key.account.clone() };
        self.files.remember(id, owner, &self.journal, now);
    }

    /// A file was deleted.
    pub fn forget_file(&self, id: &str) {
        self.files.forget(id, &self.journal);
    }

    /// Whose the files are that a request names; `None` when kmi knows none of them.
    pub fn owner<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Owner>, SeveralAccounts> {
        let mut owners = Vec::new();
        for id in ids {
            if let Some(owner) = self.files.owner(id)
                && !owners.contains(&owner)
            {
                owners.push(owner);
            }
        }
        let Some(first) = owners.first() else { return Ok(None) };
        if owners.len() > 1 {
            let state = self.state.lock();
            let keys = |owner: &Owner| keys_of(owner, &state.inventory, &state.board);
            let home = keys(first);
            let same = |owner: &Owner| {
                let named = first.account.is_some() && owner.account == first.account;
                owner.key == first.key || named || !home.is_empty() && keys(owner) == home
            };
            if !owners.iter().all(same) {
                return Err(SeveralAccounts);
            }
        }
        Ok(owners.into_iter().next())
    }

    /// What an owner is called in messages: the label of the key or, if it is gone, its id.
    pub fn owner_name(&self, owner: &Owner) -> String {
        let inventory = self.inventory();
        let key = inventory.position(owner.key).and_then(|key| inventory.keys().get(key));
        key.map_or_else(|| owner.key.to_string(), |key| key.label.to_string())
    }

    /// Why no key can be chosen now for a request that is tied as this one is.
    pub fn exhausted_for(
        &self,
        affinity: &Affinity,
        model: Option<&str>,
        now: Timestamp,
    ) -> Exhausted {
        let state = self.state.lock();
        match affinity {
            Affinity::File(owner) => state.no_key_of(owner, &KeySet::default(), now).why,
            Affinity::None | Affinity::Session(_) => state.exhausted(model, now),
        }
    }
}

impl State {
    /// Why no key of a file's account can be chosen.
    pub(super) fn no_key_of(&self, owner: &Owner, tried: &KeySet, now: Timestamp) -> NoKey {
        let keys = keys_of(owner, &self.inventory, &self.board);
        let mut others = KeySet::full(self.inventory.keys().len());
        for key in keys.iter().filter(|key| !tried.contains(*key)) {
            others.remove(key);
        }
        let next = self.board.next_usable(&others, now).filter(|next| *next > now);
        // A key that is usable and was not chosen cannot serve this request: waiting is of no use.
        let why = self.board.soonest_among(&keys, now);
        let why = why.unwrap_or(Exhausted::NoneWorking { at: None });
        NoKey { why, next, model_rests: false }
    }
}

/// The key that serves a request for a file: the one that uploaded it, else one of its account.
pub(super) fn serving(
    owner: &Owner,
    inventory: &Inventory,
    board: &Board,
    serves: impl Fn(&usize) -> bool,
) -> Option<usize> {
    let uploader = inventory.position(owner.key).filter(&serves);
    uploader.or_else(|| keys_of(owner, inventory, board).iter().find(serves))
}

/// The keys of the account; none when kmi has none of them any more.
fn keys_of(owner: &Owner, inventory: &Inventory, board: &Board) -> KeySet {
    let of_account = |key: &Arc<Key>| owner.account.is_some() && key.account == owner.account;
    let known =
        inventory.position(owner.key).or_else(|| inventory.keys().iter().position(of_account));
    known.map(|key| board.siblings(key).iter().copied().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
