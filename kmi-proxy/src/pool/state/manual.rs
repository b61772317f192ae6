//! The active key: chosen by hand, and serving everything in manual mode.

use std::sync::Arc;

use kmi_core::{
    eligible::{Eligible, KeySet},
    inventory::Key,
    rotation::{self, Rotation},
    state::Mode,
};

use super::State;
use crate::pool::RotateError;

impl State {
    /// In manual mode without a choice, or after the chosen key has gone, the first usable key becomes
    /// the active one and stays it, also while it is blocked.
    pub(super) fn keep_an_active_key(&mut self) {
        let is_there = |id| self.inventory.position(id).is_some();
        if self.mode == Mode::Manual && !self.active.is_some_and(is_there) {
            self.active = self.active_key().map(|key| key.id);
        }
    }

    /// The only key that may serve: in manual mode without failover no other account is ever used.
    pub(in crate::pool) fn alone(&self) -> Option<usize> {
        let alone = self.mode == Mode::Manual && !self.failover;
        alone.then(|| self.active_number()).flatten()
    }

    pub(in crate::pool) fn rotate(&mut self, name: Option<&str>) -> Result<Arc<Key>, RotateError> {
        let wheel = self.wheel.as_ref().ok_or(RotateError::NoKeys)?;
        let number = if let Some(name) = name {
            self.inventory.find(name).ok_or_else(|| RotateError::Unknown(name.to_owned()))?
        } else {
            let active = self.active_number();
            let others = active.into_iter().collect();
            let ring = wheel.rotation.ring();
            let cursor = active.and_then(|key| ring.first_slot(key));
            let usable = wheel.eligible.mask();
            let next = rotation::successor(ring, cursor, usable, &others);
            let next = next.map(|slot| ring.key_at(slot));
            next.or(active.filter(|key| usable.contains(*key))).ok_or(RotateError::NoneUsable)?
        };
        let key = Arc::clone(&self.inventory.keys()[number]);
        self.active = Some(key.id);
        Ok(key)
    }

    /// The active key: the chosen one or, when there is none or it is gone, the first in order.
    pub(in crate::pool) fn active_key(&self) -> Option<&Arc<Key>> {
        self.inventory.keys().get(self.active_number()?)
    }

    fn active_number(&self) -> Option<usize> {
        let chosen = self.active.and_then(|id| self.inventory.position(id));
        let first = || self.wheel.as_ref()?.eligible.mask().iter().next();
        chosen.or_else(first).or((!self.inventory.is_empty()).then_some(0))
    }
}

/// The active key, or the next usable one after it while it cannot serve; it stays active.
pub(super) fn key(
    rotation: &Rotation,
    eligible: &Eligible,
    active: Option<usize>,
    tried: &KeySet,
) -> Option<usize> {
    let ring = rotation.ring();
    if let Some(active) = active
        && eligible.is_usable(active)
        && !tried.contains(active)
    {
        return Some(active);
    }
    let mask = eligible.best_tier_without(tried);
    let cursor = active.and_then(|key| ring.first_slot(key));
    rotation::successor(ring, cursor, &mask, tried).map(|slot| ring.key_at(slot))
}
