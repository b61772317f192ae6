//! What a pool writes down: lines for the trace, and the blocks that a restart must not forget.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    key::KeyId,
    state::{KeyState, Reason},
    trace::{Epoch, HealthChange, Record},
};
use kmi_health::{board::SavedBlock, classify::Scope};

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
            let setting = format!("{BLOCK}{}", change.key);
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

    /// The blocks that an earlier process left.
    pub(super) fn blocks(&self) -> Vec<SavedBlock> {
        let read = |(setting, value): &(String, String)| {
            let key = KeyId::parse(setting.strip_prefix(BLOCK)?)?;
            let (reason, until) = read(value)?;
            Some(SavedBlock { key, scope: Scope::Key, reason, until })
        };
        self.stored.with_prefix(BLOCK).iter().filter_map(read).collect()
    }
}

const BLOCK: &str = "block.";

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
}
