//! `kmi keys …`.

use clap::{Args, Subcommand};

/// `kmi keys …`; bare, it lists.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum KeysCommand {
    /// List the keys (never their secret part)
    List,
    /// Store a new key as LABEL
    #[command(after_help = "\
The key is asked for without being shown, or read from standard input; it is
never an argument, where every program of this machine could read it.

Examples:
  kmi keys add work
  op read op://Private/Kimi/key | kmi keys add work")]
    Add(KeyName),
    /// Remove the key LABEL and its file
    Remove(RemoveArgs),
    /// Let a key serve again; also ends a block that waits for you
    Enable(KeyName),
    /// Keep a key but let it serve no more
    Disable(KeyName),
}

/// A key by its name.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct KeyName {
    /// The label of the key
    #[arg(value_name = "LABEL")]
    pub(crate) label: String,
}

/// `kmi keys remove`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct RemoveArgs {
    /// The label of the key
    #[arg(value_name = "LABEL")]
    pub(crate) label: String,
    /// Do not ask; needed without a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
}
