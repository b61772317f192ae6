//! Plain rows for whoever draws a table: the status of a running or resting kmi.
//!
//! The field names are those of `kmi status --json` (CONTRACT section 3).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{KeyState, Mode, Policy, Reason};

/// Everything that `kmi status` shows but the fairness numbers, which come from the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The proxy.
    pub proxy: ProxyRow,
    /// How keys are chosen.
    pub mode: Mode,
    /// What auto mode does with sessions.
    pub policy: Policy,
    /// The label of the active key of the default upstream; it serves in manual mode.
    pub active_key: Option<String>,
    /// The keys, upstream by upstream, in inventory order.
    pub keys: Vec<KeyRow>,
    /// The fleet.
    pub fleet: FleetRow,
}

/// The proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyRow {
    /// Whether one runs on this home.
    pub running: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// The address it listens on.
    pub listen: Option<String>,
    /// The base URL for clients, without the token.
    pub base_url: Option<String>,
    /// For how long it has been running, in seconds.
    pub uptime_s: Option<u64>,
    /// The version of kmi.
    pub version: String,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its id.
    pub key: String,
    /// Its label.
    pub label: String,
    /// `sk-…` and its last four characters.
    pub masked: String,
    /// Its upstream.
    pub upstream: String,
    /// Its account, where known.
    pub account: Option<String>,
    /// A lower number serves first.
    pub priority: i32,
    /// In how many slots it stands.
    pub weight: u32,
    /// Whether it may serve.
    pub state: KeyState,
    /// Why it is not simply healthy.
    pub reason: Option<Reason>,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
    /// When it last served.
    pub last_used: Option<Timestamp>,
    /// Attempts since kmi was started.
    pub requests: u64,
    /// Attempts that did not end well, the client's own faults left out.
    pub errors: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Time to the end of an answer.
    pub latency_ms: LatencyRow,
    /// What is left of its quota.
    pub quota: QuotaRow,
}

/// Latency in milliseconds; `None` without data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyRow {
    /// The median.
    pub p50: Option<u64>,
    /// The 95th percentile.
    pub p95: Option<u64>,
}

/// What is left of a key's quota.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QuotaRow {
    /// Where the numbers come from: `usages`, `balance`; `None` when never asked.
    pub source: Option<String>,
    /// What is left of the tightest limit, 0 to 1.
    pub remaining_ratio: Option<f64>,
    /// Every limit the provider reports.
    pub limits: Vec<LimitRow>,
    /// The prepaid balance.
    pub balance: Option<f64>,
    /// Its currency.
    pub currency: Option<String>,
    /// When the provider was asked.
    pub checked_at: Option<Timestamp>,
}

/// One limit of a quota.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitRow {
    /// Its name, such as `5h` or `7d`.
    pub name: String,
    /// What is used up, 0 to 1.
    pub used_ratio: f64,
    /// When it starts anew.
    pub resets_at: Option<Timestamp>,
}

/// The fleet of nodes that share a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRow {
    /// `off`, `shared` or `degraded`.
    pub state: String,
    /// The store.
    pub url: Option<String>,
    /// How many nodes share it.
    pub nodes: u32,
    /// Since when the state holds.
    pub since: Option<Timestamp>,
}

impl Default for FleetRow {
    fn default() -> Self {
        Self { state: "off".into(), url: None, nodes: 0, since: None }
    }
}
