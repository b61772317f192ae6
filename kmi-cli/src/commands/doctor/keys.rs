//! The keys: do they load, are they usable, and are they really several accounts?

use std::collections::BTreeMap;

use kmi_core::{
    display::visible,
    inventory::Key,
    snapshot::KeyRow,
    state::{KeyState, Reason},
};
use kmi_proxy::{
    control::Status,
    keys::{Loaded, Severity},
};

use super::finding::{Findings, Level};
use crate::config::Config;

const CHECK: &str = "keys";

pub(super) fn check(
    config: &Config,
    loaded: &Loaded,
    running: Option<&Status>,
    found: &mut Findings,
) {
    for problem in &loaded.problems {
        let level = match problem.severity {
            Severity::Refused => Level::Problem,
            Severity::Warning => Level::Warning,
            Severity::Notice => Level::Ok,
        };
        found.push(level, CHECK, &problem.to_string(), Some(problem.hint()));
    }
    if loaded.keys.is_empty() {
        found.warning(CHECK, "there is no key that could serve", "add one: `kmi keys add LABEL`");
        return;
    }
    for key in &loaded.keys {
        let rows = running.map(|status| status.snapshot.keys.as_slice()).unwrap_or_default();
        one(key, rows.iter().find(|row| row.label == key.label.as_str()), running, found);
    }
    for upstream in &config.settings.upstreams {
        if !loaded.keys.iter().any(|key| key.upstream == upstream.name && !key.disabled) {
            let message = format!("no key can serve upstream {}", upstream.name);
            found.warning(CHECK, message, "give it one, or remove the upstream");
        }
    }
    accounts(&loaded.keys, running, found);
}

fn one(key: &Key, row: Option<&KeyRow>, running: Option<&Status>, found: &mut Findings) {
    let name = format!("{} ({})", key.label, key.secret.masked());
    let Some(row) = row else {
        if running.is_some() {
            let message = format!("{name} is not known to the running proxy");
            return found.warning(CHECK, message, "`kmi reload` makes it read the keys again");
        }
        let off = if key.disabled { "; it is switched off" } else { "" };
        return found.ok(CHECK, format!("{name} can be read{off}"));
    };
    let reason = row.reason.map(Reason::as_str).unwrap_or_default();
    let until = row.until.map(|until| format!(" until {until}")).unwrap_or_default();
    match (row.state, row.reason) {
        (KeyState::Healthy, _) => found.ok(CHECK, format!("{name} is healthy")),
        (KeyState::Disabled, _) => found.ok(CHECK, format!("{name} is switched off")),
        (KeyState::Warn, _) => {
            let message = format!("{name} serves, but: {reason}{until}");
            found.warning(CHECK, message, "`kmi status` shows its quota and its latency");
        }
        (KeyState::Blocked, Some(reason)) if reason.needs_the_user() => {
            let message = format!("{name} is refused by the provider: {}", reason.as_str());
            let hint = format!("put a good key in its place, then: kmi keys test {}", row.label);
            found.problem(CHECK, message, hint);
        }
        (KeyState::Blocked, _) => {
            let message = format!("{name} is blocked{until}: {reason}");
            found.warning(CHECK, message, "it comes back by itself; the others serve meanwhile");
        }
    }
}

/// Keys of one account share its limits, so it should be known which are.
fn accounts(keys: &[std::sync::Arc<Key>], running: Option<&Status>, found: &mut Findings) {
    let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for key in keys {
        if let Some(account) = &key.account {
            given.entry(account).or_default().push(key.label.as_str());
        }
    }
    for (account, labels) in given.iter().filter(|(_, labels)| labels.len() > 1) {
        let labels = labels.join(", ");
        found.ok(CHECK, format!("{labels} share the limits of the account {account}, as given"));
    }
    let Some(status) = running else { return };
    for labels in &status.siblings {
        let row = status.snapshot.keys.iter().find(|row| labels.contains(&row.label));
        let account = row.and_then(|row| row.account.as_deref());
        let account = account.map(|id| format!(" ({})", visible(id))).unwrap_or_default();
        let message = format!("{} turned out to be one account{account}", labels.join(", "));
        let hint = "they share its limits, so rotation among them gains nothing: \
                    give them the same `account`, or use keys of other accounts";
        found.warning(CHECK, message, hint);
    }
}
