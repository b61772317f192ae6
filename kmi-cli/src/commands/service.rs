//! `kmi service`: a systemd user unit or a launchd agent that runs `kmi serve`.

mod unit;

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use self::unit::{Parts, text};
use super::Context;
use crate::{
    args::{InstallArgs, Manager, ServiceCommand},
    config::{Config, Environment},
    report::{Failure, USAGE},
};

/// What every file that is kmi's own says.
const MARK: &str = "Written by `kmi service install`";
const UNIT: &str = "kmi.service";
const AGENT: &str = "local.kmi.plist";

pub(super) fn run(context: &Context<'_>, command: &ServiceCommand) -> anyhow::Result<ExitCode> {
    match command {
        ServiceCommand::Install(args) => install(context, args)?,
        ServiceCommand::Uninstall(args) => uninstall(context, manager(args.manager)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn install(context: &Context<'_>, args: &InstallArgs) -> anyhow::Result<()> {
    let manager = manager(args.manager.manager)?;
    let config = context.load(&[])?;
    let text = text(manager, &parts(context, &config)?);
    if args.dry_run {
        return Ok(context.output.raw(&text)?);
    }
    let path = path(manager, context.env)?;
    let changed = write(&path, &text)?;
    let word = if changed { "wrote" } else { "unchanged:" };
    context.output.note(format_args!("{word} {}", path.display()));
    if config.env_keys.iter().any(|key| key.origin.starts_with("environment")) {
        let hint =
            format!("put them into {}, or `kmi keys add` them", config.home.env_file().display());
        context.output.warning("keys in this shell's environment do not reach the service", hint);
    }
    context.output.note("to start it now and at every login, run:");
    context.output.data(match manager {
        Manager::Systemd => {
            "systemctl --user daemon-reload\nsystemctl --user enable --now kmi.service".to_owned()
        }
        Manager::Launchd => {
            format!("launchctl bootstrap gui/$(id -u) {}", crate::shell::word(&path))
        }
    })?;
    Ok(())
}

fn uninstall(context: &Context<'_>, manager: Manager) -> anyhow::Result<()> {
    let path = path(manager, context.env)?;
    if existing(&path)?.is_none() {
        context.output.note(format_args!("there is no {}", path.display()));
        return Ok(());
    }
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    context.output.note(format_args!("removed {}", path.display()));
    // `systemctl disable` cannot do so any more once the unit is gone.
    let enabled = path.with_file_name("default.target.wants").join(UNIT);
    if manager == Manager::Systemd && enabled.is_symlink() {
        fs::remove_file(&enabled)
            .with_context(|| format!("cannot remove {}", enabled.display()))?;
    }
    context.output.note("to stop it, run:");
    context.output.data(match manager {
        Manager::Systemd => "systemctl --user stop kmi.service\nsystemctl --user daemon-reload",
        Manager::Launchd => "launchctl bootout gui/$(id -u)/local.kmi",
    })?;
    Ok(())
}

fn manager(asked: Option<Manager>) -> anyhow::Result<Manager> {
    match (asked, std::env::consts::OS) {
        (Some(manager), _) => Ok(manager),
        (None, "linux") => Ok(Manager::Systemd),
        (None, "macos") => Ok(Manager::Launchd),
        (None, system) => {
            let what = format!("kmi knows no service manager of {system}");
            let hint = "have yours run `kmi serve`, or name one with `--manager`";
            Err(Failure::new(what, hint).code(USAGE).into())
        }
    }
}

/// The command line that the service runs: as this one, with absolute paths.
fn parts(context: &Context<'_>, config: &Config) -> anyhow::Result<Parts> {
    let this = std::env::current_exe().context("cannot find kmi's own program file")?;
    let mut command = vec![this.to_string_lossy().into_owned()];
    let usual = context.env.path("HOME").map(|home| home.join(".kmi"));
    if usual.as_deref() != Some(config.home.root()) {
        command.extend(["--home".into(), config.home.root().to_string_lossy().into_owned()]);
    }
    if let (Some(_), Some(file)) = (&context.global.config, &config.file) {
        command.extend(["--config".into(), file.to_string_lossy().into_owned()]);
    }
    for set in &context.global.set {
        command.extend(["--set".into(), set.clone()]);
    }
    command.push("serve".into());
    let log = config.home.state_dir().join("kmi.log").to_string_lossy().into_owned();
    // A little more than the proxy itself takes at most.
    let stop = config.settings.proxy.drain_timeout.as_secs() + 10;
    Ok(Parts { command, log, stop })
}

/// Where the service manager of this user looks.
fn path(manager: Manager, env: &Environment) -> anyhow::Result<PathBuf> {
    let home = env.path("HOME");
    let dir = match manager {
        Manager::Systemd => {
            let config = env.path("XDG_CONFIG_HOME").or_else(|| Some(home?.join(".config")));
            config.map(|dir| dir.join("systemd/user").join(UNIT))
        }
        Manager::Launchd => home.map(|home| home.join("Library/LaunchAgents").join(AGENT)),
    };
    dir.ok_or_else(|| Failure::new("HOME is not set", "set it: services belong to a user").into())
}

/// What stands in the file, if there is one; an error when it is not kmi's.
fn existing(path: &Path) -> anyhow::Result<Option<String>> {
    let foreign = || {
        let what = format!("{} is not kmi's", path.display());
        Failure::new(what, "look at it, and move it away if it is not needed")
    };
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => return Err(foreign().into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if text.contains(MARK) { Ok(Some(text)) } else { Err(foreign().into()) }
}

/// Writes the file as a whole; `false` when it says the same already.
fn write(path: &Path, text: &str) -> anyhow::Result<bool> {
    if existing(path)?.is_some_and(|old| old == text) {
        return Ok(false);
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let cannot = || format!("cannot write {}", path.display());
    fs::create_dir_all(dir).with_context(cannot)?;
    let mut draft = tempfile::NamedTempFile::new_in(dir).with_context(cannot)?;
    draft.write_all(text.as_bytes()).with_context(cannot)?;
    draft.persist(path).with_context(cannot)?;
    Ok(true)
}
