//! One module per command; this one finds it.

mod completions;
mod config;
mod demo;
mod doctor;
mod ending;
mod env;
mod init;
mod keys;
mod man;
mod rotate;
mod run;
mod serve;
mod service;
mod simulate;
mod status;
mod top;
mod trace;
mod usage;
mod verify;

use std::{process::ExitCode, sync::Arc};

use kmi_core::display::visible;
use kmi_proxy::home::Home;
use kmi_tui::model::Screen;

use crate::{
    args::{Cli, Command, Global},
    config::{Config, Environment, Flag, Origin},
    live::{self, Place},
    output::Output,
    shell,
};

pub(crate) use self::status::proof as newest_proof;

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
        let config = crate::config::load(self.global.given(flags), self.env)?;
        for warning in &config.warnings {
            self.output.warning(warning, warning.remedy());
        }
        let unused =
            std::env::current_dir().ok().and_then(|dir| crate::config::unused_here(&config, &dir));
        if let Some(unused) = unused {
            self.output.hint(unused);
        }
        self.tell_origins(&config);
        Ok(config)
    }

    /// How the user calls `kmi` so that it finds the same home again.
    fn called(&self, home: &Home) -> String {
        match &self.global.home {
            Some(_) => format!("kmi --home {}", shell::word(home.root())),
            None => "kmi".to_owned(),
        }
    }

    /// Shows a live view of the home until the user quits.
    fn watch(&self, config: Config, screen: Screen, filter: String) -> anyhow::Result<ExitCode> {
        let home = config.home.clone();
        let resting = Some(Arc::new((config, self.env.clone())));
        live::show(Place { home, resting }, screen, filter, self.output)
    }

    /// For `-v`: which files count; for `-vv`: every setting that is not the default.
    fn tell_origins(&self, config: &Config) {
        let file = config.file.as_ref().map(|file| file.display().to_string());
        self.output.detail(format_args!("home: {}", config.home.root().display()));
        self.output.detail(format_args!(
            "configuration: {}",
            file.as_deref().unwrap_or("no file; defaults, environment and options only")
        ));
        for row in config.rows.iter().filter(|row| row.origin != Origin::Default) {
            let origin = row.origin.to_string();
            self.output.fine_detail(format_args!(
                "{} = {} ({})",
                row.key,
                row.value,
                visible(&origin)
            ));
        }
    }
}

/// Runs a command to its exit code.
pub(crate) fn run(cli: Cli, env: &Environment, output: Output) -> anyhow::Result<ExitCode> {
    let context = Context { global: &cli.global, env, output };
    match cli.command {
        None => status::overview(&context),
        Some(Command::Auto(args)) => rotate::auto(&context, &args),
        Some(Command::Completions(args)) => completions::run(&context, &args),
        Some(Command::Config { command }) => config::run(&context, command),
        Some(Command::Demo(args)) => demo::run(&context, &args),
        Some(Command::Doctor(args)) => doctor::run(&context, &args),
        Some(Command::Env(args)) => env::run(&context, &args),
        Some(Command::Init) => init::run(&context),
        Some(Command::Keys { command }) => keys::run(&context, command.as_ref()),
        Some(Command::Man(args)) => man::run(&context, &args),
        Some(Command::Reload(args)) => serve::reload(&context, &args),
        Some(Command::Rotate(args)) => rotate::rotate(&context, &args),
        Some(Command::Run(args)) => run::run(&context, &args),
        Some(Command::Serve(args)) => serve::serve(&context, &args),
        Some(Command::Service { command }) => service::run(&context, &command),
        Some(Command::Simulate(args)) => simulate::run(&context, &args),
        Some(Command::Status(args)) => status::run(&context, &args),
        Some(Command::Stop) => serve::stop(&context),
        Some(Command::Top) => top::run(&context),
        Some(Command::Trace(args)) => trace::run(&context, &args),
        Some(Command::Usage(args)) => usage::run(&context, &args),
        Some(Command::Verify(args)) => verify::run(&context, &args),
    }
}
