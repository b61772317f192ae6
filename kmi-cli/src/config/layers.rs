//! Settings as written, laid over one another with their origin (CONTRACT section 1: command line
//! over process environment over `.env` over file over default).

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::{
    schema,
    value::{Scalar, Setting as _},
};

/// Stands for the name of the default upstream where that is not known yet
/// (`KMI_UPSTREAM_BASE_URL`).
pub(super) const DEFAULT_UPSTREAM: &str = "*";

/// The upstream that is there when none is configured.
pub(super) const BUILT_IN_UPSTREAM: &str = "kimi";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An option.
    CommandLine {
        /// As typed, with its dashes.
        option: &'static str,
    },
    /// A variable of the process.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A variable of `HOME/.env`.
    DotEnv {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// Its name.
        variable: String,
    },
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: usize,
    },
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine { option } => write!(f, "command line {option}"),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::DotEnv { path, line, variable } => {
                write!(f, "{}:{line} {variable}", path.display())
            }
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    /// The full key; it exists, or its upstream is [`DEFAULT_UPSTREAM`].
    pub(super) key: String,
    pub(super) value: Scalar,
    pub(super) origin: Origin,
}

/// The names of the upstreams that these settings speak of, in the order of first mention.
pub(super) fn upstream_names<'a>(written: impl IntoIterator<Item = &'a Written>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for setting in written {
        if let Some(name) = schema::upstream_of(&setting.key)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// All settings that somebody wrote, the strongest of each key.
#[derive(Debug, Default)]
pub(super) struct Layers {
    settings: BTreeMap<String, Written>,
    /// The upstreams in order; never empty. The default one is at [`Self::default_upstream`].
    pub(super) upstreams: Vec<String>,
    pub(super) default_upstream: usize,
}

impl Layers {
    /// Lays settings over one another; later layers win.
    pub(super) fn merge(layers: [Vec<Written>; 4]) -> Self {
        let from_file = &layers[0];
        let mut upstreams = upstream_names(from_file);
        // Variables and options refine the built-in upstream when the file has none of its own.
        if upstreams.is_empty() {
            upstreams.push(BUILT_IN_UPSTREAM.to_owned());
        }
        for name in upstream_names(layers[1..].iter().flatten()) {
            if !upstreams.contains(&name) {
                upstreams.push(name);
            }
        }
        let mut merged = Self { settings: BTreeMap::new(), upstreams, default_upstream: 0 };
        for setting in layers.iter().flatten() {
            merged.settings.insert(setting.key.clone(), setting.clone());
        }
        merged.default_upstream = merged.marked_default().unwrap_or(0);
        // Once more, now that the name is known that the alias stands for.
        let name = merged.upstreams[merged.default_upstream].clone();
        merged.settings.clear();
        for layer in layers {
            let (aliased, named): (Vec<_>, Vec<_>) =
                layer.into_iter().partition(|setting| alias_of_default(&setting.key).is_some());
            for mut setting in aliased.into_iter().chain(named) {
                if let Some(field) = alias_of_default(&setting.key) {
                    setting.key = format!("upstream.{name}.{field}");
                }
                merged.settings.insert(setting.key.clone(), setting);
            }
        }
        merged
    }

    /// The setting of this key, if somebody wrote it.
    pub(super) fn get(&self, key: &str) -> Option<&Written> {
        self.settings.get(key)
    }

    /// Where the value of a key comes from.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.get(key).map_or(Origin::Default, |written| written.origin.clone())
    }

    /// Where an upstream is spoken of first.
    pub(super) fn origin_of_upstream(&self, name: &str) -> Origin {
        let of = self.settings.values().filter(|it| schema::upstream_of(&it.key) == Some(name));
        let line = |origin: &Origin| match origin {
            Origin::File { line, .. } => (0, *line),
            Origin::DotEnv { line, .. } => (1, *line),
            _ => (2, 0),
        };
        let origins = of.map(|it| &it.origin);
        origins.min_by_key(|origin| line(origin)).cloned().unwrap_or(Origin::Default)
    }

    /// The first upstream that is marked with `default = true`.
    fn marked_default(&self) -> Option<usize> {
        self.upstreams.iter().position(|name| self.is_marked(name))
    }

    /// Whether an upstream is marked with `default = true`.
    pub(super) fn is_marked(&self, upstream: &str) -> bool {
        self.get(&format!("upstream.{upstream}.default"))
            .and_then(|written| bool::read(&written.value))
            .unwrap_or(false)
    }
}

fn alias_of_default(key: &str) -> Option<&str> {
    let (name, field) = key.strip_prefix("upstream.")?.split_once('.')?;
    (name == DEFAULT_UPSTREAM).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> Written {
        let origin = Origin::Environment { variable: format!("from {value}") };
        Written { key: key.into(), value: Scalar::Raw(value.into()), origin }
    }

    fn value<'a>(layers: &'a Layers, key: &str) -> Option<&'a Scalar> {
        layers.get(key).map(|written| &written.value)
    }

    #[test]
    fn later_layers_win() {
        let one = |value| vec![set("keys.dir", value)];
        let layers = Layers::merge([one("file"), one("dotenv"), one("env"), one("flag")]);
        assert_eq!(value(&layers, "keys.dir"), Some(&Scalar::Raw("flag".into())));
        let layers = Layers::merge([one("file"), one("dotenv"), vec![], vec![]]);
        assert_eq!(layers.origin("keys.dir").to_string(), "environment from dotenv");
        assert_eq!(layers.origin("state.dir"), Origin::Default);
    }

    #[test]
    fn upstreams_stand_in_order_of_mention() {
        let file = vec![set("upstream.b.kind", "openai"), set("upstream.a.kind", "openai")];
        let env = vec![set("upstream.c.kind", "openai"), set("upstream.a.ca_file", "x")];
        let layers = Layers::merge([file, vec![], env.clone(), vec![]]);
        assert_eq!(layers.upstreams, ["b", "a", "c"]);
        assert_eq!(layers.default_upstream, 0);
        let layers = Layers::merge([vec![], vec![], env, vec![]]);
        assert_eq!(layers.upstreams, ["kimi", "c", "a"]);
    }

    #[test]
    fn the_old_alias_means_the_default_upstream() {
        let file = vec![set("upstream.a.base_url", "A"), set("upstream.b.default", "true")];
        let env = vec![set("upstream.*.base_url", "E")];
        let layers = Layers::merge([file.clone(), vec![], env.clone(), vec![]]);
        assert_eq!(layers.default_upstream, 1);
        assert_eq!(value(&layers, "upstream.b.base_url"), Some(&Scalar::Raw("E".into())));
        assert_eq!(value(&layers, "upstream.a.base_url"), Some(&Scalar::Raw("A".into())));
        let both = [env, vec![set("upstream.b.base_url", "B")]].concat();
        let layers = Layers::merge([file, vec![], both, vec![]]);
        assert_eq!(
            value(&layers, "upstream.b.base_url"),
            Some(&Scalar::Raw("B".into())),
            "the full name wins over its alias"
        );
    }
}
