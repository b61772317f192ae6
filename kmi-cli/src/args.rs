//! What can be typed: the command line as clap reads it, and nothing about what it means.
//!
//! Meaning comes later (`config/resolve.rs` for settings, `commands/` for the rest), so that help
//! and usage errors never depend on files or on a running proxy.

mod client;
mod doctor;
mod install;
mod keys;
mod moment;
mod seed;
mod simulate;
mod trace;
mod usage;
mod usage_error;

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

pub(crate) use self::{
    client::{EnvArgs, RunArgs, Shell},
    doctor::DoctorArgs,
    install::{CompletionsArgs, InstallArgs, ManArgs, Manager, ServiceCommand},
    keys::{ImportArgs, KeysCommand},
    moment::Moment,
    simulate::SimulateArgs,
    trace::{
        ExportArgs, ExportFormat, Filter, HeadArgs, ShowArgs, TraceArgs, TraceCommand, VerifyArgs,
    },
    usage::{Grouping, UsageArgs},
    usage_error::UsageError,
};
use crate::config::{Flag, Given};

/// Rotates your own Kimi API keys fairly, through a local proxy, and proves it.
#[derive(Debug, Parser)]
#[command(
    name = "kmi",
    bin_name = "kmi",
    version,
    after_help = "\
Examples:
  kmi init                     make ~/.kmi with a commented configuration
  kmi keys add work            ask for a key and store it
  kmi run -- kimi              start Kimi Code through the proxy
  kmi --auto_rotate            every request takes the next key
  kmi --rotate                 switch to the next key by hand
  kmi --trace                  watch which key served which request
  kmi verify                   prove from the trace that the rotation was fair

Settings come from the command line, else the environment, else HOME/.env, else
the configuration file; `kmi config show` prints each with its origin.
Exit codes: 0 good, 1 failed, 2 bad usage or configuration, 3 not enough data."
)]
struct Typed {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    seed: seed::SeedFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// A command line that was understood.
#[derive(Debug)]
pub(crate) struct Cli {
    /// The options that every command takes.
    pub(crate) global: Global,
    /// The command; `None` for a bare `kmi`.
    pub(crate) command: Option<Command>,
}

impl Cli {
    /// Reads a command line; seed flags (`--rotate`, …) become the command they stand for.
    pub(crate) fn parse_from(args: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let args: Vec<OsString> = args.into_iter().collect();
        let typed = Typed::try_parse_from(&args)?;
        let command = match (typed.seed.into_command(), typed.command) {
            (Some((flag, _)), Some(_)) => return Err(UsageError::flag_beside_command(flag)),
            (Some((_, command)), None) => Some(command),
            (None, command) => command,
        };
        Ok(Self { global: typed.global, command })
    }

    /// All that can be typed, for completions and man pages.
    pub(crate) fn description() -> clap::Command {
        Typed::command()
    }
}

/// The options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// kmi's home [default: `$KMI_HOME`, else ~/.kmi]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Global options")]
    pub(crate) home: Option<PathBuf>,
    /// Configuration file [default: HOME/kmi.config.toml]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// Set any configuration key, for this call only
    #[arg(long, value_name = "KEY=VALUE", global = true, help_heading = "Global options")]
    pub(crate) set: Vec<String>,
    /// Print data as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// auto (`NO_COLOR` is obeyed), always or never
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true,
        global = true,
        help_heading = "Global options"
    )]
    pub(crate) color: ColorChoice,
    /// Say only what was asked for, and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Say which files are used; twice: which settings, too
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

impl Global {
    /// What the configuration needs to know of it.
    pub(crate) fn given<'a>(&'a self, flags: &'a [Flag]) -> Given<'a> {
        let (home, file) = (self.home.as_deref(), self.config.as_deref());
        Given { home, file, sets: &self.set, flags }
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the home with a commented configuration; overwrites nothing
    Init,
    /// Run the proxy
    #[command(after_help = "\
Prints one line with the base URL when it is ready. SIGTERM lets running
requests end, SIGHUP reloads keys and configuration.

Examples:
  kmi serve                              in the foreground
  kmi serve --detach                     in the background; `kmi stop` ends it
  kmi serve --listen 127.0.0.1:0         on a free port")]
    Serve(ServeArgs),
    /// Stop the running proxy; requests that are under way may end
    Stop,
    /// Make the running proxy read keys and configuration again
    Reload(ReloadArgs),
    /// Start a program with the environment that points it at the proxy
    #[command(after_help = client::RUN_HELP)]
    Run(RunArgs),
    /// Print the environment that `kmi run` sets
    #[command(after_help = client::ENV_HELP)]
    Env(EnvArgs),
    /// Switch the active key to the next usable one, or to KEY
    #[command(after_help = "\
Works with and without a running proxy; a running one obeys at once.

Examples:
  kmi rotate                           the next usable key
  kmi rotate work                      the key labelled `work`")]
    Rotate(RotateArgs),
    /// Automatic rotation on or off: every request takes the next key
    #[command(after_help = "\
Works with and without a running proxy; a running one obeys at once. The choice
outlives restarts.

Examples:
  kmi auto                             on
  kmi auto off                         back to the active key")]
    Auto(AutoArgs),
    /// Show mode, keys, their health and their quota
    Status(StatusArgs),
    /// Watch the keys live: state, quota, latency; switch and rotate
    #[command(after_help = trace::TOP_HELP)]
    Top,
    /// List, add, remove and switch keys
    Keys {
        #[command(subcommand)]
        command: Option<KeysCommand>,
    },
    /// Follow the trace: which key served what, and how it ended
    #[command(after_help = trace::EXAMPLES, args_conflicts_with_subcommands = true)]
    Trace(TraceArgs),
    /// Check the trace: unbroken, complete, and fair
    #[command(after_help = trace::VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Sum up requests, tokens, and what the rotation cost in lost cache
    #[command(after_help = usage::HELP)]
    Usage(UsageArgs),
    /// Rotate made-up keys under a made-up load, and prove it
    #[command(after_help = simulate::HELP)]
    Simulate(SimulateArgs),
    /// Show and check the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Look for what is wrong, and say what to do about it
    #[command(after_help = doctor::HELP)]
    Doctor(DoctorArgs),
    /// Show it all against a built-in stand-in: no key, no network
    #[command(after_help = "\
Seven keys, realistic failures, and the verdict at the end. Nothing of your home
is touched.

Examples:
  kmi demo
  kmi demo --requests 5000
  kmi demo --tui                       watch it live; q ends it
  kmi demo --serve                     keeps running, for your own experiments")]
    Demo(DemoArgs),
    /// Print completions for a shell
    #[command(after_help = install::COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Print the man page
    #[command(after_help = install::MAN_HELP)]
    Man(ManArgs),
    /// Have the system run the proxy from login on
    #[command(after_help = install::SERVICE_HELP)]
    Service {
        #[command(subcommand)]
        command: ServiceCommand,
    },
}

/// `kmi serve`.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Run in the background
    #[arg(long)]
    pub(crate) detach: bool,
    /// Where to listen, as 127.0.0.1:54123; port 0 picks one
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
}

/// `kmi reload`.
#[derive(Debug, Default, Args)]
pub(crate) struct ReloadArgs {
    /// Restart with the program file that is there now; refuse nobody
    #[arg(long)]
    pub(crate) binary: bool,
}

/// `kmi status`.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct StatusArgs {
    /// Ask the provider for every key's quota first
    #[arg(long)]
    pub(crate) refresh: bool,
}

/// `kmi rotate` and `--rotate`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct RotateArgs {
    /// Label or id of the key to switch to [default: the next usable one]
    #[arg(value_name = "KEY")]
    pub(crate) key: Option<String>,
}

/// `kmi auto` and `--auto_rotate`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct AutoArgs {
    /// On or off
    #[arg(value_enum, default_value_t)]
    pub(crate) switch: Switch,
}

/// On or off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// `kmi config …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting with its value and where the value comes from
    Show,
    /// Check the configuration without using it; needs no network
    Check,
    /// Print the paths that kmi uses
    Path,
}

/// `kmi demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many requests to send
    #[arg(long, value_name = "N", default_value_t = 700,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) requests: u32,
    /// Keep running with a few visitors; says how to watch
    #[arg(long)]
    pub(crate) serve: bool,
    /// Watch it live; `q` ends it
    #[arg(long, conflicts_with = "serve")]
    pub(crate) tui: bool,
}

#[cfg(test)]
mod tests;
