//! `kmi man`: the man page, or those of all commands.

use std::{fs, process::ExitCode};

use anyhow::Context as _;
use clap_mangen::Man;

use super::Context;
use crate::args::{Cli, ManArgs};

pub(super) fn run(context: &Context<'_>, args: &ManArgs) -> anyhow::Result<ExitCode> {
    let description = Cli::description();
    let Some(dir) = &args.output else {
        let mut page = Vec::new();
        Man::new(description).render(&mut page)?;
        context.output.raw(&String::from_utf8(page)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    let cannot = || format!("cannot write man pages to {}", dir.display());
    fs::create_dir_all(dir).with_context(cannot)?;
    clap_mangen::generate_to(description, dir).with_context(cannot)?;
    context.output.note(format_args!("man pages are in {}", dir.display()));
    Ok(ExitCode::SUCCESS)
}
