//! TOML as written, with the place of every key.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Entry, Node, Scalar, SyntaxError};

/// All that could be read, and everything that could not.
pub(super) fn parse(text: &str) -> (Vec<Entry>, Vec<SyntaxError>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<SyntaxError> = errors
        .into_iter()
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            let mut message = error.message().lines().collect::<Vec<_>>().join(", ");
            if message == "duplicate key" {
                message = format!("{message} `{}`", text.get(span.clone()).unwrap_or_default());
            }
            SyntaxError { message, at: span.start }
        })
        .collect();
    errors.sort_by_key(|error| error.at);
    (entries(table.into_inner()), errors)
}

fn entries(table: DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            at: key.span().start,
            key: key.into_inner().into_owned(),
            value: node(value),
        })
        .collect();
    // The parser sorts by name; the first upstream is the first one of the text.
    entries.sort_by_key(|entry| entry.at);
    entries
}

fn node(value: Spanned<DeValue<'_>>) -> Node {
    Node::Value(match value.into_inner() {
        DeValue::Table(table) => return Node::Table(entries(table)),
        DeValue::String(text) => Scalar::Text(text.into_owned()),
        DeValue::Boolean(b) => Scalar::Bool(b),
        DeValue::Integer(n) => i64::from_str_radix(&n.as_str().replace('_', ""), n.radix())
            .map_or(Scalar::Other("a number beyond 64 bits"), Scalar::Integer),
        DeValue::Float(n) => {
            n.as_str().replace('_', "").parse().map_or(Scalar::Other("a number"), Scalar::Float)
        }
        DeValue::Datetime(_) => Scalar::Other("a date"),
        DeValue::Array(_) => Scalar::Other("an array"),
    })
}
