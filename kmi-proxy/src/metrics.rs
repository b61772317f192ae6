//! `/kmi-rotor/metrics`: what `kmi status` shows, in Prometheus' text format 0.0.4.
//!
//! Counters count since kmi was started, or since a key was added; that they fall back to zero is
//! something Prometheus knows how to read.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use kmi_core::{
    snapshot::{KeyRow, Snapshot},
    state::{KeyState, Mode},
};

use crate::control::Status;

/// The format's content type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric.
pub(crate) fn text(status: &Status) -> String {
    let mut out = String::with_capacity(4 << 10);
    // Writing to memory does not fail.
    let _ = write(status, &mut Writer(&mut out));
    out
}

fn write(status: &Status, out: &mut Writer<'_>) -> fmt::Result {
    let Status { snapshot, problems, trace_failure, .. } = status;
    proxy(snapshot, out)?;
    out.family("kmi_trace_failing", "gauge", "1 while the trace cannot be written.")?;
    out.sample("kmi_trace_failing", &[], f64::from(u8::from(trace_failure.is_some())))?;
    out.family("kmi_key_file_problems", "gauge", "What is wrong with key files.")?;
    out.sample("kmi_key_file_problems", &[], problems.len())?;
    keys(&snapshot.keys, out)?;
    quotas(&snapshot.keys, out)
}

fn proxy(snapshot: &Snapshot, out: &mut Writer<'_>) -> fmt::Result {
    out.family("kmi_build_info", "gauge", "The running version.")?;
    out.sample("kmi_build_info", &[("version", &snapshot.proxy.version)], 1)?;
    if let Some(uptime) = snapshot.proxy.uptime_s {
        out.family("kmi_uptime_seconds", "gauge", "For how long the proxy has been running.")?;
        out.sample("kmi_uptime_seconds", &[], uptime)?;
    }
    out.family("kmi_mode", "gauge", "1 for the mode in force.")?;
    for mode in [Mode::Auto, Mode::Manual] {
        let on = u8::from(mode == snapshot.mode);
        out.sample("kmi_mode", &[("mode", mode.as_str())], on)?;
    }
    Ok(())
}

fn keys(rows: &[KeyRow], out: &mut Writer<'_>) -> fmt::Result {
    out.family("kmi_attempts_total", "counter", "Attempts with a key that have ended.")?;
    for row in rows {
        out.key("kmi_attempts_total", row, &[], row.requests)?;
    }
    out.family(
        "kmi_attempt_errors_total",
        "counter",
        "Attempts that did not end well; the client's own faults left out.",
    )?;
    for row in rows {
        out.key("kmi_attempt_errors_total", row, &[], row.errors)?;
    }
    out.family("kmi_attempts_in_flight", "gauge", "Attempts under way.")?;
    for row in rows {
        out.key("kmi_attempts_in_flight", row, &[], row.in_flight)?;
    }
    out.family("kmi_key_state", "gauge", "1 for the state that a key is in.")?;
    for row in rows {
        for state in [KeyState::Healthy, KeyState::Warn, KeyState::Blocked, KeyState::Disabled] {
            let on = u8::from(state == row.state);
            out.key("kmi_key_state", row, &[("state", state.as_str())], on)?;
        }
    }
    out.family("kmi_key_reason", "gauge", "1 for why a key is not simply healthy.")?;
    for row in rows {
        if let Some(reason) = row.reason {
            out.key("kmi_key_reason", row, &[("reason", reason.as_str())], 1)?;
        }
    }
    out.family("kmi_key_until_timestamp_seconds", "gauge", "Until when a key's state holds.")?;
    for row in rows {
        if let Some(until) = row.until {
            out.key("kmi_key_until_timestamp_seconds", row, &[], seconds(until))?;
        }
    }
    out.family("kmi_key_last_used_timestamp_seconds", "gauge", "When a key last served.")?;
    for row in rows {
        if let Some(used) = row.last_used {
            out.key("kmi_key_last_used_timestamp_seconds", row, &[], seconds(used))?;
        }
    }
    out.family("kmi_key_latency_seconds", "gauge", "Time to the end of recent answers.")?;
    for row in rows {
        for (quantile, ms) in [("0.5", row.latency_ms.p50), ("0.95", row.latency_ms.p95)] {
            if let Some(ms) = ms {
                let quantile = [("quantile", quantile)];
                out.key("kmi_key_latency_seconds", row, &quantile, Millis(ms))?;
            }
        }
    }
    Ok(())
}

fn quotas(rows: &[KeyRow], out: &mut Writer<'_>) -> fmt::Result {
    out.family("kmi_key_quota_remaining_ratio", "gauge", "Left of the tightest limit, 0 to 1.")?;
    for row in rows {
        if let Some(left) = row.quota.remaining_ratio {
            out.key("kmi_key_quota_remaining_ratio", row, &[], left)?;
        }
    }
    out.family("kmi_key_quota_used_ratio", "gauge", "Used up of a limit, 0 to 1.")?;
    for row in rows {
        for limit in &row.quota.limits {
            out.key("kmi_key_quota_used_ratio", row, &[("limit", &limit.name)], limit.used_ratio)?;
        }
    }
    out.family("kmi_key_quota_resets_timestamp_seconds", "gauge", "When a limit starts anew.")?;
    for row in rows {
        for limit in &row.quota.limits {
            if let Some(resets) = limit.resets_at {
                let name = "kmi_key_quota_resets_timestamp_seconds";
                out.key(name, row, &[("limit", &limit.name)], seconds(resets))?;
            }
        }
    }
    out.family("kmi_key_balance", "gauge", "The prepaid balance.")?;
    for row in rows {
        if let Some(balance) = row.quota.balance {
            let currency = row.quota.currency.as_deref().unwrap_or_default();
            out.key("kmi_key_balance", row, &[("currency", currency)], balance)?;
        }
    }
    Ok(())
}

fn seconds(at: Timestamp) -> i64 {
    at.as_second()
}

/// Milliseconds, written in seconds.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

type Labels<'a> = [(&'a str, &'a str)];

struct Writer<'a>(&'a mut String);

impl Writer<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}")
    }

    fn key(
        &mut self,
        name: &str,
        row: &KeyRow,
        more: &Labels<'_>,
        value: impl fmt::Display,
    ) -> fmt::Result {
        let mut labels: Vec<(&str, &str)> =
            vec![("upstream", &row.upstream), ("key", &row.key), ("label", &row.label)];
        labels.extend(more);
        self.sample(name, &labels, value)
    }

    fn sample(&mut self, name: &str, labels: &Labels<'_>, value: impl fmt::Display) -> fmt::Result {
        self.0.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            write!(self.0, "{}{label}=\"", if n == 0 { '{' } else { ',' })?;
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{end} {value}")
    }
}

#[cfg(test)]
mod tests {
    use kmi_core::{
        snapshot::{FleetRow, LatencyRow, LimitRow, ProxyRow, QuotaRow},
        state::{Policy, Reason},
    };

    use super::*;

    fn status() -> Status {
        let at = |second| Timestamp::from_second(second).unwrap();
        let row = KeyRow {
            key: "k-00000001".into(),
            label: "a\"b\\c\nd".into(),
            masked: "sk-…0001".into(),
            upstream: "kimi".into(),
            account: None,
            priority: 0,
            weight: 1,
            state: KeyState::Blocked,
            reason: Some(Reason::QuotaExhausted),
            until: Some(at(1_795_000_000)),
            last_used: None,
            requests: 12,
            errors: 1,
            in_flight: 0,
            latency_ms: LatencyRow { p50: Some(1_050), p95: None },
            quota: QuotaRow {
                remaining_ratio: Some(0.0),
                limits: vec![LimitRow { name: "5h".into(), used_ratio: 0.5, resets_at: None }],
                ..QuotaRow::default()
            },
        };
        Status {
            snapshot: Snapshot {
                proxy: ProxyRow { version: "1.2.3".into(), ..ProxyRow::default() },
                mode: Mode::Auto,
                policy: Policy::RoundRobin,
                active_key: None,
                keys: vec![row],
                fleet: FleetRow::default(),
            },
            problems: Vec::new(),
            trace_failure: None,
            siblings: Vec::new(),
            outages: Vec::new(),
            since: at(0),
            transient: false,
        }
    }

    #[test]
    fn everything_is_written_as_prometheus_reads_it() {
        let text = text(&status());
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        insta::assert_snapshot!(samples.join("\n"), @r#"
        kmi_build_info{version="1.2.3"} 1
        kmi_mode{mode="auto"} 1
        kmi_mode{mode="manual"} 0
        kmi_trace_failing 0
        kmi_key_file_problems 0
        kmi_attempts_total{upstream="kimi",key="k-00000001",label="a\"b\\c\nd"} 12
        kmi_attempt_errors_total{upstream="kimi",key="k-00000001",label="a\"b\\c\nd"} 1
        kmi_attempts_in_flight{upstream="kimi",key="k-00000001",label="a\"b\\c\nd"} 0
        kmi_key_state{upstream="kimi",key="k-00000001",label="a\"b\\c\nd",state="healthy"} 0
        kmi_key_state{upstream="kimi",key="k-00000001",label="a\"b\\c\nd",state="warn"} 0
        kmi_key_state{upstream="kimi",key="k-00000001",label="a\"b\\c\nd",state="blocked"} 1
        kmi_key_state{upstream="kimi",key="k-00000001",label="a\"b\\c\nd",state="disabled"} 0
        kmi_key_reason{upstream="kimi",key="k-00000001",label="a\"b\\c\nd",reason="quota_exhausted"} 1
        kmi_key_until_timestamp_seconds{upstream="kimi",key="k-00000001",label="a\"b\\c\nd"} 1795000000
        kmi_key_latency_seconds{upstream="kimi",key="k-00000001",label="a\"b\\c\nd",quantile="0.5"} 1.050
        kmi_key_quota_remaining_ratio{upstream="kimi",key="k-00000001",label="a\"b\\c\nd"} 0
        kmi_key_quota_used_ratio{upstream="kimi",key="k-00000001",label="a\"b\\c\nd",limit="5h"} 0.5
        "#);
    }

    #[test]
    fn each_family_is_told_once_and_before_its_samples() {
        let text = text(&status());
        let mut told = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap();
                assert!(!told.contains(&name), "{name} twice");
                told.push(name);
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert_eq!(told.last(), Some(&name), "{line}");
            }
        }
    }
}
