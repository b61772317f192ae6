//! A trace line as a row of a table whose cells do nothing in a spreadsheet.

use std::io::{self, Write};

use kmi_core::display::csv_cell;
use serde_json::{Map, Value};

/// The columns, in order; what a line does not have stays empty.
const COLUMNS: [&str; 45] = [
    "type",
    "seq",
    "ts",
    "turn",
    "epoch",
    "prev_slot",
    "slot",
    "key",
    "label",
    "eligible",
    "tried",
    "request_id",
    "session_id",
    "attempt",
    "mode",
    "policy",
    "upstream",
    "method",
    "path",
    "model",
    "stream",
    "status",
    "outcome",
    "error",
    "queue_ms",
    "connect_ms",
    "ttfb_ms",
    "latency_ms",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "request_bytes",
    "response_bytes",
    "from",
    "to",
    "reason",
    "until",
    "by",
    "from_turn",
    "to_turn",
    "slots",
    "keys",
    "ring",
    "cursor",
    "hash",
];

/// Writes the header row.
pub(super) fn write_header(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(COLUMNS.join(",").as_bytes())?;
    out.write_all(b"\r\n")
}

/// Writes a stored line as a row.
pub(super) fn write_row(line: &str, out: &mut dyn Write) -> io::Result<()> {
    let fields: Map<String, Value> = serde_json::from_str(line)?;
    for (n, column) in COLUMNS.iter().enumerate() {
        if n > 0 {
            out.write_all(b",")?;
        }
        match fields.get(*column) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => out.write_all(csv_cell(text).as_bytes())?,
            Some(number @ (Value::Number(_) | Value::Bool(_))) => write!(out, "{number}")?,
            Some(list) => out.write_all(csv_cell(&list.to_string()).as_bytes())?,
        }
    }
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_every_column() {
        let mut out = Vec::new();
        let line =
            r#"{"type":"gap","seq":4,"upstream":"=u","slots":[1,2],"stream":null,"hash":"0f"}"#;
        write_row(line, &mut out).unwrap();
        let row = String::from_utf8(out).unwrap();
        let commas = |n: usize| ",".repeat(n);
        let expected = [
            "gap,4".to_owned(),
            commas(15),
            "\"'=u\"".to_owned(),
            commas(24),
            "\"[1,2]\"".to_owned(),
            commas(4),
            "0f\r\n".to_owned(),
        ];
        assert_eq!(row, expected.concat());
    }
}
