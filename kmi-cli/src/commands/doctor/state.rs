//! The state: token and secret, the ledger and its newest lines, room on the disk, the clock.

use jiff::Timestamp;
use kmi_proxy::{
    home::{Home, HomeError},
    ledger::{LedgerError, Reader},
};
use kmi_stats::report::Verdict;
use kmi_tui::quantity::bytes;

use super::finding::Findings;
use crate::{commands::newest_proof, config::Config};

const CHECK: &str = "state";

/// Less free space than this is a problem, …
const LITTLE: u64 = 64 << 20;
/// When this was written; no honest clock is behind it.
const WRITTEN: &str = "2026-11-01T00:00:00Z";
/// A clock that is set right by the network jumps by less than this, in seconds.
const JITTER: i64 = 5;

pub(super) fn check(config: &Config, now: Timestamp, found: &mut Findings) {
    secrets(&config.home, found);
    let newest = ledger(&config.home, found);
    clock(now, newest, found);
    room(config, found);
}

fn secrets(home: &Home, found: &mut Findings) {
    let results = [home.existing_token().map(drop), home.existing_secret().map(drop)];
    for error in results.into_iter().filter_map(Result::err) {
        let hint = match &error {
            HomeError::Exposed { .. } => format!("`kmi doctor --fix`, or: {}", error.hint()),
            _ => error.hint(),
        };
        found.problem(CHECK, error.to_string(), hint);
    }
}

/// Judges the newest lines; gives the time of the last one.
fn ledger(home: &Home, found: &mut Findings) -> Option<Timestamp> {
    let report = match newest_proof(home) {
        Ok(report) => report,
        Err(LedgerError::Missing(_)) => {
            found.ok(CHECK, "there is no trace yet");
            return None;
        }
        Err(error) => {
            let hint = "`kmi verify` says more; what can be read stays readable";
            found.problem(CHECK, format!("the trace cannot be read: {error}"), hint);
            return None;
        }
    };
    let records = report.chain.records;
    if !report.chain.ok {
        let message = format!("the chain of the newest {records} lines of the trace is broken");
        found.problem(CHECK, message, "`kmi verify` says where; a backup may have the true lines");
    } else if report.window.numbers.verdict == Verdict::Violated {
        let message = "the newest turns do not follow the rotation";
        found.problem(CHECK, message, "`kmi verify` says which; please report it");
    } else {
        found.ok(CHECK, format!("the newest {records} lines of the trace are unbroken"));
    }
    let last = Reader::open(home.state_dir()).ok()?.tail(1).ok()?.pop()?;
    let line: serde_json::Value = serde_json::from_str(&last.text).ok()?;
    line.get("ts")?.as_str()?.parse().ok()
}

fn clock(now: Timestamp, newest: Option<Timestamp>, found: &mut Findings) {
    let hint =
        "set it right (on Linux: timedatectl set-ntp true); certificates and reset times need it";
    let written: Timestamp = WRITTEN.parse().unwrap_or_default();
    match newest {
        _ if now < written => {
            found.problem(CHECK, format!("the clock is wrong: it says {now}"), hint);
        }
        Some(newest) if newest.as_second() > now.as_second() + JITTER => {
            let message = format!("the clock says {now}, but the trace has a line of {newest}");
            found.warning(CHECK, message, hint);
        }
        _ => found
            .ok(CHECK, format!("the clock says {}", now.round(jiff::Unit::Second).unwrap_or(now))),
    }
}

fn room(config: &Config, found: &mut Findings) {
    let dir = config.home.state_dir();
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(dir);
    let free = match rustix::fs::statvfs(there) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            let message = format!("the disk of {} cannot be looked at: {error}", there.display());
            return found.warning(CHECK, message, "look at its permissions");
        }
    };
    let used: u64 = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum();
    let wanted = config.settings.trace.retention.saturating_sub(used);
    let hint = "make room, or keep less of the trace: trace.retention";
    if free < LITTLE {
        let message = format!("only {} are free at {}", bytes(free), there.display());
        found.problem(CHECK, message, hint);
    } else if free < wanted {
        let message =
            format!("{} are free, but the trace may grow by {}", bytes(free), bytes(wanted));
        found.warning(CHECK, message, hint);
    } else {
        found.ok(CHECK, format!("{} are free for the trace", bytes(free)));
    }
}
