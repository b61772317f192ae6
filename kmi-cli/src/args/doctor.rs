//! `kmi doctor`.

use std::path::PathBuf;

use clap::Args;

pub(super) const HELP: &str = "\
Looks at files and their modes, secrets in git, the configuration, the port, the
running proxy, every key, the trace, the clock, the disk, and where clients are
led. It changes nothing without --fix, and asks no provider (`kmi keys test`
does).

Examples:
  kmi doctor
  kmi doctor --fix                     makes files private that are not
  kmi doctor --bundle report.json      one file for a report, without secrets

Exit code: 0 without problems (warnings are none), else 1.";

/// `kmi doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Tighten the modes of files and directories
    #[arg(long)]
    pub(crate) fix: bool,
    /// Write what a report needs to a new FILE, without secrets
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
}
