//! The process environment, read once, and the settings that variables stand for.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use kmi_proxy::keys::EnvKey;
use zeroize::Zeroizing;

use super::{
    layers::{DEFAULT_UPSTREAM, Origin, Written},
    problem::Problem,
    schema::{self, KEYS, UPSTREAM_KEYS},
    value::Scalar,
};

const PREFIX: &str = "KMI_";
const KEY_PREFIX: &str = "KMI_API_KEY_";
const UPSTREAM_PREFIX: &str = "KMI_UPSTREAM_";

/// Older names of settings.
const ALIASES: &[(&str, &str)] = &[("KMI_AUTHS_DIR", "keys.dir")];

/// The older name of the default upstream's `base_url`.
const BASE_URL_ALIAS: &str = "KMI_UPSTREAM_BASE_URL";

/// Variables that other programs keep a key in, with the label that it gets here.
pub(super) const FOREIGN: &[(&str, &str)] =
    &[("KIMI_API_KEY", "kimi"), ("MOONSHOT_API_KEY", "moonshot")];

/// The variables of the process as they were at the start; the only place that reads them.
#[derive(Clone)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Reads the variables of this process.
    pub(crate) fn from_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// A variable that is set and not empty.
    pub(crate) fn os(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable that is set, not empty, and text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.os(name)?.to_str()
    }

    /// A variable that is set and not empty, as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.os(name).map(PathBuf::from)
    }

    /// The names of variables that hold keys.
    pub(crate) fn key_variables(&self) -> impl Iterator<Item = &OsStr> {
        let holds_key = |name: &&OsString| {
            name.as_encoded_bytes().starts_with(KEY_PREFIX.trim_end_matches('_').as_bytes())
        };
        self.0.keys().filter(holds_key).map(OsString::as_os_str)
    }

    /// The keys in variables that Kimi's clients read.
    pub(crate) fn foreign_keys(&self) -> Vec<EnvKey> {
        let key = |(variable, label): &(&str, &str)| {
            let value = Zeroizing::new(self.text(variable)?.to_owned());
            let origin = format!("environment {variable}").into();
            Some(EnvKey { name: (*label).to_owned(), value, origin, line: None })
        };
        FOREIGN.iter().filter_map(key).collect()
    }

    /// The variables that kmi may be meant by.
    pub(super) fn kmi(&self) -> Vec<Variable> {
        let mine = |(name, value): (&OsString, &OsString)| {
            let name = name.to_str().filter(|name| name.starts_with(PREFIX))?.to_owned();
            let origin = Origin::Environment { variable: name.clone() };
            let value = value.to_str().map(|value| Zeroizing::new(value.to_owned()));
            Some(Variable { name, value, origin })
        };
        self.0.iter().filter_map(mine).collect()
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    /// Other programs' secrets are in there too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

/// One variable of the process or of `.env`; it may hold a key, so it cannot be printed.
pub(super) struct Variable {
    pub(super) name: String,
    /// `None` when it is no text.
    pub(super) value: Option<Zeroizing<String>>,
    pub(super) origin: Origin,
}

/// Parts variables into settings and keys; what is neither is only odd, since other programs'
/// variables may begin alike.
pub(super) fn settings_and_keys(
    variables: Vec<Variable>,
    upstreams: &[String],
    warnings: &mut Vec<Problem>,
) -> (Vec<Written>, Vec<EnvKey>) {
    let (mut settings, mut keys) = (Vec::new(), Vec::new());
    for variable in variables {
        let Variable { name, value, origin } = variable;
        if name == "KMI_HOME" || !name.starts_with(PREFIX) {
            continue;
        }
        let Some(value) = value else {
            warnings.push(
                Problem::new("the value is not valid UTF-8 and is not used")
                    .at(&origin)
                    .hint(format!("set {name} anew, or unset it")),
            );
            continue;
        };
        // Set but empty is how scripts unset a variable for one command.
        if value.is_empty() {
            continue;
        }
        if let Some(label) = name.strip_prefix(KEY_PREFIX).filter(|label| !label.is_empty()) {
            keys.push(key(label, value, &origin));
        } else if let Some(key) = setting(&name, upstreams) {
            let value = Scalar::Raw(value.trim().to_owned());
            settings.push(Written { key, value, origin });
        } else {
            warnings.push(unknown(&name, upstreams).at(&origin));
        }
    }
    (settings, keys)
}

/// A key under its label, with the place of its variable.
pub(super) fn key(label: &str, value: Zeroizing<String>, origin: &Origin) -> EnvKey {
    let (origin, line) = match origin {
        Origin::DotEnv { path, line, .. } => {
            (path.display().to_string(), u32::try_from(*line).ok())
        }
        other => (other.to_string(), None),
    };
    EnvKey { name: label.to_owned(), value, origin: origin.into(), line }
}

/// The label of a key in a variable of anybody's `.env`, if the variable holds one.
pub(super) fn foreign_label(variable: &str) -> Option<&str> {
    let known = FOREIGN.iter().find(|(name, _)| *name == variable).map(|(_, label)| *label);
    // kmi's predecessor had one key.
    let old = (variable == KEY_PREFIX.trim_end_matches('_')).then_some("key");
    known.or(old).or_else(|| variable.strip_prefix(KEY_PREFIX).filter(|label| !label.is_empty()))
}

/// The key that a variable sets.
fn setting(variable: &str, upstreams: &[String]) -> Option<String> {
    if variable == BASE_URL_ALIAS {
        return Some(format!("upstream.{DEFAULT_UPSTREAM}.base_url"));
    }
    if let Some((_, key)) = ALIASES.iter().find(|(alias, _)| *alias == variable) {
        return Some((*key).to_owned());
    }
    if let Some(key) = KEYS.iter().find(|key| variable_of(key.name) == variable) {
        return Some(key.name.to_owned());
    }
    let rest = variable.strip_prefix(UPSTREAM_PREFIX)?;
    let known = upstreams.iter().find_map(|name| {
        let field = rest.strip_prefix(&shout(name))?.strip_prefix('_')?;
        let key = UPSTREAM_KEYS.iter().find(|key| shout(key.name) == field)?;
        Some(format!("upstream.{name}.{}", key.name))
    });
    known.or_else(|| new_upstream(rest))
}

/// The key of an upstream that only variables speak of: `MY_HOST_KIND` is `upstream.my-host.kind`.
fn new_upstream(rest: &str) -> Option<String> {
    let (name, key) = UPSTREAM_KEYS
        .iter()
        .filter_map(|key| {
            let name = rest.strip_suffix(&shout(key.name))?.strip_suffix('_')?;
            Some((name, key))
        })
        // `anthropic_base_url` before `base_url`: the longest field leaves the shortest name.
        .min_by_key(|(name, _)| name.len())?;
    let name = name.to_ascii_lowercase().replace('_', "-");
    schema::is_upstream_name(&name).then(|| format!("upstream.{name}.{}", key.name))
}

/// `proxy.listen` is set by `KMI_PROXY_LISTEN`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", shout(key))
}

fn shout(name: &str) -> String {
    name.to_ascii_uppercase().replace(['.', '-'], "_")
}

fn unknown(name: &str, upstreams: &[String]) -> Problem {
    let built_in = [super::layers::BUILT_IN_UPSTREAM.to_owned()];
    let upstreams = if upstreams.is_empty() { &built_in } else { upstreams };
    let of_upstreams = upstreams.iter().flat_map(|upstream| {
        UPSTREAM_KEYS
            .iter()
            .map(move |key| variable_of(&format!("upstream.{upstream}.{}", key.name)))
    });
    let names = KEYS
        .iter()
        .map(|key| variable_of(key.name))
        .chain(of_upstreams)
        .chain(["KMI_HOME".to_owned()]);
    let problem = Problem::new("this is no setting of kmi and is not used");
    if name == KEY_PREFIX.trim_end_matches('_') {
        return problem.hint(format!("name the key: {KEY_PREFIX}<NAME>=…"));
    }
    match schema::nearest(name, names) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("kmi.config.toml.example lists every key; dots become underscores"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_variable() {
        for key in KEYS {
            assert_eq!(setting(&variable_of(key.name), &[]).as_deref(), Some(key.name));
        }
        for key in UPSTREAM_KEYS {
            for name in ["kimi", "my-host", "my_host", "base"] {
                let full = format!("upstream.{name}.{}", key.name);
                let found = setting(&variable_of(&full), &[name.to_owned()]);
                // `KMI_UPSTREAM_BASE_URL` alone means something else, and always did.
                assert_eq!(found, Some(full));
            }
        }
    }

    #[test]
    fn aliases_and_new_upstreams() {
        let of = |name| setting(name, &["a-b".to_owned()]);
        assert_eq!(of("KMI_AUTHS_DIR").as_deref(), Some("keys.dir"));
        assert_eq!(of("KMI_UPSTREAM_BASE_URL").as_deref(), Some("upstream.*.base_url"));
        assert_eq!(of("KMI_UPSTREAM_A_B_KIND").as_deref(), Some("upstream.a-b.kind"));
        assert_eq!(
            of("KMI_UPSTREAM_NEW_ONE_ANTHROPIC_BASE_URL").as_deref(),
            Some("upstream.new-one.anthropic_base_url")
        );
        for name in ["KMI_UPSTREAM_KIND", "KMI_UPSTREAM__KIND", "KMI_UPSTREAM_A_B", "KMI_NONE"] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn keys_settings_and_the_rest_are_parted() {
        let environment: Environment = [
            ("KMI_HOME", "/h"),
            ("KMI_API_KEY_WORK", "sk-work-12345678"),
            ("KMI_API_KEY_BAD", "no key"),
            ("KMI_PROXY_LISTN", "x"),
            ("KMI_API_KEY", "sk-work-12345678"),
            ("KMI_ROTATION_MODE", "auto"),
            ("KMI_PROXY_LISTEN", ""),
            ("PATH", "/bin"),
        ]
        .into_iter()
        .collect();
        let mut warnings = Vec::new();
        let (settings, keys) = settings_and_keys(environment.kmi(), &[], &mut warnings);
        assert_eq!(settings.len(), 1);
        assert_eq!(settings[0].key, "rotation.mode");
        assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["BAD", "WORK"]);
        assert_eq!(keys[1].value.as_str(), "sk-work-12345678");
        assert!(!format!("{keys:?}").contains("work-12345678"));
        let warnings: Vec<_> = warnings.iter().map(|w| format!("{w} | {}", w.remedy())).collect();
        insta::assert_snapshot!(warnings.join("\n"), @"
        environment KMI_API_KEY: this is no setting of kmi and is not used | name the key: KMI_API_KEY_<NAME>=…
        environment KMI_PROXY_LISTN: this is no setting of kmi and is not used | did you mean `KMI_PROXY_LISTEN`?
        ");
        assert_eq!(format!("{environment:?}"), "Environment(8 variables)");
    }
}
