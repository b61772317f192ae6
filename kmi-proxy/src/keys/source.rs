//! Where a key's secret comes from when it does not stand in its file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kmi_core::key::ApiKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    command,
    fields::{Field, Name, Value},
    keyring,
    problem::{Fault, shown},
    read,
};

/// Reads a variable of the process environment or of the home's `.env`.
pub type Variables = Arc<dyn Fn(&str) -> Option<Zeroizing<String>> + Send + Sync>;

/// A key, or where to get it. What stands here may be a key in the wrong place: no `Debug`.
pub(super) enum Source {
    Given(Zeroizing<String>),
    Command(Vec<Zeroizing<String>>),
    Variable(Zeroizing<String>),
    File(Zeroizing<String>),
    Keyring { service: Zeroizing<String>, user: Zeroizing<String> },
}

/// What fetching needs to know beside the source itself.
pub(super) struct Surroundings<'a> {
    /// The directory that relative paths start from.
    pub dir: &'a Path,
    pub variables: &'a Variables,
    pub settle: Duration,
}

impl Source {
    /// Takes the value of one of the `api_key…` fields.
    pub(super) fn of(field: Field) -> Result<Self, Fault> {
        match (field.name, field.value) {
            (Name::ApiKeyCmd, Value::List(argv))
                if argv.first().is_some_and(|arg| !arg.is_empty()) =>
            {
                Ok(Self::Command(argv))
            }
            (Name::ApiKeyCmd, _) => Err(Fault::refused(
                "`api_key_cmd` must be a list: the program and its arguments",
                "for example api_key_cmd = [\"op\", \"read\", \"op://vault/kimi/key\"]; \
                 there is no shell",
            )),
            (Name::ApiKeyEnv, Value::Text(name)) => Ok(Self::Variable(name)),
            (Name::ApiKeyFile, Value::Text(path)) => Ok(Self::File(path)),
            (Name::ApiKeyKeyring, Value::Text(name)) => match name.split_once('/') {
                Some((service, user)) if !service.is_empty() && !user.is_empty() => {
                    Ok(Self::Keyring { service: owned(service), user: owned(user) })
                }
                _ => Err(Fault::refused(
                    "`api_key_keyring` must be \"service/user\"",
                    "for example api_key_keyring = \"kimi/work\"",
                )),
            },
            (_, Value::Text(key) | Value::Word(key)) => Ok(Self::Given(key)),
            _ => {
                let message = format!("`{}` must be text", field.shown);
                Err(Fault::refused(message, "put it into quotes"))
            }
        }
    }

    /// Whether the key itself is written there.
    pub(super) fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    /// Whether another program has to be asked, which may take seconds.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Keyring { .. })
    }

    /// A hash that tells one question to another program from the others.
    pub(super) fn hash(&self) -> [u8; 32] {
        let words: Vec<&str> = match self {
            Self::Command(argv) => argv.iter().map(|arg| arg.as_str()).collect(),
            Self::Keyring { service, user } => vec!["", service, user],
            Self::Given(_) | Self::Variable(_) | Self::File(_) => Vec::new(),
        };
        let mut hash = Sha256::new();
        for word in words {
            hash.update(word.len().to_le_bytes());
            hash.update(word);
        }
        hash.finalize().into()
    }

    /// The file that has to be watched beside the key file.
    pub(super) fn target(&self, around: &Surroundings<'_>) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(resolve(path, around)),
            _ => None,
        }
    }

    /// The key, from wherever it is.
    pub(super) fn fetch(&self, around: &Surroundings<'_>) -> Result<ApiKey, Fault> {
        match self {
            Self::Given(key) => parse(key, "correct the key there"),
            Self::Command(argv) => {
                let argv: Vec<&str> = argv.iter().map(|arg| arg.as_str()).collect();
                let out = command::output(&argv, around.dir)?;
                parse(out.trim(), "the command must print the key and nothing else")
            }
            Self::Variable(name) => match (around.variables)(name) {
                Some(key) if !key.is_empty() => {
                    parse(key.trim(), "correct the key in the environment variable")
                }
                _ => Err(Fault::refused(
                    "the variable named by `api_key_env` is not set",
                    "set it where kmi is started, or in the home's .env",
                )),
            },
            Self::File(path) => from_file(&resolve(path, around), around.settle),
            Self::Keyring { service, user } => {
                let out = keyring::lookup(service, user, around.dir)?;
                parse(out.trim(), "the keyring's entry must hold the key and nothing else")
            }
        }
    }
}

fn parse(text: &str, hint: &str) -> Result<ApiKey, Fault> {
    ApiKey::parse(text).map_err(|error| Fault::refused(error.to_string(), hint))
}

/// The faults name the target: they are about it, and it exists, so it is a path and no key.
fn from_file(path: &Path, settle: Duration) -> Result<ApiKey, Fault> {
    let file = read::read(path, settle)
        .map_err(|fault| fault.about(&format!("`api_key_file` {}", shown(path))))?
        .ok_or_else(|| {
            Fault::refused(
                "the file named by `api_key_file` does not exist",
                "a relative path starts at the key file's directory",
            )
        })?;
    parse(file.text.trim(), "the file must hold the key and nothing else")
        .map_err(|fault| fault.about(&format!("`api_key_file` {}", shown(path))))
}

fn resolve(path: &str, around: &Surroundings<'_>) -> PathBuf {
    let home = path.strip_prefix("~/").and_then(|rest| Some((rest, (around.variables)("HOME")?)));
    match home {
        Some((rest, home)) => Path::new(home.as_str()).join(rest),
        None => around.dir.join(path),
    }
}

fn owned(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}
