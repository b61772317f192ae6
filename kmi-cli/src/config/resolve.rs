//! What the settings mean: typed, checked, and refused with their origin.

use std::{collections::BTreeMap, time::Duration};

use kmi_proxy::settings::UpstreamSettings;
use serde_json::Value;

use super::{
    layers::{BUILT_IN_UPSTREAM, Layers, Origin},
    problem::Problem,
    schema::{KEYS, Root, UPSTREAM_KEYS, UpstreamRoot},
    url,
};

/// CONTRACT section 5: every block ends by itself within this time, unless the provider names a
/// later one.
const MAX_COOLDOWN: Duration = Duration::from_hours(1);

/// A setting for people: what `kmi config show` prints.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// The full key.
    pub(crate) key: String,
    /// The value; null when it is not set. Never a secret.
    pub(crate) value: Value,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Gives every setting its type. The result is usable only when no problem was found.
pub(super) fn resolve(layers: &Layers, problems: &mut Vec<Problem>) -> (Root, Vec<Row>) {
    let mut root = Root::default();
    for key in KEYS {
        if let Some(written) = layers.get(key.name)
            && let Err(wrong) = (key.write)(&mut root, &written.value)
        {
            let example = (key.show)(&Root::default());
            problems.push(wrong_value(key.name, &wrong, &example).at(&written.origin));
        }
    }
    check_root(&root, layers, problems);
    let upstreams: Vec<UpstreamRoot> = layers
        .upstreams
        .iter()
        .enumerate()
        .map(|(n, name)| upstream(name, n == layers.default_upstream, layers, problems))
        .collect();
    check_upstreams(&root, &upstreams, layers, problems);
    let rows = rows(&root, &upstreams, layers);
    // The proxy takes the first one for the default; the others keep their order.
    let (first, others): (Vec<_>, Vec<_>) =
        upstreams.into_iter().partition(|upstream| upstream.default);
    root.settings.upstreams =
        first.into_iter().chain(others).map(|upstream| upstream.settings).collect();
    (root, rows)
}

fn upstream(
    name: &str,
    default: bool,
    layers: &Layers,
    problems: &mut Vec<Problem>,
) -> UpstreamRoot {
    let settings = UpstreamSettings { name: name.into(), ..UpstreamSettings::default() };
    let mut root = UpstreamRoot { settings, default };
    let full = |field: &str| format!("upstream.{name}.{field}");
    for key in UPSTREAM_KEYS {
        if let Some(written) = layers.get(&full(key.name))
            && let Err(wrong) = (key.write)(&mut root, &written.value)
        {
            let settings = UpstreamSettings::default();
            let example = (key.show)(&UpstreamRoot { settings, default: true });
            problems.push(wrong_value(&full(key.name), &wrong, &example).at(&written.origin));
        }
    }
    // `default = false` on the only upstream, or `true` on two: what counts was decided above.
    root.default = default;
    let has_url = layers.get(&full("base_url")).is_some();
    if !has_url && name != BUILT_IN_UPSTREAM {
        let hint = format!(
            "write base_url = \"https://…\" below [upstream.{name}], or remove the upstream"
        );
        let problem = Problem::new(format!("the upstream `{name}` has no base_url"));
        problems.push(problem.at(&layers.origin_of_upstream(name)).hint(hint));
    }
    check_upstream(&mut root.settings, layers, problems);
    root
}

fn wrong_value(key: &str, wrong: &str, example: &Value) -> Problem {
    let problem = Problem::new(format!("`{key}`: {wrong}"));
    if example.is_null() { problem } else { problem.hint(format!("for example {key} = {example}")) }
}

fn check_root(root: &Root, layers: &Layers, problems: &mut Vec<Problem>) {
    let mut wrong = |key: &str, message: &str, hint: &str| {
        let origin = layers.origin(key);
        problems.push(Problem::new(format!("`{key}` {message}")).at(&origin).hint(hint));
    };
    let proxy = &root.settings.proxy;
    if !proxy.listen.ip().is_loopback() && !proxy.allow_remote {
        wrong(
            "proxy.listen",
            "is not a loopback address: other machines could use your keys",
            "listen on 127.0.0.1, or set proxy.allow_remote = true if that is meant",
        );
    }
    if !is_base_path(&proxy.base_path) {
        wrong(
            "proxy.base_path",
            "is not a path such as \"/kmi-rotor\"",
            "begin with `/`, do not end with it, and use letters, digits, `-`, `_`, `.` and `~`",
        );
    }
    if proxy.max_connections == 0 {
        wrong("proxy.max_connections", "must be at least 1", "the default is 1024");
    }
    if root.settings.health.max_cooldown > MAX_COOLDOWN {
        wrong(
            "health.max_cooldown",
            "must be at most 1h",
            "only a reset time that the provider names may block a key for longer",
        );
    }
    if root.settings.health.slow_factor <= 1.0 {
        wrong("health.slow_factor", "must be more than 1", "the default is 4.0");
    }
    if root.settings.trace.retention == 0 {
        wrong("trace.retention", "must be more than 0", "the default is \"1GiB\"");
    }
}

fn is_base_path(path: &str) -> bool {
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c))
    };
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment))
}

fn check_upstream(settings: &mut UpstreamSettings, layers: &Layers, problems: &mut Vec<Problem>) {
    let full = |field: &str| format!("upstream.{}.{field}", settings.name);
    let mut check_url = |field: &str, text: &mut String| match url::base_url(text) {
        Ok(url) => *text = url,
        Err(why) => problems.push(
            Problem::new(format!("`{}` {why}", full(field)))
                .at(&layers.origin(&full(field)))
                .hint("an upstream is https://HOST/PATH, or http:// on this machine only"),
        ),
    };
    let mut base_url = std::mem::take(&mut settings.base_url);
    check_url("base_url", &mut base_url);
    let mut anthropic = settings.anthropic_base_url.take();
    if let Some(text) = &mut anthropic {
        check_url("anthropic_base_url", text);
        if text.ends_with("/v1") {
            let key = full("anthropic_base_url");
            problems.push(
                Problem::new(format!("`{key}` ends in /v1"))
                    .at(&layers.origin(&key))
                    .hint("write it without /v1, which requests bring along"),
            );
        }
    }
    settings.base_url = base_url;
    settings.anthropic_base_url = anthropic;
}

fn check_upstreams(
    root: &Root,
    upstreams: &[UpstreamRoot],
    layers: &Layers,
    problems: &mut Vec<Problem>,
) {
    let marked: Vec<&String> =
        layers.upstreams.iter().filter(|name| layers.is_marked(name)).collect();
    if let [first, second, ..] = marked.as_slice() {
        problems.push(
            Problem::new(format!("`{first}` and `{second}` are both the default upstream"))
                .at(&layers.origin(&format!("upstream.{second}.default")))
                .hint("write default = true for one of them only"),
        );
    }
    let mut variables: BTreeMap<String, &str> = BTreeMap::new();
    let listen = root.settings.proxy.listen;
    for UpstreamRoot { settings, .. } in upstreams {
        let variable = super::env::variable_of(&format!("upstream.{}", settings.name));
        if let Some(other) = variables.insert(variable, &settings.name) {
            problems.push(
                Problem::new(format!(
                    "the upstreams `{other}` and `{}` have the same variables",
                    settings.name
                ))
                .at(&layers.origin_of_upstream(&settings.name))
                .hint("give one of them a name that differs in more than case, `-` and `_`"),
            );
        }
        if listen.port() != 0 && url::is_listener(&settings.base_url, listen.port()) {
            let key = format!("upstream.{}.base_url", settings.name);
            problems.push(
                Problem::new(format!("`{key}` is kmi itself ({listen})"))
                    .at(&layers.origin(&key))
                    .hint("write the address of the provider, or change proxy.listen"),
            );
        }
    }
}

fn rows(root: &Root, upstreams: &[UpstreamRoot], layers: &Layers) -> Vec<Row> {
    let row = |key: String, value| Row { origin: layers.origin(&key), key, value };
    let of_root = KEYS.iter().map(|key| row(key.name.to_owned(), (key.show)(root)));
    let of_upstreams = upstreams.iter().flat_map(|upstream| {
        UPSTREAM_KEYS.iter().map(move |key| {
            let name = format!("upstream.{}.{}", upstream.settings.name, key.name);
            row(name, (key.show)(upstream))
        })
    });
    of_root.chain(of_upstreams).collect()
}
