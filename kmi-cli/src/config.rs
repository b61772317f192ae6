//! Settings: as written (`file`, `dotenv`, `env`, command line), layered with their origin
//! (`layers`), typed and checked (`resolve`).
//!
//! Nothing is read from the current directory unless it is named: a cloned repository must not be
//! able to send keys elsewhere.

mod client;
mod dotenv;
mod env;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod layers;
mod problem;
mod resolve;
mod schema;
mod upstreams;
mod url;
mod value;

use std::path::{Path, PathBuf};

use kmi_proxy::{home::Home, keys::EnvKey, settings::Settings};

pub(crate) use self::{
    client::ClientSettings,
    dotenv::{foreign_keys, value as dotenv_value},
    env::Environment,
    layers::Origin,
    problem::{ConfigError, Problem},
    resolve::Row,
    value::duration,
};
use self::{
    env::Variable,
    layers::{Layers, Written},
    schema::Root,
    value::Scalar,
};

/// Everything that is configured, checked, with its origins.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where everything is.
    pub(crate) home: Home,
    /// The configuration file that was read.
    pub(crate) file: Option<PathBuf>,
    /// What the proxy needs to know; all paths are absolute.
    pub(crate) settings: Settings,
    /// What `kmi run` and `kmi env` need to know.
    pub(crate) client: ClientSettings,
    /// Keys that stand in `.env` or in the environment as `KMI_API_KEY_<NAME>`.
    pub(crate) env_keys: Vec<EnvKey>,
    /// Every setting with its value and origin, for people.
    pub(crate) rows: Vec<Row>,
    /// What is odd without being wrong.
    pub(crate) warnings: Vec<Problem>,
}

/// A setting that has a command line option of its own, such as `--listen`.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    /// The configuration key, as `proxy.listen`.
    pub(crate) key: &'static str,
    /// The option, as `--listen`.
    pub(crate) option: &'static str,
    /// What was typed.
    pub(crate) value: String,
}

/// What was given on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    /// `--home`.
    pub(crate) home: Option<&'a Path>,
    /// `--config`.
    pub(crate) file: Option<&'a Path>,
    /// Each `--set`, as KEY=VALUE.
    pub(crate) sets: &'a [String],
    /// The options of their own.
    pub(crate) flags: &'a [Flag],
}

/// Reads, layers and checks the whole configuration.
pub(crate) fn load(given: Given<'_>, env: &Environment) -> Result<Config, ConfigError> {
    let home = locate_home(given.home, env)?;
    let mut told = Told::default();

    let file = locate_file(given.file, &home)?;
    let from_file = match &file {
        Some(path) => file::read(path, &mut told.problems)?,
        None => Vec::new(),
    };
    let mut from_flags = parse_sets(given.sets, &mut told.problems);
    from_flags.extend(given.flags.iter().map(|flag| Written {
        key: flag.key.to_owned(),
        value: Scalar::Raw(flag.value.clone()),
        origin: Origin::CommandLine { option: flag.option },
    }));
    let dotenv = dotenv::read(&home.env_file(), &mut told.warnings)?;

    let meaning = understand(from_file, dotenv, env.kmi(), from_flags, &mut told);
    let Told { problems, warnings } = told;
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let Meaning { root, rows, env_keys } = meaning;
    let Root { mut settings, client } = root;
    let home = home.with_dirs(&settings.keys_dir, &settings.state_dir);
    home.auths_dir().clone_into(&mut settings.keys_dir);
    home.state_dir().clone_into(&mut settings.state_dir);
    for upstream in &mut settings.upstreams {
        upstream.ca_file = upstream.ca_file.take().map(|path| home.root().join(path));
    }
    Ok(Config { home, file, settings, client, env_keys, rows, warnings })
}

/// What is said of a configuration.
#[derive(Debug, Default)]
struct Told {
    /// What is wrong: it cannot be used.
    problems: Vec<Problem>,
    /// What is odd.
    warnings: Vec<Problem>,
}

/// What was written means this, if no problem was told.
struct Meaning {
    root: Root,
    rows: Vec<Row>,
    env_keys: Vec<EnvKey>,
}

/// Layers what was written, and gives it its types; reads nothing.
fn understand(
    file: Vec<Written>,
    dotenv: Vec<Variable>,
    environment: Vec<Variable>,
    flags: Vec<Written>,
    told: &mut Told,
) -> Meaning {
    let names = layers::upstream_names(file.iter().chain(&flags));
    let (dotenv, mut env_keys) = env::settings_and_keys(dotenv, &names, &mut told.warnings);
    let (environment, keys) = env::settings_and_keys(environment, &names, &mut told.warnings);
    env_keys.retain(|old| keys.iter().all(|new| new.name != old.name));
    env_keys.extend(keys);
    let layers = Layers::merge([file, dotenv, environment, flags]);
    let (root, rows) = resolve::resolve(&layers, &mut told.problems);
    told.warnings.extend(resolve::idle(&root.settings, &layers));
    Meaning { root, rows, env_keys }
}

/// The home: `--home`, else `KMI_HOME`, else `~/.kmi`; absolute.
pub(crate) fn locate_home(option: Option<&Path>, env: &Environment) -> Result<Home, ConfigError> {
    let root = match (option, env.path("KMI_HOME"), env.path("HOME")) {
        (Some(dir), _, _) => dir.to_owned(),
        (None, Some(dir), _) => dir,
        (None, None, Some(user)) => user.join(".kmi"),
        (None, None, None) => {
            return Err(Problem::new("neither KMI_HOME nor HOME is set")
                .hint("name kmi's home with `--home DIR`")
                .into());
        }
    };
    let root = std::path::absolute(&root).map_err(|error| {
        ConfigError::from(
            Problem::new(format!("cannot use {} as home: {error}", root.display()))
                .hint("name another directory with `--home DIR`"),
        )
    })?;
    // What is not there yet will be made; what is there has to be a directory.
    if std::fs::metadata(&root).is_ok_and(|found| !found.is_dir()) {
        return Err(Problem::new(format!("{} is no directory", root.display()))
            .hint("name kmi's home with `--home DIR`")
            .into());
    }
    Ok(Home::new(root))
}

/// The configuration file: the named one, else the one in the home, if any.
fn locate_file(option: Option<&Path>, home: &Home) -> Result<Option<PathBuf>, ConfigError> {
    if let Some(path) = option {
        // Absolute, so that a reload finds it from wherever the proxy then stands.
        return Ok(Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned())));
    }
    let [toml, json] = [home.config_toml(), home.config_json()];
    match (exists(&toml)?, exists(&json)?) {
        (true, true) => {
            Err(Problem::new(format!("{} and kmi.config.json exist both", toml.display()))
                .hint("remove one of them, or name one with `--config FILE`")
                .into())
        }
        (true, false) => Ok(Some(toml)),
        (false, true) => Ok(Some(json)),
        (false, false) => Ok(None),
    }
}

/// Whether a file is there, where the system can say so.
fn exists(path: &Path) -> Result<bool, ConfigError> {
    path.try_exists().map_err(|error| {
        Problem::new(format!("cannot look for {}: {error}", path.display()))
            .hint("make sure that the directory belongs to you")
            .into()
    })
}

fn parse_sets(sets: &[String], problems: &mut Vec<Problem>) -> Vec<Written> {
    let mut written = Vec::new();
    for set in sets {
        let origin = Origin::CommandLine { option: "--set" };
        let Some((key, value)) = set.split_once('=') else {
            problems.push(
                Problem::new(format!("`{set}` is no KEY=VALUE"))
                    .at(&origin)
                    .hint("for example `--set rotation.max_attempts=5`"),
            );
            continue;
        };
        let key = key.trim();
        if !schema::exists(key) {
            problems.push(schema::unknown(key).at(&origin));
            continue;
        }
        written.push(Written {
            key: key.to_owned(),
            value: Scalar::Raw(value.trim().to_owned()),
            origin,
        });
    }
    written
}

/// What lies in the current directory and looks as if it were meant for kmi, but is not used.
///
/// Returns one line for people.
pub(crate) fn unused_here(config: &Config, current_dir: &Path) -> Option<String> {
    let same = |path: &Path| match (path.canonicalize(), current_dir.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    if same(config.home.root()) {
        return None;
    }
    let used_file = config.file.as_deref().and_then(Path::parent).is_some_and(same);
    let used_keys = config.home.auths_dir().parent().is_some_and(same);
    let found: Vec<&str> = [("_auths", used_keys), (".env", false), ("kmi.config.toml", used_file)]
        .into_iter()
        .filter(|(name, used)| !used && current_dir.join(name).exists())
        .map(|(name, _)| name)
        .collect();
    if found.is_empty() {
        return None;
    }
    let list = found.iter().map(|name| format!("./{name}")).collect::<Vec<_>>().join(", ");
    Some(format!("not used here: {list}; `--home .` uses this directory as kmi's home"))
}

#[cfg(test)]
mod tests;
