//! The keys of one upstream, in their fixed order.

use std::sync::Arc;

use crate::{
    key::{ApiKey, KeyId, Label},
    ring::{Ring, RingError, Seat},
};

/// One key as its file describes it.
#[derive(Debug)]
pub struct Key {
    /// The stable public name.
    pub id: KeyId,
    /// The name a person gave it; unique in a home.
    pub label: Label,
    /// The secret.
    pub secret: ApiKey,
    /// The upstream it belongs to.
    pub upstream: Arc<str>,
    /// Priority: a lower number serves first.
    pub priority: i32,
    /// In how many slots of the ring it stands.
    pub weight: u32,
    /// The account whose limits it shares, when known.
    pub account: Option<Arc<str>>,
    /// Free words of the user.
    pub tags: Vec<String>,
    /// Switched off in its file.
    pub disabled: bool,
    /// Limits that the user set.
    pub limits: Limits,
    /// The file (and line) it stands in, for messages.
    pub origin: Arc<str>,
}

/// Limits of one key that are kept before the provider has to say so; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Tokens a minute.
    pub tpm: Option<u32>,
    /// Requests at once.
    pub concurrency: Option<u32>,
}

/// The keys of one upstream in inventory order: priority, then label, then id.
///
/// The order is fixed for a set of keys, so that a ring can be replayed.
#[derive(Debug, Default)]
pub struct Inventory {
    keys: Vec<Arc<Key>>,
}

impl Inventory {
    /// Sorts the keys into inventory order.
    pub fn new(mut keys: Vec<Arc<Key>>) -> Self {
        keys.sort_by(|a, b| order(a).cmp(&order(b)));
        Self { keys }
    }

    /// The keys in order; their index is their number in rings and masks.
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Where the key with this id stands.
    pub fn position(&self, id: KeyId) -> Option<usize> {
        self.keys.iter().position(|key| key.id == id)
    }

    /// Where the key stands that a person means: by label or by id.
    pub fn find(&self, name: &str) -> Option<usize> {
        let by_label = self.keys.iter().position(|key| key.label.as_str() == name);
        by_label.or_else(|| self.position(KeyId::parse(name)?))
    }

    /// The ring over these keys.
    pub fn ring(&self) -> Result<Ring, RingError> {
        Ring::new(&self.seats())
    }

    /// Weight and tier of each key.
    pub fn seats(&self) -> Vec<Seat> {
        self.keys.iter().map(|key| Seat { weight: key.weight, tier: key.priority }).collect()
    }

    /// Where the cursor of a new epoch stands (FAIRNESS section 1): on the first slot of the key
    /// that served last or, if it is gone, on the slot before the next key in inventory order.
    pub fn inherit(&self, ring: &Ring, last_served: Option<&Served>) -> Option<usize> {
        let served = last_served?;
        if let Some(key) = self.position(served.id) {
            return ring.first_slot(key);
        }
        let gone = (served.tier, served.label.as_ref(), served.id);
        let next = self.keys.iter().position(|key| order(key) > gone).unwrap_or(0);
        ring.first_slot(next).map(|slot| ring.before(slot))
    }
}

/// The key that served the last turn of an epoch that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its id.
    pub id: KeyId,
    /// Its label in that epoch.
    pub label: Arc<str>,
    /// Its tier in that epoch.
    pub tier: i32,
}

fn order(key: &Key) -> (i32, &str, KeyId) {
    (key.priority, key.label.as_str(), key.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::HomeSecret;

    fn key(label: &str, priority: i32) -> Arc<Key> {
        let secret = ApiKey::parse(&format!("sk-test-{label}")).unwrap();
        Arc::new(Key {
            id: KeyId::derive(&HomeSecret::new([0; 32]), &secret),
            label: Label::parse(label).unwrap(),
            secret,
            upstream: "kimi".into(),
            priority,
            weight: 1,
            account: None,
            tags: Vec::new(),
            disabled: false,
            limits: Limits::default(),
            origin: "test".into(),
        })
    }

    fn labels(inventory: &Inventory) -> Vec<&str> {
        inventory.keys().iter().map(|key| key.label.as_str()).collect()
    }

    fn served(key: &Key) -> Served {
        Served { id: key.id, label: key.label.shared(), tier: key.priority }
    }

    #[test]
    fn order_is_priority_then_label() {
        let inventory = Inventory::new(vec![key("c", 0), key("a", 1), key("b", 0)]);
        assert_eq!(labels(&inventory), ["b", "c", "a"]);
        assert_eq!(inventory.find("a"), Some(2));
        assert_eq!(inventory.find(&inventory.keys()[1].id.to_string()), Some(1));
        assert_eq!(inventory.find("nobody"), None);
    }

    #[test]
    fn a_new_epoch_goes_on_where_the_old_one_stood() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|label| key(label, 0));
        let inventory = Inventory::new(vec![a.clone(), b.clone(), d.clone()]);
        let ring = inventory.ring().unwrap();
        assert_eq!(inventory.inherit(&ring, None), None);
        assert_eq!(inventory.inherit(&ring, Some(&served(&b))), Some(1), "stands on b, d is next");
        assert_eq!(inventory.inherit(&ring, Some(&served(&c))), Some(1), "c is gone, d is next");
        let inventory = Inventory::new(vec![a, b, c]);
        assert_eq!(inventory.inherit(&ring, Some(&served(&d))), Some(2), "d is gone, a is next");
    }
}
