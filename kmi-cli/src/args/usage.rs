//! `kmi usage`: what was used.

use clap::{Args, ValueEnum};

use super::{Moment, moment};

pub(super) const HELP: &str = "\
A request that needed two keys counts for both. Tokens are those that the
provider reported; cached ones are part of the prompt.

`lost` is what the rotation gave up in the provider's cache, which belongs to an
account. It is an estimate: of all requests that follow another one of their
session, those on the same key as the one before show what share of a prompt
staying finds in the cache; those on another key are held against that share.
Below 20 of the former there is only a bound (≤): the prompt of the request
before. `rotation.policy = \"session\"` keeps sessions on their key.

A TIME is a date, an RFC 3339 time, or how long ago: 2026-03-01, 24h, 7d.

Examples:
  kmi usage
  kmi usage --since 7d --by day
  kmi usage --by model --csv > models.csv";

/// `kmi usage`.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Only what ended from this time on
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub(crate) since: Option<Moment>,
    /// One row for each key, model or day (in UTC)
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub(crate) by: Grouping,
    /// Print a table for spreadsheets
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

/// What a row stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grouping {
    /// Keys.
    #[default]
    Key,
    /// Models.
    Model,
    /// Days.
    Day,
}
