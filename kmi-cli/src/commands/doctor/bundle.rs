//! The bundle: one file for a report of a fault, without anything secret.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kmi_proxy::{
    control::Status,
    home::{Home, create_private_file},
    keys::{self, Loaded},
    ledger::Reader,
};
use memchr::memmem;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{NO_IDS, finding::Finding};
use crate::{
    config::{self, Config, Environment},
    desk,
    report::Failure,
};

/// How many of the newest trace lines are in it.
const LINES: u64 = 200;

/// All that a bundle is made of.
pub(super) struct Parts<'a> {
    pub(super) findings: &'a [Finding],
    /// `None` when it is wrong; the findings say how.
    pub(super) config: Option<&'a Config>,
    pub(super) loaded: &'a Loaded,
    pub(super) running: Option<&'a Status>,
    pub(super) home: &'a Home,
}

/// Writes it (mode 0600) to a path at which there is nothing yet.
pub(super) fn write(path: &Path, parts: &Parts<'_>, env: &Environment) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut text = serde_json::to_string_pretty(&content(parts))?;
    text.push('\n');
    for user in user_homes(env) {
        text = without_home(&text, &user);
    }
    refuse_secrets(&text, parts, env)?;
    if !create_private_file(&path, text.as_bytes())? {
        let what = format!("{} is there already", path.display());
        return Err(Failure::new(what, "name a new file; nothing is overwritten").into());
    }
    Ok(path)
}

fn content(parts: &Parts<'_>) -> Value {
    let rows = parts.config.map(|config| config.rows.as_slice()).unwrap_or_default();
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| json!({"key": row.key, "value": row.value, "origin": row.origin.to_string()}))
        .collect();
    let keys: Vec<Value> = parts
        .loaded
        .keys
        .iter()
        .map(|key| {
            json!({
                "label": key.label.as_str(), "masked": key.secret.masked(),
                "upstream": &*key.upstream, "account": key.account.as_deref(),
                "priority": key.priority, "weight": key.weight, "disabled": key.disabled,
                "origin": &*key.origin,
            })
        })
        .collect();
    json!({
        "kmi": env!("CARGO_PKG_VERSION"),
        "made_at": jiff::Timestamp::now().to_string(),
        "system": {"os": std::env::consts::OS, "arch": std::env::consts::ARCH},
        "findings": parts.findings,
        "config": rows,
        "keys": keys,
        "status": parts.running.map(|status| &status.snapshot),
        "trace": newest_lines(parts.home),
    })
}

/// As stored: one that is damaged is just what a report is about.
fn newest_lines(home: &Home) -> Vec<String> {
    let lines = Reader::open(home.state_dir()).and_then(|reader| reader.tail(LINES));
    lines.unwrap_or_default().into_iter().map(|line| line.text).collect()
}

/// The user's home directory, as it is named and as it is.
fn user_homes(env: &Environment) -> Vec<String> {
    let named = env.path("HOME");
    let real = named.as_ref().and_then(|home| home.canonicalize().ok());
    let homes = [named, real].into_iter().flatten().filter(|home| home.parent().is_some());
    homes.map(|home| home.to_string_lossy().trim_end_matches('/').to_owned()).collect()
}

/// `/home/me/x` becomes `~/x`; `/home/mean` stays.
fn without_home(text: &str, home: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memmem::find(rest.as_bytes(), home.as_bytes()) {
        let (before, found) = rest.split_at(at);
        let after = &found[home.len()..];
        let goes_on = after.starts_with(|c: char| c.is_alphanumeric() || "._-".contains(c));
        clean.push_str(before);
        clean.push_str(if goes_on { home } else { "~" });
        rest = after;
    }
    clean + rest
}

/// The last line of defence: nothing above puts a secret in, and this is where it is proved.
fn refuse_secrets(text: &str, parts: &Parts<'_>, env: &Environment) -> anyhow::Result<()> {
    let file = |path: PathBuf| fs::read_to_string(path).ok().map(Zeroizing::new);
    let files = [
        ("the token", parts.home.token_file()),
        ("the secret", parts.home.secret_file()),
        ("the key of checkpoints", parts.home.signer_file()),
    ];
    let files = files.map(|(name, path)| (name.to_owned(), file(path)));
    let mut secrets: Vec<(String, Zeroizing<String>)> =
        files.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
    // Also keys that are not used, in files that others can read, say.
    let unused = parts.config.map(|config| {
        let sources = desk::sources(config, env);
        keys::survey(Some(&sources.dir), &sources, &NO_IDS)
    });
    for key in parts.loaded.keys.iter().chain(unused.iter().flat_map(|unused| &unused.keys)) {
        let text = Zeroizing::new(key.secret.expose().to_owned());
        secrets.push((format!("the key {}", key.label), text));
    }
    for (name, secret) in secrets {
        // As it stands in JSON, where quotes and backslashes are written otherwise.
        let written = Zeroizing::new(Value::from(secret.trim()).to_string());
        let inside = written.trim_matches('"');
        if !inside.is_empty() && memmem::find(text.as_bytes(), inside.as_bytes()).is_some() {
            let what = format!("{name} would stand in the bundle; nothing was written");
            let hint = "look for it in the configuration (`kmi config show`) and take it out";
            return Err(Failure::new(what, hint).into());
        }
    }
    // What a wrong configuration says is told, and its keys are not known.
    if config::without_keys(text) != text {
        let what = "something that looks like a key would stand in the bundle; nothing was written";
        let hint = "look for `sk-` in the configuration, in labels and in names, and take it out";
        return Err(Failure::new(what, hint).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_directory_becomes_a_tilde() {
        let text = r#"{"a": "/home/me/.kmi:2", "b": "/home/me", "c": "/home/mean/x", "d": "/home/me.old"}"#;
        let clean = r#"{"a": "~/.kmi:2", "b": "~", "c": "/home/mean/x", "d": "/home/me.old"}"#;
        assert_eq!(without_home(text, "/home/me"), clean);
    }
}
