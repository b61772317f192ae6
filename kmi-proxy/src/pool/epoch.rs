//! When a ring is a new one, and where its cursor stands.

use std::sync::Arc;

use jiff::Timestamp;
use kmi_core::{
    inventory::Inventory,
    key::KeyId,
    ring::{Ring, RingError},
    rotation::Rotation,
    trace::{Epoch, EpochKey},
};

use super::Journal;
use crate::ledger::Resumed;

/// Continues a rotation over these keys: in place when the ring is the same, else in a new epoch
/// that the trace spells out. Gives the epoch as its line has it, too: labels may change without a
/// new one, and who reads the trace knows only those.
pub(super) fn begin(
    inventory: &Inventory,
    before: Option<&Resumed>,
    journal: &Journal,
    now: Timestamp,
) -> Result<(Rotation, Epoch), RingError> {
    let ring = Arc::new(inventory.ring()?);
    let last_turn = before.map_or(0, |before| before.last_turn);
    if let Some(before) = before
        && let Some(old) = before.epoch_in_force()
        && same(old, inventory, &ring)
    {
        let rotation = Rotation::resume(ring, old.epoch, before.cursor, last_turn);
        return Ok((rotation, old.clone()));
    }
    let served = before.and_then(Resumed::served);
    let cursor = inventory.inherit(&ring, served.as_ref());
    let number = before.map_or(0, |before| before.epoch_number) + 1;
    let rotation = Rotation::resume(ring, number, cursor, last_turn);
    let epoch = record(journal.upstream(), inventory, &rotation, now);
    journal.epoch(epoch.clone());
    Ok((rotation, epoch))
}

/// The epoch line of a rotation.
fn record(
    upstream: &Arc<str>,
    inventory: &Inventory,
    rotation: &Rotation,
    now: Timestamp,
) -> Epoch {
    let keys = inventory.keys().iter().map(|key| EpochKey {
        key: key.id.to_string().into(),
        label: key.label.shared(),
        weight: key.weight,
        tier: key.priority,
    });
    Epoch {
        ts: now,
        epoch: rotation.epoch(),
        upstream: Arc::clone(upstream),
        keys: keys.collect(),
        ring: rotation.ring().layout().to_vec(),
        cursor: rotation.cursor(),
    }
}

/// The ring changes with keys, weights and priorities; a new label alone opens no epoch.
fn same(old: &Epoch, inventory: &Inventory, ring: &Ring) -> bool {
    old.ring == ring.layout()
        && old.keys.len() == inventory.keys().len()
        && old.keys.iter().zip(inventory.keys()).all(|(old, new)| {
            KeyId::parse(&old.key) == Some(new.id)
                && (old.weight, old.tier) == (new.weight, new.priority)
        })
}
