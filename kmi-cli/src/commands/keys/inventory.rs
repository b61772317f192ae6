//! The tables of `kmi keys list` (what each key is, not what it has done: that is `kmi status`)
//! of `kmi keys test` and of `kmi keys import`.

use std::{iter::once, sync::Arc};

use kmi_core::{display::visible, inventory::Key, key::Label, snapshot::KeyRow};
use kmi_proxy::control::Tested;
use kmi_tui::quantity::percent;

/// A column: its name, then a cell for each key.
type Column = Vec<String>;

/// What is known of each key, aligned; every line ends.
pub(super) fn table(keys: &[KeyRow]) -> String {
    aligned(&columns(keys))
}

/// What the provider said of each key, aligned; every line ends.
pub(super) fn tested(keys: &[Tested]) -> String {
    let column = |name: &str, cell: fn(&Tested) -> String| -> Column {
        once(name.to_owned()).chain(keys.iter().map(cell)).collect()
    };
    let left = |key: &Tested| match (key.quota.remaining_ratio, key.quota.balance) {
        (Some(left), _) => percent(left, 0),
        (None, Some(balance)) => format!("{balance:.2}"),
        (None, None) => String::new(),
    };
    aligned(&[
        column("label", |key| visible(&key.label).into_owned()),
        column("key", |key| visible(&key.masked).into_owned()),
        column("left", left),
        column("works", |key| match &key.error {
            None => "yes".to_owned(),
            Some(error) => format!("no: {}", visible(error)),
        }),
    ])
}

/// What is to be imported under which label, aligned; every line ends.
pub(super) fn planned(keys: &[(Label, Arc<Key>)]) -> String {
    let column = |name: &str, cell: fn(&(Label, Arc<Key>)) -> String| -> Column {
        once(name.to_owned()).chain(keys.iter().map(cell)).collect()
    };
    aligned(&[
        column("label", |(label, _)| label.to_string()),
        column("key", |(_, key)| key.secret.masked()),
        column("upstream", |(_, key)| key.upstream.to_string()),
        column("from", |(_, key)| visible(&key.origin).into_owned()),
    ])
}

fn aligned(columns: &[Column]) -> String {
    let widths: Vec<usize> = columns.iter().map(|column| width(column)).collect();
    let mut text = String::new();
    for line in 0..columns.first().map_or(0, Vec::len) {
        let cells = columns.iter().zip(&widths).map(|(column, width)| {
            let cell = &column[line];
            format!("{cell:width$}")
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The columns; those that would say the same of every usual key are left out.
fn columns(keys: &[KeyRow]) -> Vec<Column> {
    let column = |name: &str, cell: fn(&KeyRow) -> String| -> Column {
        once(name.to_owned()).chain(keys.iter().map(cell)).collect()
    };
    let mut columns = vec![
        column("label", |key| visible(&key.label).into_owned()),
        column("id", |key| key.key.clone()),
        column("key", |key| visible(&key.masked).into_owned()),
        column("upstream", |key| visible(&key.upstream).into_owned()),
    ];
    if keys.iter().any(|key| key.priority != 0) {
        columns.push(column("priority", |key| key.priority.to_string()));
    }
    if keys.iter().any(|key| key.weight != 1) {
        columns.push(column("weight", |key| key.weight.to_string()));
    }
    if keys.iter().any(|key| key.account.is_some()) {
        let account = |key: &KeyRow| key.account.as_deref().map(visible).unwrap_or_default().into();
        columns.push(column("account", account));
    }
    columns.push(column("state", state));
    columns
}

fn state(key: &KeyRow) -> String {
    match key.reason {
        Some(reason) => format!("{} ({})", key.state.as_str(), reason.as_str()),
        None => key.state.as_str().to_owned(),
    }
}

fn width(column: &[String]) -> usize {
    column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0)
}
