//! The `kmi` command: reads the command line, runs one command, reports its error.
#![forbid(unsafe_code)]

mod args;
mod client_env;
mod commands;
mod config;
mod desk;
mod hardening;
mod live;
mod output;
mod report;
mod shell;
mod signals;
mod simulate;

use std::process::ExitCode;

use self::{args::Cli, config::Environment, output::Output};

fn main() -> ExitCode {
    let env = Environment::from_process();
    hardening::begin(Output::plain(&env));
    let cli = match Cli::parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return report::usage(error, Output::plain(&env)),
    };
    let output = Output::new(&cli.global, &env);
    commands::run(cli, &env, output).unwrap_or_else(|error| report::failure(&error, output))
}
