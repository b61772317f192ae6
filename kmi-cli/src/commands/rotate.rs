//! `kmi rotate` and `kmi auto`: who serves the next request.

use std::process::ExitCode;

use jiff::Timestamp;
use kmi_core::state::Mode;
use kmi_proxy::control::{Reply, Request};

use super::{Context, status};
use crate::{
    args::{AutoArgs, RotateArgs, Switch},
    desk,
};

pub(super) fn rotate(context: &Context<'_>, args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    let request = Request::Rotate { key: args.key.clone() };
    let Reply::Key(key) = desk::ask(&config, context.env, &request)? else {
        return Err(desk::unexpected(&Reply::Done));
    };
    context.output.note(format_args!("active key: {} ({}); mode: manual", key.label, key.masked));
    status::show(context, &config)
}

pub(super) fn auto(context: &Context<'_>, args: &AutoArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    let mode = match args.switch {
        Switch::On => Mode::Auto,
        Switch::Off => Mode::Manual,
    };
    desk::ask(&config, context.env, &Request::Mode { mode })?;
    if context.output.json() {
        return status::show(context, &config);
    }
    let current = desk::status(&config, context.env)?;
    context.output.data(format_args!("mode: {}", mode.as_str()))?;
    let usable = current.snapshot.keys.iter().filter(|key| key.state.is_usable());
    let order: Vec<&str> = usable.map(|key| key.label.as_str()).collect();
    match (mode, order.is_empty()) {
        (_, true) => context.output.data("no key is usable now; `kmi status` shows why")?,
        (Mode::Auto, false) => context.output.data(format_args!("order: {}", order.join(" → ")))?,
        (Mode::Manual, false) => {
            let active = current.snapshot.active_key.as_deref().unwrap_or("none");
            context.output.data(format_args!("active key: {active}"))?;
        }
    }
    let report = status::fairness(&config, Timestamp::now());
    context.output.data(format_args!("fairness: {}", status::in_words(report.as_ref())))?;
    Ok(ExitCode::SUCCESS)
}
