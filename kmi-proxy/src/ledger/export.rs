//! Exports: the stored lines byte for byte, or a table for reading.

use std::io::Write;

use jiff::Timestamp;
use kmi_core::outcome::Outcome;
use serde::{Deserialize, Serialize};

use super::{csv, error::LedgerError, reader::Reader, reader::StoredLine};

/// What to export; the default is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// From the first line at or after this time.
    pub since: Option<Timestamp>,
    /// Up to the line before the first one after this time.
    pub until: Option<Timestamp>,
    /// Only lines of this key, by id or label.
    pub key: Option<String>,
    /// Only attempts that ended so.
    pub outcome: Option<Outcome>,
}

/// The first line of a filtered export.
#[derive(Serialize)]
struct Filtered<'a> {
    r#type: &'static str,
    by: By<'a>,
}

#[derive(Serialize)]
struct By<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
}

/// What a filter looks at.
#[derive(Deserialize)]
struct Marks<'a> {
    #[serde(borrow)]
    key: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    label: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    outcome: Option<std::borrow::Cow<'a, str>>,
}

/// The keys that a line names: its own, or those of its epoch.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    key: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    label: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    keys: Vec<Self>,
}

impl Named<'_> {
    fn names(&self, key: &str) -> bool {
        self.key.as_deref() == Some(key)
            || self.label.as_deref() == Some(key)
            || self.keys.iter().any(|one| one.names(key))
    }
}

impl Export {
    fn is_filtered(&self) -> bool {
        self.key.is_some() || self.outcome.is_some()
    }

    fn wants(&self, line: &StoredLine) -> bool {
        if !self.is_filtered() {
            return true;
        }
        let Ok(marks) = serde_json::from_str::<Marks<'_>>(&line.text) else { return false };
        let key = |wanted: &str| {
            marks.key.as_deref() == Some(wanted) || marks.label.as_deref() == Some(wanted)
        };
        self.key.as_deref().is_none_or(key)
            && self.outcome.is_none_or(|it| marks.outcome.as_deref() == Some(it.as_str()))
    }
}

impl Reader {
    /// Whether a line names a key of this label or id: one that is gone by now may have served.
    pub fn names_key(&self, key: &str) -> Result<bool, LedgerError> {
        let Some((first, last)) = self.span()? else { return Ok(false) };
        for line in self.lines(first, last) {
            // What cannot be read is for `kmi verify` to tell.
            let named = serde_json::from_str::<Named<'_>>(&line?.text).map(|it| it.names(key));
            if named.unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes JSON lines and returns how many.
    ///
    /// Without a filter they are evidence (FAIRNESS section 5): a contiguous stretch, preceded by
    /// the epoch lines in force, byte for byte as stored. With one they are for reading, and the
    /// first line says so.
    pub fn export_jsonl(&self, what: &Export, out: &mut dyn Write) -> Result<u64, LedgerError> {
        let mut written = 0;
        let mut write = |text: &str| {
            written += 1;
            out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"))
        };
        if what.is_filtered() {
            let outcome = what.outcome.map(Outcome::as_str);
            let by = By { key: what.key.as_deref(), outcome };
            let first = serde_json::to_string(&Filtered { r#type: "filtered", by });
            first.map_err(Into::into).and_then(|it| write(&it)).map_err(LedgerError::Export)?;
        }
        if let Some((from, to)) = self.stretch(what.since, what.until)? {
            if !what.is_filtered() {
                for line in self.epochs_in_force(from)? {
                    write(&line.text).map_err(LedgerError::Export)?;
                }
            }
            for line in self.lines(from, to) {
                let line = line?;
                if what.wants(&line) {
                    write(&line.text).map_err(LedgerError::Export)?;
                }
            }
        }
        out.flush().map_err(LedgerError::Export)?;
        Ok(written)
    }

    /// Writes a table with a header row, one row a line, and returns how many rows follow the
    /// header. Cells are inert in spreadsheets.
    pub fn export_csv(&self, what: &Export, out: &mut dyn Write) -> Result<u64, LedgerError> {
        let mut written = 0;
        csv::write_header(out).map_err(LedgerError::Export)?;
        if let Some((from, to)) = self.stretch(what.since, what.until)? {
            for line in self.lines(from, to) {
                let line = line?;
                if what.wants(&line) {
                    csv::write_row(&line.text, out).map_err(LedgerError::Export)?;
                    written += 1;
                }
            }
        }
        out.flush().map_err(LedgerError::Export)?;
        Ok(written)
    }
}
