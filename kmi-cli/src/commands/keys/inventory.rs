//! The table of `kmi keys list`: what each key is, not what it has done (that is `kmi status`).

use std::fmt::Write as _;

use kmi_core::{display::visible, snapshot::KeyRow};

/// What is known of each key, aligned; columns that say nothing are left out.
pub(super) fn table(keys: &[KeyRow]) -> String {
    let account =
        |key: &KeyRow| key.account.as_deref().map(visible).unwrap_or_default().into_owned();
    let columns: [(&str, &dyn Fn(&KeyRow) -> String, bool); 8] = [
        ("label", &|key| visible(&key.label).into_owned(), true),
        ("id", &|key| key.key.clone(), true),
        ("key", &|key| visible(&key.masked).into_owned(), true),
        ("upstream", &|key| visible(&key.upstream).into_owned(), true),
        ("priority", &|key| key.priority.to_string(), keys.iter().any(|key| key.priority != 0)),
        ("weight", &|key| key.weight.to_string(), keys.iter().any(|key| key.weight != 1)),
        ("account", &account, keys.iter().any(|key| key.account.is_some())),
        ("state", &|key| in_words(key), true),
    ];
    let mut lines = vec![String::new(); keys.len() + 1];
    for (name, text, _) in columns.iter().filter(|column| column.2) {
        let cells: Vec<String> = keys.iter().map(text).collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        let width = width.max(name.len());
        let cells = std::iter::once(*name).chain(cells.iter().map(String::as_str));
        for (line, cell) in lines.iter_mut().zip(cells) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn in_words(key: &KeyRow) -> String {
    let reason = key.reason.map(|reason| format!(" ({})", reason.as_str()));
    format!("{}{}", key.state.as_str(), reason.unwrap_or_default())
}
