//! What can be set, with its defaults: each stands once, here, beside the type it configures.
//!
//! `kmi-cli` reads these from flags, environment, `.env` and the configuration file; nothing in
//! this crate knows where a value came from.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use kmi_core::state::{Mode, Policy};
use serde::Deserialize;

/// Everything that a proxy needs to know, resolved and checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listener.
    pub proxy: ProxySettings,
    /// The upstreams; never empty, and the first one answers at `BASE_PATH/v1`.
    pub upstreams: Vec<UpstreamSettings>,
    /// Where the key files are; a relative path is below the home.
    pub keys_dir: PathBuf,
    /// Where ledger, token and counters are; a relative path is below the home.
    pub state_dir: PathBuf,
    /// How keys take turns.
    pub rotation: RotationSettings,
    /// When keys are blocked, and for how long.
    pub health: kmi_health::Policy,
    /// The ledger.
    pub trace: TraceSettings,
    /// Other nodes that share the rotation.
    pub fleet: FleetSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxy: ProxySettings::default(),
            upstreams: vec![UpstreamSettings::default()],
            keys_dir: "_auths".into(),
            state_dir: "state".into(),
            rotation: RotationSettings::default(),
            health: kmi_health::Policy::default(),
            trace: TraceSettings::default(),
            fleet: FleetSettings::default(),
        }
    }
}

impl Settings {
    /// The keys of the configuration that differ and that only a start takes over. A reload cannot:
    /// the listener is bound, and the home and its ledger are open.
    pub fn only_at_start(&self, other: &Self) -> Vec<&'static str> {
        let (ours, theirs) = (&self.proxy, &other.proxy);
        let differs = [
            ("proxy.listen", ours.listen != theirs.listen),
            ("proxy.allow_remote", ours.allow_remote != theirs.allow_remote),
            ("proxy.max_connections", ours.max_connections != theirs.max_connections),
            ("rotation.mode", self.rotation.mode != other.rotation.mode),
            ("keys.dir", self.keys_dir != other.keys_dir),
            ("state.dir", self.state_dir != other.state_dir),
            ("trace.retention", self.trace.retention != other.trace.retention),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

/// The listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// Where to listen; port 0 picks one.
    pub listen: SocketAddr,
    /// The path that all of kmi lives under: `/` and no `/` at the end.
    pub base_path: String,
    /// Whether an address that is not loopback may be listened on.
    pub allow_remote: bool,
    /// Connections at once; more wait to be accepted.
    pub max_connections: usize,
    /// How long running requests may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// From a request's first byte to the end of its head.
    pub head_timeout: Duration,
    /// How long a connection without a request is kept. Longer than clients keep theirs (95 s),
    /// so that none meets a closing one.
    pub idle_timeout: Duration,
    /// How long a client may pause in its body, or not read its answer.
    pub stall_timeout: Duration,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 54_123)),
            base_path: "/kmi-rotor".into(),
            allow_remote: false,
            max_connections: 1024,
            drain_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(100),
            stall_timeout: Duration::from_mins(1),
        }
    }
}

/// One upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// The name that keys and `/u/NAME/` refer to.
    pub name: Arc<str>,
    /// Scheme, authority and path of the OpenAI-style base, without a `/` at the end.
    pub base_url: String,
    /// The same for the Anthropic-style base, without `/v1`; `None`: derived from `base_url`.
    pub anthropic_base_url: Option<String>,
    /// How quota is asked and errors are read.
    pub kind: UpstreamKind,
    /// A further certificate authority, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// From the end of the request to the answer's head.
    pub first_byte_timeout: Duration,
    /// Between two pieces of the answer's body.
    pub idle_timeout: Duration,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            name: "kimi".into(),
            base_url: "https://api.kimi.com/coding/v1".into(),
            anthropic_base_url: None,
            kind: UpstreamKind::KimiCode,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(280),
            idle_timeout: Duration::from_secs(280),
        }
    }
}

pub use kmi_health::UpstreamKind;

/// How keys take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationSettings {
    /// The mode of a home whose user has not yet chosen one.
    pub mode: Mode,
    /// What auto mode does with sessions.
    pub policy: Policy,
    /// Whether a request that its key cannot serve tries the next usable key.
    pub failover: bool,
    /// Attempts a request may cost.
    pub max_attempts: u32,
    /// Whether an attempt that may have been carried out is repeated.
    pub retry_unsafe: bool,
    /// What happens when no key is usable.
    pub on_exhausted: OnExhausted,
    /// The longest wait for the next key.
    pub max_wait: Duration,
}

impl Default for RotationSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Manual,
            policy: Policy::RoundRobin,
            failover: true,
            max_attempts: 3,
            retry_unsafe: false,
            on_exhausted: OnExhausted::Fail,
            max_wait: Duration::from_secs(10),
        }
    }
}

/// What happens when no key is usable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExhausted {
    /// The request is answered at once.
    #[default]
    Fail,
    /// The request waits for the next key.
    Wait,
}

/// The ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// Bytes of lines that are kept.
    pub retention: u64,
    /// Whether a request that cannot be recorded is refused.
    pub required: bool,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self { retention: 1 << 30, required: false }
    }
}

/// The store through which several nodes share rotation, health and trace.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FleetSettings {
    /// A Redis or Valkey URL; `None`: this node is alone.
    pub url: Option<String>,
}

impl FleetSettings {
    /// The URL as it may be shown: without user name and password.
    pub fn shown_url(&self) -> Option<String> {
        let url = self.url.as_deref()?;
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        // The authority ends at the first of these; only an `@` before that ends a password.
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
        let mask = if start == 0 { "" } else { "…@" };
        Some(format!("{scheme}://{mask}{}", &rest[start..]))
    }
}

impl fmt::Debug for FleetSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetSettings").field("url", &self.shown_url()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_the_fleet_is_never_shown() {
        let shown = |url: &str| FleetSettings { url: Some(url.into()) }.shown_url().unwrap();
        assert_eq!(shown("redis://127.0.0.1:6379"), "redis://127.0.0.1:6379");
        assert_eq!(shown("rediss://u:p@ss@host:6379/0"), "rediss://…@host:6379/0");
        let settings = FleetSettings { url: Some("redis://:hunter2@host".into()) };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
