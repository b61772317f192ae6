//! The formats a key file may have, all read into [`Entry`]s.

mod client_config;
mod env;
mod json;
mod toml;

use std::path::Path;

use zeroize::Zeroizing;

use super::{
    fields::{Field, Name, Value},
    problem::Fault,
};

/// How a key file is written, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `NAME.env`
    Env,
    /// `NAME.json`
    Json,
    /// `NAME.key`: the key alone.
    Plain,
    /// `keys.toml`: a `[[key]]` table each.
    Manifest,
    /// `config.toml` of a Kimi client.
    ClientConfig,
    /// `NAME.toml`
    Toml,
}

/// One key as its file describes it.
pub(super) struct Entry {
    /// The label if none is given.
    pub stem: String,
    /// Where it begins, when the file may describe several.
    pub line: Option<u32>,
    /// The base URL a client config gives; the key must not go anywhere else.
    pub base_url: Option<ClientBase>,
    /// What is said about it.
    pub fields: Vec<Field>,
}

/// Where a Kimi client sends a key.
pub(super) struct ClientBase {
    /// The provider's `base_url`, when given.
    pub url: Option<String>,
    /// Whether the client speaks Kimi's own protocol there.
    pub kimi: bool,
}

/// What a file holds: entries and faults side by side, because a bad one costs no other.
pub(super) type Parsed = Vec<Result<Entry, Vec<Fault>>>;

impl Format {
    /// The format of a file with this name.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match path.file_name()?.to_str() {
            Some("keys.toml") => return Some(Self::Manifest),
            Some("config.toml") => return Some(Self::ClientConfig),
            _ => {}
        }
        path.file_stem()?;
        match path.extension()?.to_str()? {
            "env" => Some(Self::Env),
            "json" => Some(Self::Json),
            "key" => Some(Self::Plain),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }

    /// Reads a file's text; `stem` is the file's name without its extension.
    pub(super) fn parse(self, text: &str, stem: &str) -> Parsed {
        match self {
            Self::Env => vec![env::parse(text).map(|fields| Entry::of_file(stem, fields))],
            Self::Json => vec![json::parse(text).map(|fields| Entry::of_file(stem, fields))],
            Self::Plain => {
                vec![plain(text).map(|fields| Entry::of_file(stem, fields)).map_err(|f| vec![f])]
            }
            Self::Toml => vec![toml::parse(text).map(|fields| Entry::of_file(stem, fields))],
            Self::Manifest => toml::parse_manifest(text, stem),
            Self::ClientConfig => client_config::parse(text, stem),
        }
    }
}

impl Entry {
    /// The only entry of a file.
    pub(super) fn of_file(stem: &str, fields: Vec<Field>) -> Self {
        Self { stem: stem.to_owned(), line: None, base_url: None, fields }
    }
}

/// The key alone on one line, with blank lines around it at most.
fn plain(text: &str) -> Result<Vec<Field>, Fault> {
    let lines = (1u32..).zip(text.lines().map(str::trim));
    let mut filled = lines.filter(|(_, line)| !line.is_empty());
    let Some((line, key)) = filled.next() else {
        return Err(Fault::refused(
            "the file is empty",
            "write the key into it, alone on one line",
        ));
    };
    if let Some((second, _)) = filled.next() {
        return Err(Fault::refused(
            "a .key file holds one line: the key",
            "remove the other lines, or use a .toml file",
        )
        .on(second));
    }
    let value = Value::Text(Zeroizing::new(key.to_owned()));
    Ok(vec![Field { name: Name::ApiKey, shown: "key", line: Some(line), value }])
}
