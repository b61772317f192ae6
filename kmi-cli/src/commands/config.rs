//! `kmi config show|check|path`.

use std::{fmt::Write as _, process::ExitCode};

use kmi_core::display::visible;
use serde_json::{Value, json};

use super::Context;
use crate::{
    args::ConfigCommand,
    config::{self, Config, ConfigError, Problem, Row},
    report::USAGE,
};

pub(super) fn run(context: &Context<'_>, command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Show => show(context),
        ConfigCommand::Check => check(context),
        ConfigCommand::Path => path(context),
    }
}

fn show(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let rows = context.load(&[])?.rows;
    if context.output.json() {
        let rows: Vec<Value> = rows
            .iter()
            .map(
                |row| json!({"key": row.key, "value": row.value, "origin": row.origin.to_string()}),
            )
            .collect();
        context.output.data_json(&rows)?;
    } else {
        context.output.raw(&table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `key = value  # origin`, aligned; what is not set stands behind a `#` as in the example file.
fn table(rows: &[Row]) -> String {
    let setting = |row: &Row| match &row.value {
        Value::Null => format!("# {}", row.key),
        value => format!("{} = {value}", row.key),
    };
    let settings: Vec<String> = rows.iter().map(setting).collect();
    let width = settings.iter().map(|setting| setting.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (row, setting) in rows.iter().zip(&settings) {
        let origin = row.origin.to_string();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{setting:width$}  # {}", visible(&origin));
    }
    text
}

fn check(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let tried = |config: Config| config.try_upstreams().map(|()| config);
    let loaded = config::load(context.global.given(&[]), context.env).and_then(tried);
    if context.output.json() {
        let (problems, warnings) = match &loaded {
            Ok(config) => ([].as_slice(), config.warnings.as_slice()),
            Err(ConfigError { problems }) => (problems.as_slice(), [].as_slice()),
        };
        let list = |problems: &[Problem]| -> Vec<Value> {
            problems.iter().map(|p| json!({"message": p.to_string(), "hint": p.remedy()})).collect()
        };
        context.output.data_json(&json!({
            "ok": loaded.is_ok(),
            "problems": list(problems),
            "warnings": list(warnings),
        }))?;
        return Ok(loaded.map_or(ExitCode::from(USAGE), |_| ExitCode::SUCCESS));
    }
    // Says what is odd, too.
    let config = context.load(&[])?;
    loaded?;
    let read =
        config.file.map_or("no file, defaults only".to_owned(), |path| path.display().to_string());
    context.output.data(format_args!("the configuration is good ({read})"))?;
    Ok(ExitCode::SUCCESS)
}

fn path(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    let home = &config.home;
    let file = config.file.unwrap_or_else(|| home.config_toml());
    let paths = [
        ("home", home.root().to_owned()),
        ("config", file),
        ("env", home.env_file()),
        ("keys", home.auths_dir().to_owned()),
        ("state", home.state_dir().to_owned()),
        ("socket", home.socket()),
    ];
    if context.output.json() {
        let paths: serde_json::Map<String, Value> = paths
            .iter()
            .map(|(name, path)| ((*name).to_owned(), path.to_string_lossy().into()))
            .collect();
        context.output.data_json(&paths)?;
    } else {
        for (name, path) in paths {
            context.output.data(format_args!("{name:<7} {}", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
