//! What a pool writes down: lines for the trace, and the blocks that a restart must not forget.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    inventory::Inventory,
    key::KeyId,
    state::{KeyState, Reason},
    trace::{Epoch, HealthChange, Record},
};
use kmi_health::{board::SavedBlock, classify::Scope};

use super::Owner;
use crate::ledger::{Sink, StoredSettings};

/// Where a pool writes.
#[derive(Debug, Clone)]
pub struct Journal {
    upstream: Arc<str>,
    sink: Sink,
    stored: StoredSettings,
}

impl Journal {
    /// For the pool of one upstream.
    pub fn new(upstream: Arc<str>, sink: Sink, stored: StoredSettings) -> Self {
        Self { upstream, sink, stored }
    }

    /// The upstream's name.
    pub(super) fn upstream(&self) -> &Arc<str> {
        &self.upstream
    }

    /// A new ring.
    pub(super) fn epoch(&self, epoch: Epoch) {
        self.sink.push(Record::Epoch(epoch));
    }

    /// Changes of keys' health. A key that rests is remembered, so that a restart does not hammer
    /// it; a refusal of an account changes all its keys, so each is remembered by itself.
    pub(super) fn health(&self, changes: Vec<HealthChange>) {
        for change in changes {
            let setting = self.block_setting(&change.key);
            match (change.to, change.reason) {
                (KeyState::Blocked, Some(reason)) => {
                    self.stored.set(&setting, &written(reason, change.until));
                }
                _ => self.stored.remove(&setting),
            }
            let upstream = Some(Arc::clone(&self.upstream));
            self.sink.push(Record::Health(HealthChange { upstream, ..change }));
        }
    }

    /// The blocks of these keys that an earlier process left. Those of others are forgotten: what
    /// blocks a key ends when it goes.
    pub(super) fn blocks(&self, inventory: &Inventory) -> Vec<SavedBlock> {
        let prefix = self.block_setting("");
        let read = |(setting, value): &(String, String)| {
            let key = KeyId::parse(setting.strip_prefix(&prefix)?)?;
            let (reason, until) = read(value)?;
            Some(SavedBlock { key, scope: Scope::of(reason), reason, until })
        };
        let mut blocks: Vec<_> = self.stored.with_prefix(&prefix).iter().filter_map(read).collect();
        blocks.retain(|block| {
            let there = inventory.position(block.key).is_some();
            if !there {
                self.forget_block(block.key);
            }
            there
        });
        blocks
    }

    /// What blocks a key here is over.
    pub(super) fn forget_block(&self, key: KeyId) {
        self.stored.remove(&self.block_setting(&key.to_string()));
    }

    /// A file was uploaded.
    pub(super) fn remember_file(&self, id: &str, owner: &Owner, now: Timestamp) {
        self.stored.set(&self.file_setting(id), &written_owner(owner, now));
    }

    /// A file is gone, or too old to be remembered.
    pub(super) fn forget_file(&self, id: &str) {
        self.stored.remove(&self.file_setting(id));
    }

    /// The files that earlier processes remembered, each with the time of its upload.
    pub(super) fn files(&self) -> Vec<(Box<str>, Timestamp, Owner)> {
        let prefix = self.file_setting("");
        let read = |(setting, value): &(String, String)| {
            let (at, owner) = read_owner(value)?;
            Some((setting.strip_prefix(&prefix)?.into(), at, owner))
        };
        self.stored.with_prefix(&prefix).iter().filter_map(read).collect()
    }

    /// A key that is refused here may be good elsewhere.
    fn block_setting(&self, key: &str) -> String {
        format!("{BLOCK}{}/{key}", self.upstream)
    }

    /// A slash stands neither in an upstream's name nor in a file's id.
    fn file_setting(&self, id: &str) -> String {
        format!("{FILE}{}/{id}", self.upstream)
    }
}

const BLOCK: &str = "block.";
const FILE: &str = "file.";

/// Key, time and, where there is one, account: `k-12989f77 2026-11-23T12:00:00Z my account`.
fn written_owner(owner: &Owner, at: Timestamp) -> String {
    match &owner.account {
        Some(account) => format!("{} {at} {account}", owner.key),
        None => format!("{} {at}", owner.key),
    }
}

fn read_owner(value: &str) -> Option<(Timestamp, Owner)> {
    let mut words = value.splitn(3, ' ');
    let (key, at) = (KeyId::parse(words.next()?)?, words.next()?.parse().ok()?);
    Some((at, Owner { key, account: words.next().map(Into::into) }))
}

/// A reason, and until when: `rate_limited 2026-11-23T12:00:00Z`.
fn written(reason: Reason, until: Option<Timestamp>) -> String {
    match until {
        Some(until) => format!("{} {until}", reason.as_str()),
        None => reason.as_str().to_owned(),
    }
}

fn read(value: &str) -> Option<(Reason, Option<Timestamp>)> {
    let (reason, until) = match value.split_once(' ') {
        Some((reason, until)) => (reason, Some(until.parse().ok()?)),
        None => (value, None),
    };
    let reason = serde_json::from_value(serde_json::Value::from(reason)).ok()?;
    Some((reason, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_back() {
        let until = Timestamp::from_second(1_795_000_000).ok();
        for block in [(Reason::RateLimited, until), (Reason::AuthFailed, None)] {
            assert_eq!(read(&written(block.0, block.1)), Some(block));
        }
        assert_eq!(read("no_such_reason"), None);
        assert_eq!(read("rate_limited soon"), None);
    }

    #[test]
    fn an_owner_reads_back() {
        let at = Timestamp::from_second(1_795_000_000).unwrap();
        let key = KeyId::parse("k-12989f77").unwrap();
        for account in [None, Some("work".into()), Some("my account 2".into())] {
            let owner = Owner { key, account };
            assert_eq!(read_owner(&written_owner(&owner, at)), Some((at, owner)));
        }
        for bad in ["", "k-12989f77", "k-12989f77 soon", "key 2026-11-23T12:00:00Z"] {
            assert_eq!(read_owner(bad), None, "{bad}");
        }
    }
}
