//! The `config.toml` of a Kimi client: every `[providers.*]` table with an `api_key` is a key.
//!
//! The rest of the file is the client's own business and is not looked at. A provider's name
//! becomes the label. Providers without an `api_key` (a login, or an empty one) are passed over.

use ::toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use zeroize::Zeroizing;

use super::{
    super::{
        fields::{Field, Name, Value},
        problem::{Fault, Severity},
        read::line_at,
    },
    ClientBase, Entry, Parsed, toml,
};

pub(super) fn parse(text: &str, stem: &str) -> Parsed {
    let table = match toml::table(text) {
        Ok(table) => table,
        Err(fault) => return vec![Err(vec![fault])],
    };
    let Some(DeValue::Table(providers)) = table.get("providers").map(Spanned::get_ref) else {
        // Somebody's own key that happens to be called "config".
        if table.contains_key("api_key") {
            return vec![toml::fields(text, &table).map(|fields| Entry::of_file(stem, fields))];
        }
        return vec![Err(vec![no_key()])];
    };
    let parsed: Parsed = toml::in_order(providers)
        .into_iter()
        .filter_map(|(name, item)| match item.get_ref() {
            DeValue::Table(provider) => entry(text, name.get_ref(), provider),
            _ => None,
        })
        .map(Ok)
        .collect();
    if parsed.is_empty() { vec![Err(vec![no_key()])] } else { parsed }
}

fn entry(text: &str, name: &str, provider: &DeTable<'_>) -> Option<Entry> {
    let (key_name, key) = provider.get_key_value("api_key")?;
    let line = Some(line_at(text.as_bytes(), key_name.span().start));
    let value = match key.get_ref() {
        DeValue::String(key) if key.trim().is_empty() => return None,
        DeValue::String(key) => Value::Text(Zeroizing::new(key.to_string())),
        _ => Value::Other,
    };
    let string = |field: &str| match provider.get(field)?.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    let kimi = string("type").is_none_or(|kind| kind == "kimi");
    Some(Entry {
        stem: name.to_owned(),
        line,
        base_url: Some(ClientBase { url: string("base_url"), kimi }),
        fields: vec![Field { name: Name::ApiKey, shown: "api_key", line, value }],
    })
}

fn no_key() -> Fault {
    Fault::new(
        Severity::Notice,
        "the client's configuration has no provider with an api_key",
        "a client that is logged in has no key to share; kmi keys add LABEL takes one",
    )
}
