//! `kmi rotate` and `kmi auto`: who serves the next request.

use std::process::ExitCode;

use kmi_core::{
    display::visible,
    snapshot::{KeyRow, Snapshot},
    state::{Mode, Policy},
};
use kmi_proxy::control::{Reply, Request};

use super::{Context, status};
use crate::{
    args::{AutoArgs, RotateArgs, Switch},
    config::Config,
    desk,
};

pub(super) fn rotate(context: &Context<'_>, args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    let request = Request::Rotate { key: args.key.clone() };
    match desk::ask(context, &config, &request)? {
        Reply::Key(key) => warn_of_unusable(context, &config, &key.label)?,
        reply => return Err(desk::unexpected(&reply)),
    }
    status::show(context, &config)
}

/// A key may be chosen that cannot serve yet; whoever does so should know.
fn warn_of_unusable(context: &Context<'_>, config: &Config, label: &str) -> anyhow::Result<()> {
    let snapshot = desk::status(context, config)?.snapshot;
    let row = snapshot.keys.iter().find(|row| row.label == label);
    let Some(row) = row.filter(|row| !row.state.is_usable()) else { return Ok(()) };
    let label = visible(label);
    let meanwhile = if config.settings.rotation.failover {
        "others step in"
    } else {
        "requests are refused meanwhile (rotation.failover is off)"
    };
    let what = format!("{label} is {} and cannot serve now; {meanwhile}", row.state.as_str());
    let remedy = match row.until {
        Some(until) => format!("it serves again from {until} on"),
        None => format!("`kmi keys enable {label}` lets it serve again"),
    };
    context.output.warning(what, remedy);
    Ok(())
}

pub(super) fn auto(context: &Context<'_>, args: &AutoArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    let mode = match args.switch {
        Switch::On => Mode::Auto,
        Switch::Off => Mode::Manual,
    };
    desk::ask(context, &config, &Request::Mode { mode })?;
    if context.output.json() {
        return status::show(context, &config);
    }
    let snapshot = desk::status(context, &config)?.snapshot;
    let say = |name: &str, text: &str| context.output.data(format_args!("{name:<9} {text}"));
    say("mode", &in_words(&snapshot))?;
    let usable = snapshot.keys.iter().filter(|key| key.state.is_usable());
    let name = |key: &KeyRow| match key.weight {
        1 => visible(&key.label).into_owned(),
        weight => format!("{} (weight {weight})", visible(&key.label)),
    };
    let order: Vec<_> = usable.map(name).collect();
    match (mode, order.is_empty()) {
        (_, true) => say("order", "no key is usable now; `kmi status` shows why")?,
        (Mode::Auto, false) => say("order", &order.join(" → "))?,
        (Mode::Manual, false) => {}
    }
    say("fairness", &status::in_words(&status::fairness(context, &config)))?;
    Ok(ExitCode::SUCCESS)
}

fn in_words(snapshot: &Snapshot) -> String {
    match (snapshot.mode, &snapshot.active_key) {
        (Mode::Auto, _) => {
            let who = match snapshot.policy {
                Policy::RoundRobin => "every request takes",
                Policy::Session => "every new conversation takes",
            };
            format!("auto: {who} the next key ({})", snapshot.policy.as_str())
        }
        (Mode::Manual, Some(label)) => format!("manual: {} serves every request", visible(label)),
        (Mode::Manual, None) => "manual, and no key to serve".to_owned(),
    }
}
