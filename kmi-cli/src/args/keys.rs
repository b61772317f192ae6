//! `kmi keys …`.

use std::path::PathBuf;

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
    /// Take over keys of a Kimi client, the environment, or a file
    #[command(after_help = "\
PATH is a Kimi client's config.toml, a .env file, a key file, or a directory of
key files (the `_auths` of kmi's predecessor). Without it the configuration of
kimi-cli and Kimi Code, KIMI_API_KEY and MOONSHOT_API_KEY are looked through.
Each new key is copied into a file of its own; nothing is overwritten, and what
is there already is left out.

Examples:
  kmi keys import
  kmi keys import ~/.kimi/config.toml
  kmi keys import ~/old-project/_auths --yes")]
    Import(ImportArgs),
}

/// `kmi keys import`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct ImportArgs {
    /// Where to look [default: Kimi's clients and the environment]
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// Do not ask; needed without a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
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
