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
    /// Ask the provider whether keys work, and what is left of their quota
    #[command(after_help = "\
A key that works serves again, even when it was blocked until you act.

Examples:
  kmi keys test                all keys
  kmi keys test work

Exit code: 0 when all of them work, else 1.")]
    Test(TestArgs),
}

/// `kmi keys test`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct TestArgs {
    /// The label of the key [default: all keys]
    #[arg(value_name = "LABEL")]
    pub(crate) label: Option<String>,
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
