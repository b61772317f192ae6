//! `kmi trace --web`: the page of the running proxy.

use std::process::{Command, ExitCode, Stdio};

use crate::{client_env::Endpoint, commands::Context, config::Config, desk, report::Failure};

/// Prints the page's address and opens it where there is a desktop.
pub(super) fn run(context: &Context<'_>, config: &Config) -> anyhow::Result<ExitCode> {
    let Some(listen) = desk::listening(config)? else {
        let hint = "start one with `kmi serve`; `kmi trace export` shows the past";
        return Err(Failure::new("no proxy runs on this home, so it has no page", hint).into());
    };
    let token = config.home.token()?;
    let endpoint = Endpoint { listen, base_path: &config.settings.proxy.base_path, token: &token };
    let url = endpoint.page_url();
    context.output.data(&url)?;
    if let Some(opener) = opener(context) {
        open(context, opener, &url);
    }
    Ok(ExitCode::SUCCESS)
}

/// The program that opens addresses, if there is a desktop to open them on.
fn opener(context: &Context<'_>) -> Option<&'static str> {
    if cfg!(target_os = "macos") {
        return Some("open");
    }
    let desktop = ["WAYLAND_DISPLAY", "DISPLAY"]
        .iter()
        .any(|name| context.env.text(name).is_some_and(|value| !value.is_empty()));
    desktop.then_some("xdg-open")
}

/// Does not wait: some openers are the browser itself. That none could be started is no error, the
/// address has been printed.
fn open(context: &Context<'_>, opener: &str, url: &str) {
    let mut command = Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if command.spawn().is_err() {
        context.output.note(format_args!("{opener} cannot be started; open the address yourself"));
    }
}
