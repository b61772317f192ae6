//! `kmi doctor`: looks at everything that keeps kmi from working, and says what to do about it.
//!
//! It changes nothing but modes, and those only with `--fix`; it asks nobody but the running proxy.

mod bundle;
mod clients;
mod files;
mod finding;
mod keys;
mod proxy;
mod settings;
mod state;
mod tracked;

use std::{fmt::Write as _, process::ExitCode};

use jiff::Timestamp;
use kmi_core::key::HomeSecret;
use kmi_proxy::{control::Status, home::Home, keys::Loaded};
use kmi_tui::{paint::Tone, quantity::counted};
use serde::Serialize;

use self::{
    bundle::Parts,
    clients::Door,
    finding::{Finding, Findings, Level},
};
use super::Context;
use crate::{
    args::DoctorArgs,
    config::{self, Config},
    desk,
};

/// Key ids are not shown here, so no secret is made for them.
const NO_IDS: HomeSecret = HomeSecret::new([0; 32]);

/// `kmi doctor --json`.
#[derive(Serialize)]
struct DoctorJson<'a> {
    ok: bool,
    problems: usize,
    warnings: usize,
    findings: &'a [Finding],
}

pub(super) fn run(context: &Context<'_>, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let named = config::locate_home(context.global.home.as_deref(), context.env)?;
    let config = config::load(context.global.given(&[]), context.env);
    let home = config.as_ref().map_or(named, |config| config.home.clone());
    let mut found = Findings::default();
    settings::check(&config, &mut found);
    let config = config.ok();
    let file = config.as_ref().and_then(|config| config.file.clone());
    files::check(&home, &file.unwrap_or_else(|| home.config_toml()), args.fix, &mut found);
    let mut secrets = files::secrets(&home);
    secrets.push(home.signer_file());
    tracked::check(&secrets, &mut found);
    let running = proxy::ask(&home, &mut found);
    let mut loaded = Loaded::default();
    if let Some(config) = &config {
        proxy::check(config, running.as_ref(), &mut found);
        // After the modes, which may have been tightened.
        if home.root().exists() || !config.env_keys.is_empty() {
            loaded = kmi_proxy::keys::load(&desk::sources(config, context.env), &NO_IDS);
            keys::check(config, &loaded, running.as_ref(), &mut found);
        }
        state::check(config, Timestamp::now(), &mut found);
        clients::check(&door(config, running.as_ref()), context.env, &mut found);
    }
    print(context, &found)?;
    if let Some(path) = &args.bundle {
        let (config, running) = (config.as_ref(), running.as_ref());
        let parts = Parts { findings: found.all(), config, loaded: &loaded, running, home: &home };
        let path = bundle::write(path, &parts, context.env)?;
        context
            .output
            .note(format_args!("the bundle is {}; look at it before you send it", path.display()));
    }
    Ok(ExitCode::from(u8::from(found.count(Level::Problem) > 0)))
}

fn door<'a>(config: &'a Config, running: Option<&Status>) -> Door<'a> {
    let listen = running.and_then(|status| status.snapshot.proxy.listen.as_ref()?.parse().ok());
    Door {
        listen: listen.unwrap_or(config.settings.proxy.listen),
        base_path: &config.settings.proxy.base_path,
        token: token(&config.home),
    }
}

fn token(home: &Home) -> Option<kmi_proxy::home::Token> {
    // One that cannot be read was told already.
    home.existing_token().ok().flatten()
}

fn print(context: &Context<'_>, found: &Findings) -> anyhow::Result<()> {
    let (problems, warnings) = (found.count(Level::Problem), found.count(Level::Warning));
    if context.output.json() {
        let ok = problems == 0;
        let json = DoctorJson { ok, problems, warnings, findings: found.all() };
        context.output.data_json(&json)?;
        return Ok(());
    }
    let paint = context.output.paint();
    let mut text = String::new();
    for Finding { level, check, message, hint } in found.all() {
        let tone = match level {
            Level::Ok => Tone::Good,
            Level::Warning => Tone::Warn,
            Level::Problem => Tone::Bad,
        };
        // Padded first: colours have no width.
        let word = paint.text(tone, &format!("{:7}", level.as_str()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{word}  {check:7}  {message}");
        if let Some(hint) = hint {
            let _ = writeln!(text, "         {} {hint}", paint.text(Tone::Dim, "hint:"));
        }
    }
    let good = found.count(Level::Ok);
    let (problems, warnings) =
        (counted(problems as u64, "problem"), counted(warnings as u64, "warning"));
    let _ = writeln!(text, "\n{problems}, {warnings}, {good} good");
    context.output.raw(&text)?;
    Ok(())
}
