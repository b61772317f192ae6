//! A trace line as a row of a table whose cells do nothing in a spreadsheet.

use std::io::{self, Write};

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
            Some(Value::String(text)) => write_cell(text, out)?,
            Some(number @ (Value::Number(_) | Value::Bool(_))) => write!(out, "{number}")?,
            Some(list) => write_cell(&list.to_string(), out)?,
        }
    }
    out.write_all(b"\r\n")
}

/// Writes a text as a cell (RFC 4180); one that a spreadsheet would take for a formula gets a `'`.
fn write_cell(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !is_formula && !text.contains(['"', ',', '\r', '\n']) {
        return out.write_all(text.as_bytes());
    }
    let inert = if is_formula { "'" } else { "" };
    write!(out, "\"{inert}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> String {
        let mut out = Vec::new();
        write_cell(text, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_inert_and_quoted() {
        assert_eq!(cell("kimi-for-coding"), "kimi-for-coding");
        assert_eq!(cell("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        for start in ["=", "+", "-", "@", "\t", "\r"] {
            assert_eq!(cell(&format!("{start}cmd")), format!("\"'{start}cmd\""));
        }
        assert_eq!(cell("=HYPERLINK(\"x\",\"y\")"), "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"");
    }

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
