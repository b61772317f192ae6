//! The seed flags: `--rotate`, `--auto_rotate` and `--trace`, each the same as a command.

use clap::Args;

use super::{AutoArgs, Command, RotateArgs, Switch, TraceArgs};

/// The flags; at most one of them, and none beside a command.
#[derive(Debug, Args)]
#[group(id = "seed", multiple = false)]
pub(super) struct SeedFlags {
    /// Switch to the next usable key, or to KEY (`kmi rotate`)
    #[arg(long, value_name = "KEY", num_args = 0..=1, help_heading = "Shortcuts")]
    #[expect(clippy::option_option, reason = "absent, given bare, and given with a key differ")]
    rotate: Option<Option<String>>,
    /// Every request takes the next key
    #[arg(long = "auto_rotate", visible_alias = "auto-rotate", help_heading = "Shortcuts")]
    auto_rotate: bool,
    /// Follow the trace (`kmi trace`)
    #[arg(long, help_heading = "Shortcuts")]
    trace: bool,
}

impl SeedFlags {
    /// The flag that was given and the command it stands for.
    pub(super) fn into_command(self) -> Option<(&'static str, Command)> {
        if let Some(key) = self.rotate {
            return Some(("--rotate", Command::Rotate(RotateArgs { key })));
        }
        if self.auto_rotate {
            return Some(("--auto_rotate", Command::Auto(AutoArgs { switch: Switch::On })));
        }
        self.trace.then(|| ("--trace", Command::Trace(TraceArgs::default())))
    }
}
