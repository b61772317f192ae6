//! Adding and removing keys of the key directory.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use kmi_core::{
    inventory::{Key, Limits},
    key::{ApiKey, Label},
};
use toml::Value as Toml;
use zeroize::Zeroizing;

use super::{
    dir::is_ignored,
    fields::{Name, Value},
    format::{Entry, Format},
    problem::{shown, word},
    read,
};

/// How many names are tried for a label that cannot be a file name.
const NAMES: usize = 1000;

/// What may be said about a key beside its label and its secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewKey {
    /// The upstream, when it is not the default one.
    pub upstream: Option<String>,
    /// The account whose limits it shares.
    pub account: Option<String>,
    /// Priority: a lower number serves first; 0 is usual.
    pub priority: i32,
    /// How often it serves, in relation to others: 1 to 1000, `None` is 1.
    pub weight: Option<u32>,
    /// Free words.
    pub tags: Vec<String>,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Limits that are to be kept.
    pub limits: Limits,
}

/// Why the key directory was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// There is a file of that name; it is never overwritten.
    #[error("{} is there already", shown(.0))]
    Exists(PathBuf),
    /// The key does not stand in a file of its own.
    #[error("the key does not stand in a file of its own but in {0}")]
    NotAlone(String),
    /// The file is a symbolic link; what it points to may be meant for others as well.
    #[error("{} is a symbolic link, which kmi does not remove", shown(.0))]
    Link(PathBuf),
    /// The file no longer holds the key that was meant.
    #[error("{} has changed: it does not hold this key", shown(.0))]
    Changed(PathBuf),
    /// A file cannot be written or removed.
    #[error("{}: {source}", shown(.path))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl EditError {
    /// What to do about it, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::Exists(_) => "choose another label, or remove that key first".into(),
            Self::NotAlone(place) => format!("remove it there by hand: {place}"),
            Self::Link(path) => {
                format!(
                    "remove the link by hand: rm {} (the key stays where it points)",
                    word(path)
                )
            }
            Self::Changed(_) => "look at the file, and remove it by hand".into(),
            Self::Io { .. } => "make sure that the key directory belongs to you".into(),
        }
    }
}

/// Writes a new key file (mode 0600) and returns its path; an existing file is never touched.
///
/// The file is called `LABEL.toml`. A label that is no safe file name gets a derived one, and
/// stands in the file. That the label and the key are new is for the caller to check, who knows
/// the loaded keys. The directory is made when it is missing.
pub fn add(
    dir: &Path,
    label: &Label,
    secret: &ApiKey,
    more: &NewKey,
) -> Result<PathBuf, EditError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(dir, error));
        }
        _ => {}
    }
    if let Some(name) = safe_name(label.as_str()) {
        let path = dir.join(name);
        let published = publish(dir, &path, &text(None, secret, more))?;
        return if published { Ok(path) } else { Err(EditError::Exists(path)) };
    }
    let text = text(Some(label), secret, more);
    let stem = derived_stem(label.as_str());
    for n in 1..=NAMES {
        let name = if n == 1 { format!("{stem}.toml") } else { format!("{stem}-{n}.toml") };
        let path = dir.join(name);
        if publish(dir, &path, &text)? {
            return Ok(path);
        }
    }
    Err(EditError::Exists(dir.join(stem)))
}

/// Removes the file of a key that stands alone in one, and returns its path.
///
/// A key of a manifest with others, of a client's configuration or of the environment is refused
/// with the place to edit by hand, and so is one behind a symbolic link.
pub fn remove(dir: &Path, key: &Key) -> Result<PathBuf, EditError> {
    let not_alone = || EditError::NotAlone(key.origin.to_string());
    let path = file_of(dir, &key.origin).ok_or_else(not_alone)?;
    let format = Format::of(&path).filter(|format| *format != Format::ClientConfig);
    let format = format.ok_or_else(not_alone)?;
    if path.symlink_metadata().map_err(|error| failed(&path, error))?.is_symlink() {
        return Err(EditError::Link(path));
    }
    let changed = || EditError::Changed(path.clone());
    let file = read::read(&path, Duration::ZERO).ok().flatten().ok_or_else(changed)?;
    let mut entries = format.parse(&file.text, "").into_iter();
    match (entries.next(), entries.next()) {
        (Some(Ok(entry)), None) if holds(&entry, &key.secret) => {}
        (Some(_), Some(_)) => return Err(not_alone()),
        _ => return Err(changed()),
    }
    fs::remove_file(&path).and_then(|()| sync(dir)).map_err(|error| failed(&path, error))?;
    Ok(path)
}

/// The file that an origin names, if it is one directly in the directory. An origin is meant for
/// people; a path that was altered to be shown safely matches nothing and is refused.
fn file_of(dir: &Path, origin: &str) -> Option<PathBuf> {
    let without_line = origin
        .rsplit_once(':')
        .filter(|(_, line)| !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit()));
    let shown_path = without_line.map_or(origin, |(path, _)| path);
    let path = dir.join(Path::new(shown_path).file_name()?);
    (*shown(&path) == *shown_path).then_some(path)
}

/// Whether the entry is still about this key; one that is fetched from elsewhere can only be.
fn holds(entry: &Entry, secret: &ApiKey) -> bool {
    entry.fields.iter().all(|field| match &field.value {
        Value::Text(key) | Value::Word(key) if field.name == Name::ApiKey => {
            key.as_str() == secret.expose()
        }
        _ => true,
    })
}

fn safe_name(label: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = format!("{label}.toml");
    let good = label.chars().all(plain)
        && !label.starts_with('-')
        && !is_ignored(&name)
        && Format::of(Path::new(&name)) == Some(Format::Toml);
    good.then_some(name)
}

fn derived_stem(label: &str) -> String {
    let dashes = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let words: String = label.chars().map(dashes).collect();
    format!("key-{}", words.trim_matches('-')).trim_end_matches('-').to_owned()
}

fn text(label: Option<&Label>, secret: &ApiKey, more: &NewKey) -> Zeroizing<String> {
    let words = |name, text: Option<&String>| text.map(|text| (name, Toml::String(text.clone())));
    let number = |name, n: Option<u32>| n.map(|n| (name, Toml::Integer(i64::from(n))));
    let tags = || Toml::Array(more.tags.iter().cloned().map(Toml::String).collect());
    let fields = [
        Some(("api_key", Toml::String(secret.expose().to_owned()))),
        label.map(|label| ("label", Toml::String(label.to_string()))),
        words("upstream", more.upstream.as_ref()),
        words("account", more.account.as_ref()),
        (more.priority != 0).then(|| ("priority", Toml::Integer(i64::from(more.priority)))),
        number("weight", more.weight),
        (!more.tags.is_empty()).then(|| ("tags", tags())),
        more.disabled.then_some(("disabled", Toml::Boolean(true))),
        number("rpm", more.limits.rpm),
        number("tpm", more.limits.tpm),
        number("concurrency", more.limits.concurrency),
    ];
    let mut text = Zeroizing::new(String::new());
    for (name, value) in fields.into_iter().flatten() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = {value}");
    }
    text
}

/// Puts a complete file at a path at which there is none; `false` when there is one.
fn publish(dir: &Path, path: &Path, text: &str) -> Result<bool, EditError> {
    let draft = Draft::write(dir, text).map_err(|error| failed(dir, error))?;
    // A link, unlike a rename, never replaces anything.
    match fs::hard_link(&draft.0, path) {
        Ok(()) => sync(dir).map(|()| true).map_err(|error| failed(dir, error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(path, error)),
    }
}

/// A hidden file, which no loader reads, that is gone in the end.
struct Draft(PathBuf);

impl Draft {
    fn write(dir: &Path, text: &str) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let draft = Self(dir.join(format!(".new-{}.tmp", hex::encode(random))));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn failed(path: &Path, source: io::Error) -> EditError {
    EditError::Io { path: path.to_owned(), source }
}
