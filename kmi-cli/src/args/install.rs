//! `kmi completions`, `kmi man` and `kmi service`: what a system wants beside the program.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  source <(kmi completions bash)                      for this shell; or put it
                                                      into ~/.bashrc
  kmi completions zsh > ~/.zfunc/_kmi                 a directory of $fpath
  kmi completions fish > ~/.config/fish/completions/kmi.fish";

pub(super) const MAN_HELP: &str = "\
Examples:
  kmi man | man -l -                                  read it
  kmi man -o ~/.local/share/man/man1                  a page for each command";

/// `kmi completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `kmi man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

pub(super) const SERVICE_HELP: &str = "\
A systemd user unit, or a launchd agent on macOS, that runs `kmi serve` from
login on. Nothing is started: what to run is printed.

Examples:
  kmi service install
  kmi service install --dry-run        print it, write nothing
  kmi service uninstall";

/// `kmi service …`.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Write the service file of this user; one that is not kmi's stays
    Install(InstallArgs),
    /// Remove the service file again
    Uninstall(ManagerArgs),
}

/// `kmi service install`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct InstallArgs {
    /// Print the file instead of writing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) manager: ManagerArgs,
}

/// For which service manager.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct ManagerArgs {
    /// The service manager [default: that of this system]
    #[arg(long, value_enum)]
    pub(crate) manager: Option<Manager>,
}

/// A service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Manager {
    /// Linux.
    Systemd,
    /// macOS.
    Launchd,
}
