//! `kmi init`: makes the home with commented files, and never overwrites any.

use std::{path::PathBuf, process::ExitCode};

use kmi_proxy::home::create_private_file;

use super::Context;
use crate::config;

const CONFIG: &str = include_str!("../../../kmi.config.toml.example");
const DOTENV: &str = include_str!("../../../.env.example");
const README: &str = include_str!("init/auths_readme.md");

pub(super) fn run(context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let home = config::locate_home(context.global.home.as_deref(), context.env)?;
    home.create()?;
    // Two configuration files would be an error: a JSON one is left alone with its choice.
    let config = if home.config_json().exists() { home.config_json() } else { home.config_toml() };
    let files: [(PathBuf, String); 3] = [
        (config, commented_out(CONFIG)),
        (home.env_file(), commented_out(DOTENV)),
        (home.auths_dir().join("README.md"), README.to_owned()),
    ];
    for (path, content) in files {
        let made = create_private_file(&path, content.as_bytes())?;
        let word = if made { "made" } else { "kept" };
        context.output.note(format_args!("{word} {}", path.display()));
    }
    // What was there before may need attention; it is better to hear of it now.
    let config = context.load(&[])?;
    let kmi = context.called(&config.home);
    context.output.note(format_args!(
        "\nNext:\n  \
         {kmi} keys add NAME    store a key (again for each further one)\n  \
         {kmi} auto on          let the keys take turns\n  \
         {kmi} run kimi         start Kimi through the proxy"
    ));
    Ok(ExitCode::SUCCESS)
}

/// The example with every setting behind a `#`: the defaults stay kmi's own, and a later version
/// may improve them.
fn commented_out(example: &str) -> String {
    let comment = |line: &str| {
        let is_setting = !line.starts_with(['#', '[']) && line.contains('=');
        if is_setting { format!("# {line}\n") } else { format!("{line}\n") }
    };
    example.lines().map(comment).collect()
}
