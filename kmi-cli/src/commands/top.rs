//! `kmi top`: the keys live, and what can be done with them.

use std::process::ExitCode;

use kmi_tui::model::Screen;

use super::{Context, status};

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    if !context.output.holds_screen() {
        return status::show(context, &config);
    }
    context.watch(config, Screen::Top, String::new())
}
