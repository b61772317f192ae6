//! `kmi completions`: what a shell needs to complete kmi's commands and options.

use std::process::ExitCode;

use super::Context;
use crate::args::{Cli, CompletionsArgs};

pub(super) fn run(context: &Context<'_>, args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    // In memory first: the generator panics when the reader of a pipe has gone.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::description(), "kmi", &mut script);
    context.output.raw(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}
