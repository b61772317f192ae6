//! Writes the lines that are shown to a new file.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use jiff::Timestamp;
use kmi_core::trace::Line;
use kmi_proxy::{home::Home, ledger::Reader};
use kmi_tui::quantity::counted;

/// How many names are tried where files of the same second are there already.
const NAMES: u32 = 100;

/// Writes the lines to a new file in the current directory and says where.
///
/// An unbroken stretch gets the epoch lines in force in front, so that `kmi verify` can check it;
/// anything else begins with a line that says it is for reading only (FAIRNESS section 5).
pub(super) fn write(home: &Home, lines: &[Arc<str>], by: Option<&str>) -> anyhow::Result<String> {
    let dir = std::env::current_dir().context("cannot find the current directory")?;
    let (path, file) = create(&dir, Timestamp::now())?;
    let mut out = BufWriter::new(file);
    let first = if by.is_none() { unbroken(lines) } else { None };
    let written: anyhow::Result<()> = if let Some(first) = first {
        epochs(home, first).and_then(|epochs| {
            let epochs = epochs.iter().map(|line| &**line);
            put(&mut out, epochs.chain(lines.iter().map(|line| &**line))).map_err(Into::into)
        })
    } else {
        let by = serde_json::json!({ "shown": by.unwrap_or_default() });
        let head = serde_json::json!({ "type": "filtered", "by": by }).to_string();
        let all = std::iter::once(&*head).chain(lines.iter().map(|line| &**line));
        put(&mut out, all).map_err(Into::into)
    };
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("{} written to {}", counted(lines.len() as u64, "line"), path.display()))
}

/// A file that was not there before, for its owner's eyes only.
fn create(dir: &Path, now: Timestamp) -> anyhow::Result<(PathBuf, File)> {
    let stem = now.strftime("kmi-trace-%Y%m%d-%H%M%S").to_string();
    for n in 1..=NAMES {
        let name = if n == 1 { format!("{stem}.jsonl") } else { format!("{stem}-{n}.jsonl") };
        let path = dir.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot create {}", path.display()));
            }
        }
    }
    anyhow::bail!("too many exports in one second")
}

/// The number of the first line, where each line follows the one before.
fn unbroken(lines: &[Arc<str>]) -> Option<u64> {
    let mut first = None;
    for (n, line) in lines.iter().enumerate() {
        let seq = Line::parse(line.as_bytes()).ok()?.place.seq;
        let first = *first.get_or_insert(seq);
        if seq != first + n as u64 {
            return None;
        }
    }
    first
}

fn epochs(home: &Home, first: u64) -> anyhow::Result<Vec<String>> {
    let epochs = Reader::open(home.state_dir())?.epochs_in_force(first)?;
    Ok(epochs.into_iter().map(|line| line.text).collect())
}

fn put<'l>(out: &mut impl io::Write, lines: impl Iterator<Item = &'l str>) -> io::Result<()> {
    for line in lines {
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, os::unix::fs::MetadataExt as _};

    use super::*;

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let at = Timestamp::from_second(1_795_000_000).unwrap();
        let (one, mut file) = create(dir.path(), at).unwrap();
        file.write_all(b"mine").unwrap();
        let (two, _) = create(dir.path(), at).unwrap();
        assert_eq!(one.file_name().unwrap(), "kmi-trace-20261118-110640.jsonl");
        assert_eq!(two.file_name().unwrap(), "kmi-trace-20261118-110640-2.jsonl");
        assert_eq!(fs::read(&one).unwrap(), b"mine");
        assert_eq!(fs::metadata(&two).unwrap().mode() & 0o777, 0o600);
    }
}
