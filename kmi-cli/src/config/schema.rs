//! The table of all configuration keys: one line per key.
//!
//! A new setting is a field with its default in `kmi_proxy::settings` (or `kmi_health::Policy`),
//! a line here and a line in `kmi.config.toml.example`; file, environment, `--set`, `config show`
//! and the nearest-name hints follow from the table.

use kmi_core::display::without_keys;
use kmi_proxy::settings::{Settings, UpstreamSettings};
use serde_json::Value;

use super::{
    client::ClientSettings,
    layers::BUILT_IN_UPSTREAM,
    problem::Problem,
    value::{Count, LONGEST_REPEATED, Positive, Ratio, Scalar, Setting, Size},
};

/// Everything that the keys outside `upstream` set.
#[derive(Debug, Clone, Default)]
pub(super) struct Root {
    pub(super) settings: Settings,
    pub(super) client: ClientSettings,
}

/// Everything that the keys below `upstream.NAME` set.
#[derive(Debug, Clone)]
pub(super) struct UpstreamRoot {
    pub(super) settings: UpstreamSettings,
    pub(super) default: bool,
}

/// One configuration key.
pub(super) struct Key<T> {
    /// Its name with dots; below `upstream.NAME` without that prefix.
    pub(super) name: &'static str,
    /// Sets it, or says what was expected.
    pub(super) write: fn(&mut T, &Scalar) -> Result<(), String>,
    /// Shows it.
    pub(super) show: fn(&T) -> Value,
}

/// `key!("name", path.to.field)`, or `key!(Form, "name", path.to.field)` where the field's own
/// type does not say how it is written.
macro_rules! key {
    ($name:literal, $($field:ident).+) => {
        Key {
            name: $name,
            write: |root, written| {
                root.$($field).+ = Setting::try_read(written)?;
                Ok(())
            },
            show: |root| Setting::show(&root.$($field).+),
        }
    };
    ($form:ty, $name:literal, $($field:ident).+) => {
        Key {
            name: $name,
            write: |root, written| {
                root.$($field).+ = <$form>::try_read(written)?.into();
                Ok(())
            },
            show: |root| <$form>::from(root.$($field).+).show(),
        }
    };
}

/// The keys outside `upstream`.
pub(super) const KEYS: &[Key<Root>] = &[
    key!("proxy.listen", settings.proxy.listen),
    key!("proxy.base_path", settings.proxy.base_path),
    key!("proxy.allow_remote", settings.proxy.allow_remote),
    key!("proxy.max_connections", settings.proxy.max_connections),
    key!("proxy.drain_timeout", settings.proxy.drain_timeout),
    key!(Positive, "proxy.head_timeout", settings.proxy.head_timeout),
    key!(Positive, "proxy.idle_timeout", settings.proxy.idle_timeout),
    key!(Positive, "proxy.stall_timeout", settings.proxy.stall_timeout),
    key!("keys.dir", settings.keys_dir),
    key!("state.dir", settings.state_dir),
    key!("rotation.mode", settings.rotation.mode),
    key!("rotation.policy", settings.rotation.policy),
    key!("rotation.failover", settings.rotation.failover),
    key!(Count, "rotation.max_attempts", settings.rotation.max_attempts),
    key!("rotation.retry_unsafe", settings.rotation.retry_unsafe),
    key!("rotation.on_exhausted", settings.rotation.on_exhausted),
    key!("rotation.max_wait", settings.rotation.max_wait),
    key!(Positive, "health.rate_limit_cooldown", settings.health.rate_limit_cooldown),
    key!(Positive, "health.concurrency_cooldown", settings.health.concurrency_cooldown),
    key!(Positive, "health.membership_cooldown", settings.health.membership_cooldown),
    key!(Positive, "health.quota_cooldown", settings.health.quota_cooldown),
    key!(Positive, "health.balance_cooldown", settings.health.balance_cooldown),
    key!(Positive, "health.model_cooldown", settings.health.model_cooldown),
    key!(Positive, "health.failing_cooldown", settings.health.failing_cooldown),
    key!(Positive, "health.max_cooldown", settings.health.max_cooldown),
    key!(Count, "health.failure_run", settings.health.failure_run),
    key!(Ratio, "health.failure_rate", settings.health.failure_rate),
    key!(Positive, "health.failure_window", settings.health.failure_window),
    key!(Count, "health.failure_sample", settings.health.failure_sample),
    key!(Positive, "health.probe_timeout", settings.health.probe_timeout),
    key!(Ratio, "health.quota_low", settings.health.quota_low),
    key!(Positive, "health.quota_poll", settings.health.quota_poll),
    key!(Positive, "health.quota_timeout", settings.health.quota_timeout),
    key!("health.slow_factor", settings.health.slow_factor),
    key!(Count, "health.outage_run", settings.health.outage_run),
    key!(Positive, "health.outage_backoff", settings.health.outage_backoff),
    key!(Positive, "health.outage_max_backoff", settings.health.outage_max_backoff),
    key!(Ratio, "health.retry_budget", settings.health.retry_budget),
    key!("health.retry_floor", settings.health.retry_floor),
    key!(Size, "trace.retention", settings.trace.retention),
    key!("trace.required", settings.trace.required),
    key!("client.model", client.model),
    // Unlike the others it may hold a password, which neither errors nor `config show` may repeat.
    Key {
        name: "fleet.url",
        write: |root, written| {
            root.settings.fleet.url = Setting::read(written)
                .ok_or("expected a URL such as \"redis://127.0.0.1:6379\"")?;
            Ok(())
        },
        show: |root| root.settings.fleet.shown_url().show(),
    },
];

/// The keys below `upstream.NAME`.
pub(super) const UPSTREAM_KEYS: &[Key<UpstreamRoot>] = &[
    key!("base_url", settings.base_url),
    key!("anthropic_base_url", settings.anthropic_base_url),
    key!("kind", settings.kind),
    key!("ca_file", settings.ca_file),
    key!(Positive, "connect_timeout", settings.connect_timeout),
    key!(Positive, "first_byte_timeout", settings.first_byte_timeout),
    key!(Positive, "idle_timeout", settings.idle_timeout),
    key!("default", default),
];

/// Whether a key of this full name exists, as `upstream.kimi.kind`.
pub(super) fn exists(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name) || upstream_of(name).is_some()
}

/// The name of the upstream that a key belongs to, if it belongs to one.
pub(super) fn upstream_of(name: &str) -> Option<&str> {
    let (upstream, field) = name.strip_prefix("upstream.")?.split_once('.')?;
    let known = UPSTREAM_KEYS.iter().any(|key| key.name == field);
    (known && is_upstream_name(upstream)).then_some(upstream)
}

/// Whether a table of this name may stand in a file.
pub(super) fn is_section(name: &str) -> bool {
    let upstream = name.strip_prefix("upstream.").is_some_and(is_upstream_name);
    let of_keys =
        |key: &Key<Root>| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    name == "upstream" || upstream || KEYS.iter().any(of_keys)
}

/// Whether an upstream can have this name: it stands in URLs, in names of variables, in keys, and in
/// all that is shown.
pub(super) fn is_upstream_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && without_keys(name) == name
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The problem of a key that does not exist, with the nearest one that does.
pub(super) fn unknown(name: &str) -> Problem {
    // Names of upstreams are free: compare what follows them, and offer it below the same name.
    let prefix = name
        .strip_prefix("upstream.")
        .and_then(|rest| rest.split_once('.'))
        .map_or("upstream.kimi", |(upstream, _)| &name[..upstream.len() + "upstream.".len()]);
    let names = KEYS
        .iter()
        .map(|key| key.name.to_owned())
        .chain(UPSTREAM_KEYS.iter().map(|key| format!("{prefix}.{}", key.name)));
    match nearest(name, names) {
        Some(near) => {
            Problem::new(format!("unknown key `{name}`")).hint(format!("did you mean `{near}`?"))
        }
        None if without_keys(name) != name => Problem::new(format!("unknown key `{name}`"))
            .hint("API keys are no settings; `kmi keys add LABEL` stores one"),
        None => {
            // As of values: what is that long may be a secret of another kind.
            let shown = match name.chars().count() {
                length if length > LONGEST_REPEATED => format!("of {length} characters"),
                _ => format!("`{name}`"),
            };
            Problem::new(format!("unknown key {shown}"))
                .hint("kmi.config.toml.example lists every key")
        }
    }
}

/// The problem of a table that does not exist.
pub(super) fn unknown_section(name: &str) -> Problem {
    if let Some(upstream) = name.strip_prefix("upstream.").filter(|rest| !rest.contains('.')) {
        return Problem::new(format!("`{upstream}` cannot be the name of an upstream"))
            .hint("use a short name of letters, digits, `-` and `_`, as in [upstream.kimi]");
    }
    let of_keys = KEYS.iter().filter_map(|key| key.name.split_once('.'));
    let of_upstreams = ["upstream", "upstream.kimi"].map(str::to_owned);
    let names = of_keys.map(|(section, _)| section.to_owned()).chain(of_upstreams);
    match nearest(name, names) {
        Some(near) => {
            let near = if near == "upstream" { "upstream.NAME" } else { &near };
            Problem::new(format!("unknown table [{name}]")).hint(format!("did you mean [{near}]?"))
        }
        None => unknown(name),
    }
}

/// Whether a table says nothing without keys: an upstream that is not built in.
pub(super) fn needs_keys(section: &str) -> bool {
    section.strip_prefix("upstream.").is_some_and(|name| name != BUILT_IN_UPSTREAM)
}

/// The name that is most like the given one, if any is much like it.
pub(super) fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    const ALIKE: f64 = 0.7;
    let length = name.chars().count();
    // Much longer or shorter ones are not alike; comparing takes time by the product of lengths.
    let may_be_alike = |other: &usize| 10 * length.min(*other) >= 7 * length.max(*other);
    names
        .filter(|candidate| may_be_alike(&candidate.len()))
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, &candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_full_name() {
        assert!(exists("proxy.listen") && exists("upstream.my-host.kind"));
        assert_eq!(upstream_of("upstream.my-host.kind"), Some("my-host"));
        assert_eq!(upstream_of("proxy.listen"), None);
        for name in ["", "proxy", "upstream.kimi", "upstream..kind", "upstream.a b.kind", "kind"] {
            assert!(!exists(name), "{name}");
        }
        assert!(is_section("proxy") && is_section("upstream.kimi") && is_section("health"));
        assert!(!is_section("prox") && !is_section("proxy.listen") && !is_section(""));
    }

    #[test]
    fn the_nearest_name_is_offered() {
        let hint = |name| unknown(name).remedy().to_owned();
        assert_eq!(hint("proxy.lisen"), "did you mean `proxy.listen`?");
        assert_eq!(hint("upstream.work.base_ulr"), "did you mean `upstream.work.base_url`?");
        assert_eq!(hint("rotation.maxattempts"), "did you mean `rotation.max_attempts`?");
        assert_eq!(hint("nonsense"), "kmi.config.toml.example lists every key");
        let table = |name| unknown_section(name).remedy().to_owned();
        assert_eq!(table("upstreams"), "did you mean [upstream.NAME]?");
        assert_eq!(table("proxi"), "did you mean [proxy]?");
    }

    /// Comparing 500,000 characters with every name would take minutes.
    #[test]
    fn a_very_long_name_is_like_no_other() {
        let name = "proxy.listen".repeat(500_000 / 12);
        assert_eq!(unknown(&name).remedy(), "kmi.config.toml.example lists every key");
    }

    #[test]
    fn every_value_that_is_shown_reads_back() {
        let mut root = Root::default();
        for key in KEYS {
            let shown = (key.show)(&root);
            let text = shown.as_str().map_or_else(|| shown.to_string(), ToOwned::to_owned);
            if !shown.is_null() {
                (key.write)(&mut root, &Scalar::Raw(text)).unwrap();
                assert_eq!((key.show)(&root), shown, "{}", key.name);
            }
        }
    }
}
