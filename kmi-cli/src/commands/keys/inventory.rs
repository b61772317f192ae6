//! The table of `kmi keys list`: what each key is, not what it has done (that is `kmi status`).

use std::iter::once;

use kmi_core::{display::visible, snapshot::KeyRow};

/// A column: its name, then a cell for each key.
type Column = Vec<String>;

/// What is known of each key, aligned; every line ends.
pub(super) fn table(keys: &[KeyRow]) -> String {
    let columns = columns(keys);
    let widths: Vec<usize> = columns.iter().map(|column| width(column)).collect();
    let mut text = String::new();
    for line in 0..=keys.len() {
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
