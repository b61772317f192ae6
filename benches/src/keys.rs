//! Inventories of any size.

use std::sync::Arc;

use kmi_core::{
    inventory::{Inventory, Key, Limits},
    key::{ApiKey, HomeSecret, KeyId, Label},
};

/// `n` keys of the upstream `kimi`, each of its own account: `key-1`, `key-2`, ….
pub fn inventory(n: usize) -> anyhow::Result<Inventory> {
    let home = HomeSecret::new([42; 32]);
    let keys = (1..=n).map(|number| key(&home, number)).collect::<anyhow::Result<_>>()?;
    Ok(Inventory::new(keys))
}

fn key(home: &HomeSecret, number: usize) -> anyhow::Result<Arc<Key>> {
    let secret = ApiKey::parse(&format!("sk-bench-key-{number:05}"))?;
    Ok(Arc::new(Key {
        id: KeyId::derive(home, &secret),
        label: Label::parse(&format!("key-{number}"))?,
        secret,
        upstream: "kimi".into(),
        priority: 0,
        weight: 1,
        account: None,
        tags: Vec::new(),
        disabled: false,
        limits: Limits::default(),
        origin: "bench".into(),
    }))
}
