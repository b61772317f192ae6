//! `kmi keys …`: the inventory.

mod import;
mod inventory;
mod prompt;

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use kmi_core::{
    display::{visible, without_keys},
    inventory::Key,
    key::{ApiKey, Label},
};
use kmi_proxy::{
    control::{Reply, Request},
    keys::{self, Loaded, NewKey},
};

use self::prompt::Answer;
use super::Context;
use crate::{
    args::KeysCommand,
    config::Config,
    desk,
    report::{Failure, USAGE},
};

pub(super) fn run(
    context: &Context<'_>,
    command: Option<&KeysCommand>,
) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    match command {
        None | Some(KeysCommand::List) => list(context, &config),
        Some(KeysCommand::Add(key)) => add(context, &config, &key.label),
        Some(KeysCommand::Remove(args)) => remove(context, &config, &args.label, args.yes),
        Some(KeysCommand::Enable(key)) => switch(context, &config, &key.label, true),
        Some(KeysCommand::Disable(key)) => switch(context, &config, &key.label, false),
        Some(KeysCommand::Import(args)) => import::run(context, &config, args),
        Some(KeysCommand::Test(args)) => test(context, &config, args.label.as_deref()),
    }
}

fn list(context: &Context<'_>, config: &Config) -> anyhow::Result<ExitCode> {
    let status = desk::status(context, config)?;
    desk::tell(&status.problems, context.output);
    let keys = &status.snapshot.keys;
    if context.output.json() {
        context.output.data_json(keys)?;
    } else if keys.is_empty() {
        context.output.data("no keys yet: add one with `kmi keys add LABEL`")?;
    } else {
        context.output.raw(&inventory::table(keys))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the provider; what it finds is remembered by the running proxy, or shown and forgotten.
fn test(context: &Context<'_>, config: &Config, label: Option<&str>) -> anyhow::Result<ExitCode> {
    let request = Request::Test { key: label.map(str::to_owned) };
    let tested = match desk::ask(context, config, &request)? {
        Reply::Tested(tested) => tested,
        reply => return Err(desk::unexpected(&reply)),
    };
    if context.output.json() {
        context.output.data_json(&tested)?;
    } else if tested.is_empty() {
        context.output.data("no keys yet: add one with `kmi keys add LABEL`")?;
    } else {
        context.output.raw(&inventory::tested(&tested))?;
    }
    Ok(ExitCode::from(u8::from(!tested.iter().all(|key| key.ok))))
}

fn add(context: &Context<'_>, config: &Config, label: &str) -> anyhow::Result<ExitCode> {
    if without_keys(label) != label {
        return Err(label_is_key().into());
    }
    let label = Label::parse(label).map_err(|error| {
        Failure::new(format!("`{label}`: {error}"), "a label is a short name such as `work`")
            .code(USAGE)
    })?;
    config.home.create()?;
    let loaded = load(context, config)?;
    if loaded.keys.iter().any(|key| key.secret.is_in(label.as_str())) {
        return Err(label_is_key().into());
    }
    if loaded.keys.iter().any(|key| key.label == label) {
        let hint = "choose another label, or remove that key with `kmi keys remove`";
        return Err(Failure::new(format!("there is a key called `{label}` already"), hint).into());
    }
    let text = match read_key(context, &label)? {
        Answer::Line(text) => text,
        Answer::Signal(signal) => return Ok(ExitCode::from(128 + signal)),
    };
    let secret = ApiKey::parse(text.trim()).map_err(|error| {
        Failure::new(error.to_string(), "paste the key as Kimi's console shows it").code(USAGE)
    })?;
    if secret.is_in(label.as_str()) {
        return Err(label_is_key().into());
    }
    if let Some(same) = loaded.keys.iter().find(|key| key.secret == secret) {
        let what = format!("this key is there already, as `{}`", same.label);
        return Err(Failure::new(
            what,
            "one account's keys share its limits; add another account's",
        )
        .into());
    }
    let path = keys::add(config.home.auths_dir(), &label, &secret, &NewKey::default())
        .map_err(|error| Failure::new(error.to_string(), error.hint()))?;
    context.output.note(format_args!(
        "{label} ({}) is stored in {}",
        secret.masked(),
        path.display()
    ));
    reload(config);
    Ok(ExitCode::SUCCESS)
}

/// Labels are shown everywhere, in the trace too.
fn label_is_key() -> Failure {
    let hint = "choose a short name such as `work`; the key is asked for, or read from standard \
                input";
    Failure::new("a key stands in the label, and labels are shown", hint).code(USAGE)
}

/// From a hidden prompt, or from standard input: one line, never an argument.
fn read_key(context: &Context<'_>, label: &Label) -> anyhow::Result<Answer> {
    if io::stdin().is_terminal() {
        context.output.note("the key is not shown while you type or paste it");
        return prompt::ask(&format!("API key for {label}: ")).context("cannot read the key");
    }
    let text = prompt::all(io::stdin().lock()).context("cannot read the key")?;
    // Which of them is meant is not for kmi to say.
    if text.trim().lines().count() > 1 {
        let hint = "give one key on one line; a second one gets a label of its own";
        return Err(Failure::new("standard input has more than one line", hint).code(USAGE).into());
    }
    Ok(Answer::Line(text))
}

fn remove(
    context: &Context<'_>,
    config: &Config,
    label: &str,
    yes: bool,
) -> anyhow::Result<ExitCode> {
    let loaded = load(context, config)?;
    let key = find(&loaded, label)?;
    let question = || {
        let (label, masked) = (&key.label, key.secret.masked());
        format!("Remove {label} ({masked}) from {}?", visible(&key.origin))
    };
    if !yes && !confirmed("removing a key", question)? {
        context.output.note("nothing was removed");
        return Ok(ExitCode::from(1));
    }
    let path = keys::remove(config.home.auths_dir(), key)
        .map_err(|error| Failure::new(error.to_string(), error.hint()))?;
    context.output.note(format_args!("{} is gone with {}", key.label, path.display()));
    reload(config);
    Ok(ExitCode::SUCCESS)
}

/// Asks on the terminal; without one it takes `--yes`.
fn confirmed(what: &str, question: impl FnOnce() -> String) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        let what = format!("{what} needs a confirmation");
        return Err(Failure::new(what, "repeat it with `--yes`").code(USAGE).into());
    }
    let mut err = io::stderr().lock();
    write!(err, "{} [y/N] ", question())?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(16).read_line(&mut answer)?;
    // Ctrl-D ends the answer, but not its line.
    if !answer.ends_with('\n') {
        writeln!(err)?;
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn switch(
    context: &Context<'_>,
    config: &Config,
    label: &str,
    on: bool,
) -> anyhow::Result<ExitCode> {
    let request = Request::Switch { key: label.to_owned(), on };
    desk::ask(context, config, &request)?;
    let word = if on { "serves again" } else { "serves no more" };
    context.output.note(format_args!("{} {word}", visible(label)));
    Ok(ExitCode::SUCCESS)
}

/// The key of this label or id.
pub(super) fn find<'a>(loaded: &'a Loaded, name: &str) -> anyhow::Result<&'a Key> {
    let fits =
        |key: &&std::sync::Arc<Key>| key.label.as_str() == name || key.id.to_string() == name;
    let found = loaded.keys.iter().find(fits).map(AsRef::as_ref);
    found.ok_or_else(|| {
        Failure::new(format!("no key is called `{name}`"), "`kmi keys list` shows all labels")
            .into()
    })
}

/// The keys as their files have them, whether a proxy runs or not.
pub(super) fn load(context: &Context<'_>, config: &Config) -> anyhow::Result<Loaded> {
    Ok(keys::load(&desk::sources(config, context.env), &config.home.secret()?))
}

/// A running proxy would see the change by itself within moments; so it does at once.
fn reload(config: &Config) {
    let _ = desk::call(&config.home, &Request::KeysChanged);
}
