//! `kmi run` and `kmi env`: programs that use the proxy.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

pub(super) const RUN_HELP: &str = "\
Works for Kimi Code, kimi-cli, Claude Code and everything built on the OpenAI or
Anthropic SDKs. No configuration file of the program is changed. When no proxy
runs, one runs beside it.

Examples:
  kmi run kimi
  kmi run -- kimi -p \"explain this repository\"
  kmi run --model kimi-for-coding -- claude

Exit code: that of the program; 127 when it is not found, 128+n after signal n.";

pub(super) const ENV_HELP: &str = "\
Examples:
  eval \"$(kmi env)\"                    sh, bash, zsh
  kmi env --shell fish | source        fish
  kmi env --shell json                 for editors and scripts

The output contains the token of this home: do not paste it anywhere public.";

/// `kmi run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Model for clients that need one [default: client.model]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

/// `kmi env`.
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// For which shell; bash and zsh read what sh does
    #[arg(long, value_enum, default_value_t)]
    pub(crate) shell: Shell,
}

/// A way to write an environment down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// `export NAME='value'`: sh, bash, zsh, dash.
    #[default]
    #[value(aliases = ["bash", "zsh", "dash", "ksh"])]
    Sh,
    /// `set -gx NAME 'value'`.
    Fish,
    /// One JSON object.
    Json,
}
