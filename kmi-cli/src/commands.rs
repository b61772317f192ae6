//! One module per command; this one finds it.

mod config;
mod env;
mod init;

use std::process::ExitCode;

use crate::{
    args::{Cli, Command, Global},
    config::{Config, Environment, Flag},
    output::Output,
    report::Failure,
};

/// What every command gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The global options.
    pub(crate) global: &'a Global,
    /// The environment.
    pub(crate) env: &'a Environment,
    /// How to talk to the user.
    pub(crate) output: Output,
}

impl Context<'_> {
    /// Reads the configuration and says what is odd about it.
    pub(crate) fn load(&self, flags: &[Flag]) -> anyhow::Result<Config> {
        let config = crate::config::load(self.global, flags, self.env)?;
        for warning in &config.warnings {
            self.output.warning(warning, warning.remedy());
        }
        let unused =
            std::env::current_dir().ok().and_then(|dir| crate::config::unused_here(&config, &dir));
        if let Some(unused) = unused {
            self.output.hint(unused);
        }
        Ok(config)
    }
}

/// Runs a command to its exit code.
pub(crate) fn run(cli: Cli, env: &Environment, output: Output) -> anyhow::Result<ExitCode> {
    let context = Context { global: &cli.global, env, output };
    match cli.command {
        Some(Command::Config { command }) => config::run(&context, command),
        Some(Command::Env(args)) => env::run(&context, &args),
        Some(Command::Init) => init::run(&context),
        _ => Err(Failure::new("this command is not wired yet", "see `kmi --help`").into()),
    }
}
