//! `kmi service`: a systemd user unit or a launchd agent that runs `kmi serve`.

mod unit;

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use self::unit::{Parts, names, texts};
use super::Context;
use crate::{
    args::{InstallArgs, Manager, ServiceCommand},
    config::{Config, Environment},
    report::{Failure, USAGE},
};

/// What every file that is kmi's own says.
const MARK: &str = "Written by `kmi service install`";

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
    let texts = texts(manager, &parts(context, &config)?);
    if args.dry_run {
        return Ok(context.output.raw(&texts.join("\n"))?);
    }
    let dir = dir(manager, context.env)?;
    let paths: Vec<PathBuf> = names(manager).iter().map(|name| dir.join(name)).collect();
    // All are looked at before the first is written.
    for path in &paths {
        existing(path)?;
    }
    for (path, text) in paths.iter().zip(&texts) {
        let word = if write(path, text)? { "wrote" } else { "unchanged:" };
        context.output.note(format_args!("{word} {}", path.display()));
    }
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
            format!("launchctl bootstrap gui/$(id -u) {}", crate::shell::word(&paths[0]))
        }
    })?;
    Ok(())
}

fn uninstall(context: &Context<'_>, manager: Manager) -> anyhow::Result<()> {
    let dir = dir(manager, context.env)?;
    let mut removed = 0;
    for path in names(manager).iter().map(|name| dir.join(name)) {
        if existing(&path)?.is_some() {
            remove(&path)?;
            context.output.note(format_args!("removed {}", path.display()));
            removed += 1;
        }
    }
    if removed == 0 {
        context.output.note(format_args!("there is no service of kmi in {}", dir.display()));
        return Ok(());
    }
    // `systemctl disable` cannot do so any more once the units are gone.
    for link in ["default.target.wants/kmi.service", "sockets.target.wants/kmi.socket"] {
        let link = dir.join(link);
        if manager == Manager::Systemd && link.is_symlink() {
            remove(&link)?;
        }
    }
    context.output.note("to stop it, run:");
    context.output.data(match manager {
        Manager::Systemd => {
            "systemctl --user stop kmi.socket kmi.service\nsystemctl --user daemon-reload"
        }
        Manager::Launchd => "launchctl bootout gui/$(id -u)/local.kmi",
    })?;
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
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
    let listen = config.settings.proxy.listen;
    if listen.port() == 0 {
        let hint = "set proxy.listen to a fixed one, such as 127.0.0.1:54123";
        return Err(Failure::new("a service needs a fixed port", hint).code(USAGE).into());
    }
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
    Ok(Parts { command, listen, log, stop })
}

/// Where the service manager of this user looks.
fn dir(manager: Manager, env: &Environment) -> anyhow::Result<PathBuf> {
    let home = env.path("HOME");
    let dir = match manager {
        Manager::Systemd => {
            let config = env.path("XDG_CONFIG_HOME").or_else(|| Some(home?.join(".config")));
            config.map(|dir| dir.join("systemd/user"))
        }
        Manager::Launchd => home.map(|home| home.join("Library/LaunchAgents")),
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
