//! `kmi trace …` and `kmi verify`: what was recorded.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kmi_core::outcome::Outcome;

use super::{Moment, moment};

pub(super) const EXAMPLES: &str = "\
On a terminal this is a live view; into a pipe, or with --json, it follows as
JSON lines. Keys of the live view (? shows all):
  ↑ ↓ PgUp PgDn Home End   move; back into the ledger; End follows again
  Enter    all about a request, and why this key     Space  pause
  /        filter: words, or key: outcome: model: session: before a word
  K O M S  only the selected line's key, outcome, model, session; c  all
  e        write what is shown to a new file   Tab  the keys (`kmi top`)
  ?        help                                q    quit

Examples:
  kmi trace                                      follow what happens now
  kmi trace --json | jq .key                     the same as JSON lines
  kmi trace --key work --outcome rate_limited    only what you look for
  kmi trace export -o trace.jsonl                everything, byte for byte
  kmi trace show 4711                            why turn 4711 took its key
  kmi trace --web                                the same in a browser";

pub(super) const TOP_HELP: &str = "\
On a terminal this is a live view; elsewhere the table of `kmi status`. Works
without a running proxy, too. What changes something is confirmed first.
Keys (? shows all):
  ↑ ↓      select a key             t  test it: does it work, what is left?
  r Enter  rotate to it (manual)    x  end what blocks it now
  e d      enable, disable it       m  automatic rotation on or off
  Tab      the trace (`kmi trace`)  q  quit

Examples:
  kmi top
  kmi top --json                     once, for scripts";

pub(super) const VERIFY_HELP: &str = "\
Every turn is replayed: who was usable, whose turn it was, who served. FILE is
what `kmi trace export` wrote; without it the ledger of this home is checked.

Examples:
  kmi verify
  kmi verify --window 1000
  kmi verify trace.jsonl --head 3f6c…
  zcat trace.jsonl.gz | kmi verify -
  kmi verify --checkpoint kept.txt --public-key kmi.pub

Exit codes: 0 fair, 1 violated, incomplete or broken chain, 2 no readable FILE,
3 not enough data.";

/// `kmi trace` and `--trace`.
#[derive(Debug, Default, Args)]
pub(crate) struct TraceArgs {
    /// Show it in a browser: prints an address
    #[arg(long, conflicts_with_all = ["key", "outcome"])]
    pub(crate) web: bool,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(subcommand)]
    pub(crate) command: Option<TraceCommand>,
}

/// Which lines are shown.
#[derive(Debug, Default, Args)]
pub(crate) struct Filter {
    /// Only this key, by label or id
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Only attempts that ended so, as `rate_limited`
    #[arg(long, value_parser = outcome_parser(), hide_possible_values = true)]
    pub(crate) outcome: Option<Outcome>,
}

/// `kmi trace …`.
#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Write the stored trace to standard output or a file
    #[command(after_help = "\
JSON lines are the stored lines, byte for byte: `kmi verify FILE` can check them
anywhere. A TIME is a date, an RFC 3339 time, or how long ago: 2026-03-01,
2026-03-01T12:00:00Z, 30m, 24h, 7d.

Examples:
  kmi trace export -o trace.jsonl
  kmi trace export --since 24h --format csv -o today.csv")]
    Export(ExportArgs),
    /// Explain why a key was chosen, from the trace alone
    #[command(after_help = "\
A turn is the number in `x-kmi-turn` and in the column `turn` of `kmi trace`; a
request id is that in `x-kmi-request-id`. Times are UTC.

Examples:
  kmi trace show 4711
  kmi trace show req-5c1b7d02-1a --json")]
    Show(ShowArgs),
    /// Print a signed checkpoint of the trace, to keep elsewhere
    #[command(after_help = "\
It states how many lines the trace has and what their head is, signed with a key
of this home, in the text form of C2SP. Whoever keeps it can tell later that the
trace was neither rewritten nor cut: mail it to yourself, commit it, print it.

Examples:
  kmi trace head > checkpoint.txt
  kmi trace head --public-key > kmi.pub
  kmi verify --checkpoint checkpoint.txt --public-key kmi.pub")]
    Head(HeadArgs),
}

/// `kmi trace head`.
#[derive(Debug, Args)]
pub(crate) struct HeadArgs {
    /// Print the public half of the key instead
    #[arg(long)]
    pub(crate) public_key: bool,
}

/// `kmi trace show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The number of a turn, or the id of a request
    #[arg(value_name = "TURN|REQUEST_ID")]
    pub(crate) what: String,
}

/// `kmi trace export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The form of the lines
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ExportFormat,
    /// Only lines from this time on
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub(crate) since: Option<Moment>,
    /// Only lines up to this time
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub(crate) until: Option<Moment>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Write to FILE instead of standard output, which `-` is too
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The form of exported lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// The stored lines.
    #[default]
    Jsonl,
    /// A table for spreadsheets; its cells are inert there.
    Csv,
}

/// `kmi verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// An exported trace, `-` for stdin [default: the ledger of this home]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Judge the last N turns as well [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) window: Option<u64>,
    /// A head, noted earlier, that must be in the chain
    #[arg(long, value_name = "HASH")]
    pub(crate) head: Option<String>,
    /// A kept checkpoint whose head must be in the chain
    #[arg(long, value_name = "FILE", conflicts_with = "head")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// The key whose signatures they must bear
    #[arg(long, value_name = "FILE")]
    pub(crate) public_key: Option<PathBuf>,
    /// Exit with 0 when there are too few turns to judge
    #[arg(long)]
    pub(crate) allow_insufficient: bool,
}

fn outcome_parser() -> impl clap::builder::TypedValueParser<Value = Outcome> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(Outcome::ALL.map(Outcome::as_str))
        .try_map(|word| Outcome::parse(&word).ok_or("no such outcome"))
}
