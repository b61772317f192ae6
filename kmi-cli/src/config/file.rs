//! The configuration file as written: TOML or JSON, checked for names, with the line of each value.

mod json;
mod toml;

use std::{fs, io::Read as _, path::Path};

use super::{
    dotenv::MAX_BYTES,
    layers::{Origin, Written},
    problem::{ConfigError, Problem},
    schema,
    value::Scalar,
};

/// A value and the place where it stands.
#[derive(Debug)]
struct Entry {
    key: String,
    value: Node,
    /// Byte offset in the text.
    at: usize,
}

/// A table, or anything else.
#[derive(Debug)]
enum Node {
    /// In the order of the text.
    Table(Vec<Entry>),
    Value(Scalar),
}

/// A text that is not TOML or JSON, or has a key twice.
#[derive(Debug)]
struct SyntaxError {
    message: String,
    at: usize,
}

/// The settings of a file; what is wrong with single ones goes to `problems`.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Result<Vec<Written>, ConfigError> {
    Ok(settings(path, &content(path)?, problems))
}

/// The settings of a file's text.
pub(super) fn settings(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Written> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let (entries, errors) = if json { json::parse(text) } else { toml::parse(text) };
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line_at = |at: usize| ends.partition_point(|end| *end < at) + 1;
    let place = |at| Origin::File { path: path.to_owned(), line: line_at(at) };
    // What follows a slip would be full of false alarms.
    let readable = errors.is_empty();
    for error in errors {
        problems.push(
            Problem::new(error.message)
                .at(&place(error.at))
                .hint("kmi.config.toml.example shows how a configuration is written"),
        );
    }
    let mut settings = Vec::new();
    if readable {
        collect("", entries, &place, &mut settings, problems);
    }
    settings
}

fn content(path: &Path) -> Result<String, ConfigError> {
    let broken = |why: &str| {
        ConfigError::from(
            Problem::new(format!("cannot read {}: {why}", path.display()))
                .hint("name a readable UTF-8 text file with `--config FILE`"),
        )
    };
    let metadata = fs::metadata(path).map_err(|error| broken(&error.to_string()))?;
    if metadata.is_dir() {
        return Err(broken("it is a directory"));
    }
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| broken(&error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(broken("it is over 1 MiB"));
    }
    Ok(text)
}

/// Walks the tables; a table that does not exist is one problem, not one for each of its keys.
fn collect(
    prefix: &str,
    entries: Vec<Entry>,
    place: &impl Fn(usize) -> Origin,
    settings: &mut Vec<Written>,
    problems: &mut Vec<Problem>,
) {
    for entry in entries {
        // A quoted key with a dot in it is one name, not a path.
        let name = if entry.key.contains('.') { format!("{:?}", entry.key) } else { entry.key };
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        let origin = place(entry.at);
        match entry.value {
            Node::Table(entries) if schema::is_section(&key) => {
                if entries.is_empty() && schema::needs_keys(&key) {
                    problems.push(
                        Problem::new(format!("[{key}] has no base_url"))
                            .at(&origin)
                            .hint("write base_url = \"https://…\" below it, or remove it"),
                    );
                }
                collect(&key, entries, place, settings, problems);
            }
            Node::Value(_) if schema::is_section(&key) => {
                problems.push(
                    Problem::new(format!("`{key}` is a table of settings, not a setting"))
                        .at(&origin)
                        .hint(format!("write [{key}] and its keys below it")),
                );
            }
            value if schema::exists(&key) => {
                let value = match value {
                    Node::Value(value) => value,
                    Node::Table(_) => Scalar::Other("a table"),
                };
                settings.push(Written { key, value, origin });
            }
            Node::Table(_) => problems.push(schema::unknown_section(&key).at(&origin)),
            Node::Value(_) => problems.push(schema::unknown(&key).at(&origin)),
        }
    }
}

#[cfg(test)]
mod tests;
