//! The keys of a scenario as kmi has them: an inventory and, beside it, what is true of each key
//! that kmi does not know.

use std::{collections::HashMap, sync::Arc};

use kmi_core::{
    inventory::{Inventory, Key, Limits},
    key::{ApiKey, HomeSecret, KeyId, Label},
};

use super::{
    scenario::{Allowance, KeyGroup, Scenario},
    span::{Span, When},
    trouble::Trouble,
};

/// The one upstream of a simulation.
pub(super) const UPSTREAM: &str = "simulated";

/// All keys, by their number in the inventory.
#[derive(Debug)]
pub(super) struct Population {
    pub(super) inventory: Inventory,
    /// The ids as the trace has them.
    pub(super) ids: Vec<Arc<str>>,
    pub(super) truths: Vec<Truth>,
    /// What the provider allows each account.
    pub(super) accounts: Vec<Allowance>,
}

/// What is true of a key.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    pub(super) account: usize,
    pub(super) latency: Span,
    pub(super) errors: f64,
    /// What goes wrong, and when.
    pub(super) fails: Vec<(When, Trouble)>,
}

impl Population {
    /// # Errors
    /// The text of what is wrong with the scenario's keys.
    pub(super) fn new(scenario: &Scenario) -> Result<Self, String> {
        let mut truth_of = HashMap::new();
        let mut accounts = Vec::new();
        let mut shared = HashMap::new();
        let mut keys = Vec::new();
        // Labels in the order of the scenario: `--fail 3@…` means the third of them.
        let mut labels = Vec::new();
        for group in &scenario.keys {
            for label in group.labels() {
                let key = key(&label, group)?;
                let account = match &group.account {
                    Some(name) => *shared.entry(name.clone()).or_insert(accounts.len()),
                    None => accounts.len(),
                };
                if account == accounts.len() {
                    accounts.push(group.provider.clone());
                }
                let (latency, errors) = (group.latency, group.errors);
                let truth = Truth { account, latency, errors, fails: Vec::new() };
                if truth_of.insert(label.clone(), truth).is_some() {
                    return Err(format!("two keys are called `{label}`"));
                }
                labels.push(label);
                keys.push(Arc::new(key));
            }
        }
        for fail in &scenario.fails {
            for label in meant(&fail.key, &labels)? {
                if let Some(truth) = truth_of.get_mut(label) {
                    truth.fails.push((fail.at, fail.with));
                }
            }
        }
        let inventory = Inventory::new(keys);
        let in_order = inventory.keys().iter();
        let truths = in_order.filter_map(|key| truth_of.remove(key.label.as_str())).collect();
        let ids = inventory.keys().iter().map(|key| key.id.to_string().into()).collect();
        Ok(Self { inventory, ids, truths, accounts })
    }
}

fn key(label: &str, group: &KeyGroup) -> Result<Key, String> {
    let secret = ApiKey::parse(&format!("sk-simulated-{label}"));
    let secret = secret.map_err(|error| format!("the label `{label}`: {error}"))?;
    Ok(Key {
        id: KeyId::derive(&HomeSecret::new([0; 32]), &secret),
        label: Label::parse(label).map_err(|error| format!("the label `{label}`: {error}"))?,
        secret,
        upstream: UPSTREAM.into(),
        priority: group.priority,
        weight: group.weight,
        account: group.account.as_deref().map(Into::into),
        tags: Vec::new(),
        disabled: false,
        limits: Limits { rpm: group.rpm, tpm: group.tpm, concurrency: group.concurrency },
        origin: "scenario".into(),
    })
}

/// The labels that a word means: a label, a number from 1, `k` or `key-` with a number, or `*`.
fn meant<'a>(word: &str, labels: &'a [String]) -> Result<&'a [String], String> {
    if word == "*" {
        return Ok(labels);
    }
    let by_label = || labels.iter().position(|label| label == word);
    let number = || {
        let digits = ["key-", "key", "k"].iter().find_map(|start| word.strip_prefix(start));
        let number: usize = digits.unwrap_or(word).parse().ok()?;
        number.checked_sub(1).filter(|at| *at < labels.len())
    };
    let at = by_label().or_else(number).ok_or_else(|| {
        let most = labels.iter().take(8).map(|label| format!("`{label}`")).collect::<Vec<_>>();
        format!("no key is called `{word}`; there are {}", most.join(", "))
    })?;
    Ok(&labels[at..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_meant_by_label_or_number() {
        let labels: Vec<String> = ["work", "k2", "home"].map(str::to_owned).to_vec();
        let which = |word: &str| meant(word, &labels).map(<[String]>::to_vec);
        assert_eq!(which("work").unwrap(), ["work"]);
        assert_eq!(which("k2").unwrap(), ["k2"]);
        assert_eq!(which("3").unwrap(), ["home"]);
        assert_eq!(which("key-1").unwrap(), ["work"]);
        assert_eq!(which("*").unwrap().len(), 3);
        assert_eq!(which("4").unwrap_err(), "no key is called `4`; there are `work`, `k2`, `home`");
        assert!(which("0").is_err());
    }

    #[test]
    fn accounts_are_shared_where_they_are_named() {
        let text = "
            [[key]]
            label = 'a'
            count = 2
            account = 'mine'
            [[key]]
            label = 'b'
            priority = -1
            [[fail]]
            key = 'b'
            at = '1..2'
        ";
        let population = Population::new(&Scenario::parse(text).unwrap()).unwrap();
        let labels: Vec<_> =
            population.inventory.keys().iter().map(|it| it.label.as_str()).collect();
        assert_eq!(labels, ["b", "a1", "a2"]);
        let accounts: Vec<_> = population.truths.iter().map(|it| it.account).collect();
        assert_eq!((accounts, population.accounts.len()), (vec![1, 0, 0], 2));
        let fails: Vec<_> = population.truths.iter().map(|it| it.fails.len()).collect();
        assert_eq!(fails, [1, 0, 0]);
    }
}
