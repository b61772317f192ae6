//! What a verdict does to its key, and what only shows by comparison with the other keys.

use jiff::Timestamp;
use kmi_core::{state::Reason, trace::HealthChange};

use super::{Board, entry::Entry};
use crate::{
    breaker::Breaker,
    classify::{Block, Effect, Scope, Trouble, Verdict},
    cooldown,
};

/// Answers faster than this, in ms, are not slow, whatever the others do.
const SLOW_FROM_MS: u64 = 1000;

impl Board {
    /// Takes a verdict that no counted attempt gave, such as that on a quota poll.
    pub fn judge(
        &mut self,
        key: usize,
        verdict: &Verdict,
        model: Option<&str>,
        now: Timestamp,
    ) -> Vec<HealthChange> {
        if key >= self.keys.len() {
            return Vec::new();
        }
        if let Some(id) = &verdict.account {
            self.join(key, id);
        }
        self.accounts[self.keys[key].account].was_told(verdict.limits, &self.policy, now);
        match (verdict.effect, model) {
            (Effect::Block(block), _) => self.block(key, &block, now),
            (Effect::LacksModel, Some(model)) => self.lacks_model(key, model, now),
            (Effect::Suspect | Effect::Upstream(_), _) => self.failed(key, verdict, now),
            _ => {}
        }
        self.settle_all(now)
    }

    pub(super) fn block(&mut self, key: usize, block: &Block, now: Timestamp) {
        let entry = &mut self.keys[key];
        let account = &mut self.accounts[entry.account];
        let block = &account.really(*block, now);
        let reset = block.window.and_then(|window| account.quota.as_ref()?.reset(window));
        let breaker = match block.scope {
            Scope::Key => &mut entry.breaker,
            Scope::Account => &mut account.breaker,
        };
        let until = cooldown::end(&self.policy, block, breaker.strikes(), reset, now);
        breaker.block(block.reason, until);
        account.spent = block.window.or(account.spent);
        if is_vague(block.reason) && self.all_suffer(block.reason) {
            let keys = self.keys.iter_mut().map(|entry| &mut entry.breaker);
            let accounts = self.accounts.iter_mut().map(|account| &mut account.breaker);
            keys.chain(accounts).for_each(|breaker| breaker.relieve(&[block.reason]));
        }
    }

    /// Whether every account gets this refusal, so that it is the upstream's trouble and no key's,
    /// such as a membership service that is down. It blocks none of them then: each key is probed,
    /// one request at a time. Only vague refusals can be so; a limit is a limit, however many
    /// accounts have reached theirs.
    ///
    /// To be asked after the refusal has been [judged](Self::judge).
    pub fn is_everybodys(&self, verdict: &Verdict) -> bool {
        match verdict.effect {
            Effect::Block(block) => is_vague(block.reason) && self.all_suffer(block.reason),
            _ => false,
        }
    }

    /// Whether the keys of several accounts are blocked or probed for this reason, and no key that
    /// can tell is not.
    fn all_suffer(&self, reason: Reason) -> bool {
        // A key that rests for another reason cannot tell.
        let tells = |entry: &&Entry| {
            let other = |breaker: &Breaker| breaker.blocked_for().is_some_and(|its| its != reason);
            !entry.is_off() && !self.breakers(entry).into_iter().any(other)
        };
        let suffers =
            |entry: &Entry| self.breakers(entry).into_iter().any(|it| it.is_about(reason));
        let witnesses = || self.keys.iter().filter(tells);
        let first = witnesses().next().map(|entry| entry.account);
        let several = witnesses().any(|entry| Some(entry.account) != first);
        several && witnesses().all(suffers)
    }

    pub(super) fn breakers<'a>(&'a self, entry: &'a Entry) -> [&'a Breaker; 2] {
        [&entry.breaker, &self.accounts[entry.account].breaker]
    }

    /// A failure that the upstream gives as its own, or that nobody can explain, counts against
    /// the key only while other keys fare better: else it is the upstream's.
    fn failed(&mut self, key: usize, verdict: &Verdict, now: Timestamp) {
        // Without a connection nobody was asked; the engine is everybody's.
        let shared = [Effect::Upstream(Trouble::Connection), Effect::Upstream(Trouble::Engine)];
        if shared.contains(&verdict.effect) {
            return;
        }
        let recent = cooldown::earlier(now, self.policy.failure_window);
        let others = self.keys.iter().enumerate().filter(|(other, _)| *other != key);
        let others_work = others.filter_map(|(_, entry)| entry.last_ok).any(|at| at >= recent);
        if self.keys[key].breaker.failed(&self.policy, now) && others_work {
            let block =
                Block { reason: Reason::Failing, scope: Scope::Key, wait: None, window: None };
            self.block(key, &block, now);
        }
    }

    fn lacks_model(&mut self, key: usize, model: &str, now: Timestamp) {
        let until = cooldown::later(now, self.policy.model_cooldown.min(cooldown::HOUR));
        self.keys[key].set_lacking(model, until);
        // When no key has it, the name is wrong, and no key is to blame.
        if self.keys.iter().all(|entry| entry.is_off() || entry.lacks(model)) {
            for entry in &mut self.keys {
                entry.forget_lacking(model);
            }
        }
    }

    /// Compares a key's median with the median of its peers' medians.
    pub(super) fn compare_speed(&mut self, key: usize) {
        let median = |entry: &Entry| entry.meter.latency.settled_median();
        let peers = self.keys.iter().enumerate().filter(|(other, _)| *other != key);
        let mut peers: Vec<u64> = peers.filter_map(|(_, entry)| median(entry)).collect();
        peers.sort_unstable();
        let slow = |own: u64| {
            let typical = *peers.get(peers.len() / 2)?;
            let factor = self.policy.slow_factor;
            #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
            Some(own >= SLOW_FROM_MS && own as f64 >= typical as f64 * factor)
        };
        self.keys[key].slow = median(&self.keys[key]).and_then(slow).unwrap_or(false);
    }
}

/// Whether a refusal with this reason may well be a fault of the provider's own.
fn is_vague(reason: Reason) -> bool {
    matches!(reason, Reason::MembershipLapsed | Reason::Failing)
}
