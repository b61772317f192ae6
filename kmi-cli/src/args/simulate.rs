//! `kmi simulate`: a described population.

use std::{ops::RangeInclusive, path::PathBuf};

use clap::Args;
use kmi_core::state::Policy;
use serde::{Deserialize as _, de::IntoDeserializer as _};

use crate::simulate::{Fail, MAX_KEYS, Rate, Span, Time, Trouble};

pub(super) const HELP: &str = "\
The rotation, the health of keys and the proof are kmi's own; clients, provider
and clock are made up, so it costs no time, no network and no money. The same
scenario and seed give the same schedule. docs/scenarios explains scenario files.

A key is meant by its label or its number. FROM..TO are attempts (under
round-robin: turns) or times: 100..200, 10m..1h. WHY is rate_limited (the
default), quota_exhausted, concurrency_limited, balance_exhausted, auth_failed,
account_terminated, membership_lapsed, overloaded, unavailable, server_error,
timeout, no_connection or cut.

Examples:
  kmi simulate
  kmi simulate --keys 5 --turns 2000 --fail 2@100..400 --fail 3@5m..20m=timeout
  kmi simulate --scenario day.toml --keys 1..8    how many keys does it take?
  kmi simulate --scenario day.toml --compare      what do sessions save?
  kmi simulate --trace t.jsonl && kmi verify t.jsonl

Exit codes: 0 simulated, 1 the proof was violated or is incomplete, 2 a scenario
that cannot be read or carried out.";

/// `kmi simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Read keys, load and failures from a scenario file
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// How many keys [default: 5]; with A..B, a comparison
    #[arg(long, value_name = "N|A..B", value_parser = keys)]
    pub(crate) keys: Option<RangeInclusive<u32>>,
    /// End after so many turns [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) turns: Option<u64>,
    /// End after so much simulated time
    #[arg(long, value_name = "TIME")]
    pub(crate) time: Option<Time>,
    /// A key that fails for a while
    #[arg(long, value_name = "KEY@FROM..TO[=WHY]", value_parser = fail)]
    pub(crate) fail: Vec<Fail>,
    /// The keys' weights, one after the other
    #[arg(long, value_name = "W,W,…", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) weights: Vec<u32>,
    /// round-robin or session
    #[arg(long, value_parser = policy)]
    pub(crate) policy: Option<Policy>,
    /// Clients that ask at the same time [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) clients: Option<u32>,
    /// Requests come at this rate instead, as 30/m
    #[arg(long, value_name = "RATE", conflicts_with = "clients")]
    pub(crate) rate: Option<Rate>,
    /// How long answers take, as 4s or 2s..8s
    #[arg(long, value_name = "TIME")]
    pub(crate) latency: Option<Span>,
    /// Throws the dice differently
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Compare both policies
    #[arg(long, conflicts_with_all = ["policy", "trace"])]
    pub(crate) compare: bool,
    /// How many attempts of the schedule to show [default: 20; with --json 10000]
    #[arg(long, value_name = "N", conflicts_with = "compare")]
    pub(crate) rows: Option<u64>,
    /// Write the trace there, for `kmi verify`
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
}

fn keys(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if 1 <= from && from <= to && to <= MAX_KEYS => Ok(from..=to),
        _ => Err(format!("expected a number such as 5 or a range such as 1..8, up to {MAX_KEYS}")),
    }
}

fn fail(text: &str) -> Result<Fail, String> {
    let form = || format!("`{text}` is not KEY@FROM..TO, as 2@100..200 or work@10m..1h=timeout");
    let (key, rest) = text.rsplit_once('@').ok_or_else(form)?;
    let (at, with) = match rest.split_once('=') {
        Some((at, why)) => (at, Trouble::parse(why)?),
        None => (rest, Trouble::default()),
    };
    let at = at.parse().map_err(|error| format!("{error}"))?;
    Ok(Fail { key: key.to_owned(), at, with })
}

fn policy(text: &str) -> Result<Policy, String> {
    Policy::deserialize(text.into_deserializer())
        .map_err(|error: serde::de::value::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read() {
        let read = |text| {
            let Fail { key, at, with } = fail(text)?;
            Ok::<_, String>((key, at, with))
        };
        let attempts = "1..9".parse().unwrap();
        assert_eq!(read("2@1..9"), Ok(("2".to_owned(), attempts, Trouble::RateLimited)));
        let hour = "0..1h".parse().unwrap();
        let expected = ("me@home".to_owned(), hour, Trouble::Timeout);
        assert_eq!(read("me@home@0..1h=timeout"), Ok(expected));
        for wrong in ["2", "2@", "2@5", "2@9..1", "2@1..9=luck"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!((keys("3"), keys("1..8")), (Ok(3..=3), Ok(1..=8)));
        assert!(keys("0").is_err() && keys("8..1").is_err() && keys("").is_err());
        assert!(keys("10000").is_ok() && keys("10001").is_err() && keys("1..4000000000").is_err());
    }
}
