//! The fields that describe a key, whatever the format they are written in.

use zeroize::Zeroizing;

use super::problem::{Fault, nearest};

/// A field of a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    ApiKey,
    ApiKeyCmd,
    ApiKeyEnv,
    ApiKeyFile,
    ApiKeyKeyring,
    Label,
    Priority,
    Weight,
    Account,
    Upstream,
    Tags,
    Disabled,
    Rpm,
    Tpm,
    Concurrency,
}

/// Every field: its name in TOML and JSON, and in `.env` files where it may stand there.
const NAMES: [(Name, &str, Option<&str>); 15] = [
    (Name::ApiKey, "api_key", Some("KMI_API_KEY")),
    (Name::ApiKeyCmd, "api_key_cmd", None),
    (Name::ApiKeyEnv, "api_key_env", None),
    (Name::ApiKeyFile, "api_key_file", None),
    (Name::ApiKeyKeyring, "api_key_keyring", None),
    (Name::Label, "label", Some("KMI_KEY_LABEL")),
    (Name::Priority, "priority", Some("KMI_KEY_PRIORITY")),
    (Name::Weight, "weight", Some("KMI_KEY_WEIGHT")),
    (Name::Account, "account", Some("KMI_KEY_ACCOUNT")),
    (Name::Upstream, "upstream", Some("KMI_KEY_UPSTREAM")),
    (Name::Tags, "tags", Some("KMI_KEY_TAGS")),
    (Name::Disabled, "disabled", Some("KMI_KEY_DISABLED")),
    (Name::Rpm, "rpm", Some("KMI_KEY_RPM")),
    (Name::Tpm, "tpm", Some("KMI_KEY_TPM")),
    (Name::Concurrency, "concurrency", Some("KMI_KEY_CONCURRENCY")),
];

/// Which of a field's two names a format uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vocabulary {
    /// TOML and JSON.
    Table,
    /// `.env`.
    Variables,
}

/// A value as written. It may be a secret, so it has no `Debug`.
pub(super) enum Value {
    /// A string.
    Text(Zeroizing<String>),
    /// Text of a format without types (`.env`): also a number, a truth value or a list.
    Word(Zeroizing<String>),
    Integer(i64),
    Boolean(bool),
    /// A list of strings only.
    List(Vec<Zeroizing<String>>),
    /// Anything that no field takes.
    Other,
}

/// A name and a value as written.
pub(super) struct Written {
    pub name: String,
    pub line: Option<u32>,
    pub value: Value,
}

/// A field that is known.
pub(super) struct Field {
    pub name: Name,
    /// The name in the file's own words.
    pub shown: &'static str,
    pub line: Option<u32>,
    pub value: Value,
}

/// Recognises the written names; unknown and repeated ones are faults.
pub(super) fn identify(
    written: Vec<Written>,
    vocabulary: Vocabulary,
) -> Result<Vec<Field>, Vec<Fault>> {
    let (mut fields, mut faults) = (Vec::<Field>::new(), Vec::new());
    for Written { name, line, value } in written {
        let Some((name, shown)) = known(vocabulary).find(|(_, shown)| *shown == name) else {
            faults.push(unknown(&name, vocabulary).on(line));
            continue;
        };
        if fields.iter().any(|field| field.name == name) {
            let hint = "remove one of the two lines";
            faults.push(Fault::refused(format!("`{shown}` is given twice"), hint).on(line));
            continue;
        }
        fields.push(Field { name, shown, line, value });
    }
    if faults.is_empty() { Ok(fields) } else { Err(faults) }
}

fn known(vocabulary: Vocabulary) -> impl Iterator<Item = (Name, &'static str)> {
    NAMES.iter().filter_map(move |(name, table, variable)| match vocabulary {
        Vocabulary::Table => Some((*name, *table)),
        Vocabulary::Variables => variable.map(|variable| (*name, variable)),
    })
}

fn unknown(name: &str, vocabulary: Vocabulary) -> Fault {
    let names = || known(vocabulary).map(|(_, shown)| shown);
    if let Some(near) = nearest(name, names()) {
        return Fault::refused(
            format!("unknown field; the nearest known one is `{near}`"),
            format!("write `{near}`, or remove the line"),
        );
    }
    let all: Vec<_> = names().collect();
    Fault::refused("unknown field", format!("known are {}", all.join(", ")))
}
