//! Run-time state that outlives restarts: the mode, the active keys, keys that the user disabled.

use std::{collections::BTreeMap, sync::Arc};

use super::queue::Queue;
use crate::lock::Mutex;

/// A small table of texts. Reading costs a short lock; writing is done by the ledger's writer,
/// together with the lines: [`super::Ledger::flush`] waits for it.
#[derive(Debug, Clone)]
pub struct StoredSettings {
    values: Arc<Mutex<BTreeMap<String, String>>>,
    queue: Arc<Queue>,
}

impl StoredSettings {
    pub(super) fn new(values: BTreeMap<String, String>, queue: Arc<Queue>) -> Self {
        Self { values: Arc::new(Mutex::new(values)), queue }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<String> {
        self.values.lock().get(key).cloned()
    }

    /// All keys that start so, with their values.
    pub fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        let values = self.values.lock();
        let from_prefix = values.range(prefix.to_owned()..);
        let ours = from_prefix.take_while(|(key, _)| key.starts_with(prefix));
        ours.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Sets a key.
    pub fn set(&self, key: &str, value: &str) {
        let mut values = self.values.lock();
        if values.insert(key.to_owned(), value.to_owned()).as_deref() != Some(value) {
            // Under the lock, so that two changes reach the disk in their order.
            self.queue.set(key.to_owned(), Some(value.to_owned()));
        }
    }

    /// Forgets a key.
    pub fn remove(&self, key: &str) {
        let mut values = self.values.lock();
        if values.remove(key).is_some() {
            self.queue.set(key.to_owned(), None);
        }
    }
}
