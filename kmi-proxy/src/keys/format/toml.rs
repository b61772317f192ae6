//! `NAME.toml`: one key; `keys.toml`: a manifest of `[[key]]` tables.

use ::toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};
use zeroize::Zeroizing;

use super::{
    super::{
        fields::{Field, Value, Vocabulary, Written, identify},
        problem::Fault,
        read::line_at,
    },
    Entry, Parsed,
};

pub(super) fn parse(text: &str) -> Result<Vec<Field>, Vec<Fault>> {
    let table = table(text).map_err(|fault| vec![fault])?;
    if let Some(line) = line_of(text, &table, "key").filter(|_| table.get("api_key").is_none()) {
        let hint = "a file with several keys is called keys.toml";
        return Err(vec![Fault::refused("a manifest needs another file name", hint).on(line)]);
    }
    fields(text, &table)
}

pub(super) fn parse_manifest(text: &str, stem: &str) -> Parsed {
    let table = match table(text) {
        Ok(table) => table,
        Err(fault) => return vec![Err(vec![fault])],
    };
    let mut parsed: Parsed = in_order(&table)
        .into_iter()
        .filter(|(name, _)| name.get_ref() != "key")
        .map(|(name, _)| {
            Err(vec![not_in_a_manifest().on(line_at(text.as_bytes(), name.span().start))])
        })
        .collect();
    match table.get("key").map(|value| (value.span(), value.get_ref())) {
        None if parsed.is_empty() => parsed.push(Err(vec![Fault::refused(
            "the manifest has no keys",
            "write one [[key]] table with api_key for each key",
        )])),
        None => {}
        Some((_, DeValue::Array(entries))) => {
            parsed.extend((1u32..).zip(entries.iter()).map(|(number, entry)| {
                let line = line_at(text.as_bytes(), entry.span().start);
                let DeValue::Table(table) = entry.get_ref() else {
                    return Err(vec![not_in_a_manifest().on(line)]);
                };
                let stem = if number == 1 { stem.to_owned() } else { format!("{stem}-{number}") };
                let fields = fields(text, table)?;
                Ok(Entry { stem, line: Some(line), base_url: None, fields })
            }));
        }
        Some((span, _)) => {
            parsed.push(Err(vec![not_in_a_manifest().on(line_at(text.as_bytes(), span.start))]));
        }
    }
    parsed
}

/// The whole document.
pub(super) fn table(text: &str) -> Result<DeTable<'_>, Fault> {
    DeTable::parse(text).map(Spanned::into_inner).map_err(|error| {
        // The error's own Display quotes the line; its message only describes it.
        Fault::refused(
            format!("not valid TOML: {}", error.message()),
            "correct the line; texts stand in quotes",
        )
        .on(error.span().map(|span| line_at(text.as_bytes(), span.start)))
    })
}

/// The fields of one key's table, in the order of the file.
pub(super) fn fields(text: &str, table: &DeTable<'_>) -> Result<Vec<Field>, Vec<Fault>> {
    let written = in_order(table).into_iter().map(|(name, item)| Written {
        name: name.get_ref().to_string(),
        line: Some(line_at(text.as_bytes(), name.span().start)),
        value: value(item.get_ref()),
    });
    identify(written.collect(), Vocabulary::Table)
}

/// A table's members as they stand in the file; the table itself is sorted by name.
pub(super) fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(name, _)| name.span().start);
    members
}

/// The line of a member's name.
pub(super) fn line_of(text: &str, table: &DeTable<'_>, name: &str) -> Option<u32> {
    let (name, _) = table.get_key_value(name)?;
    Some(line_at(text.as_bytes(), name.span().start))
}

fn value(item: &DeValue<'_>) -> Value {
    match item {
        DeValue::String(text) => Value::Text(Zeroizing::new(text.to_string())),
        DeValue::Integer(n) => {
            i64::from_str_radix(n.as_str(), n.radix()).map_or(Value::Other, Value::Integer)
        }
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Array(items) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Some(Zeroizing::new(text.to_string())),
                _ => None,
            })
            .collect::<Option<_>>()
            .map_or(Value::Other, Value::List),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Value::Other,
    }
}

fn not_in_a_manifest() -> Fault {
    Fault::refused(
        "keys.toml holds [[key]] tables only",
        "write [[key]] above the fields of each key, or call the file NAME.toml",
    )
}
