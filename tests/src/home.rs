//! A home in a temporary directory.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use anyhow::Context as _;
use kmi_core::trace::{Attempt, Line, Record};
use kmi_proxy::{home::Home, ledger::Reader};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::Canaries;

/// A home that goes away with the value; before that it must have no key outside of its file.
#[derive(Debug)]
pub struct TestHome {
    dir: TempDir,
    canaries: Mutex<Canaries>,
}

impl Drop for TestHome {
    fn drop(&mut self) {
        // A second panic would hide the first.
        if !std::thread::panicking() {
            let leaks = self.canaries.lock().files_with_one(self.home().root());
            assert!(leaks.is_empty(), "a key is in {leaks:?}");
        }
    }
}

impl TestHome {
    /// An empty home.
    pub fn new() -> anyhow::Result<Self> {
        let home = Self { dir: tempfile::tempdir()?, canaries: Mutex::default() };
        home.home().create().context("a fresh home")?;
        Ok(home)
    }

    /// Its paths.
    pub fn home(&self) -> Home {
        Home::new(self.dir.path().join("home"))
    }

    /// Writes a key file, as a person would.
    pub fn write_key(&self, file: &str, text: &str) -> anyhow::Result<PathBuf> {
        self.canaries.lock().add_file(file, text);
        let path = self.home().auths_dir().join(file);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&path)?.write_all(text.as_bytes())?;
        Ok(path)
    }

    /// Takes a key file away.
    pub fn remove_key(&self, file: &str) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.home().auths_dir().join(file))?)
    }

    /// Every line that is in the ledger now.
    pub fn lines(&self) -> anyhow::Result<Vec<String>> {
        let reader = Reader::open(self.home().state_dir())?;
        let Some((first, last)) = reader.span()? else { return Ok(Vec::new()) };
        reader.lines(first, last).map(|line| Ok(line?.text)).collect()
    }

    /// Every record that is in the ledger now.
    pub fn records(&self) -> anyhow::Result<Vec<Record>> {
        let lines = self.lines()?;
        let record = |line: &String| Ok(Line::parse(line.as_bytes())?.record);
        lines.iter().filter_map(|line| record(line).transpose()).collect()
    }

    /// Every attempt that is in the ledger now.
    pub fn attempts(&self) -> anyhow::Result<Vec<Attempt>> {
        let attempt = |record| match record {
            Record::Attempt(attempt) => Some(attempt),
            _ => None,
        };
        Ok(self.records()?.into_iter().filter_map(attempt).collect())
    }
}
