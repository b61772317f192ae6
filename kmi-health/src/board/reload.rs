//! What is known of the keys goes on after a reload.

use jiff::Timestamp;
use kmi_core::trace::HealthChange;

use super::Board;

impl Board {
    /// Takes over what another board knows of the keys that are on both.
    ///
    /// A key whose file holds another secret has another id, so it begins anew; that is how a
    /// changed file ends `auth_failed`.
    pub fn adopt(&mut self, old: &Self, now: Timestamp) -> Vec<HealthChange> {
        self.attempts = self.attempts.max(old.attempts);
        // The counts of an account that the new files split go with the first of its keys.
        let mut counted = vec![false; old.accounts.len()];
        for key in 0..self.keys.len() {
            let Some(before) = old.position(self.keys[key].key.id) else { continue };
            let before = &old.keys[before];
            self.keys[key].adopt(before);
            let account = &mut self.accounts[self.keys[key].account];
            account.adopt(&old.accounts[before.account]);
            if !std::mem::replace(&mut counted[before.account], true) {
                account.usage.merge_minutes(&old.accounts[before.account].usage);
            }
            account.usage.add_in_flight(before.usage.in_flight());
        }
        for key in 0..self.keys.len() {
            self.unite(key);
        }
        self.settle_all(now)
    }
}
