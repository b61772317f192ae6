//! A home in a temporary directory.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use anyhow::Context as _;
use kmi_proxy::home::Home;
use tempfile::TempDir;

/// A home that goes away with the value.
#[derive(Debug)]
pub struct TestHome {
    dir: TempDir,
}

impl TestHome {
    /// An empty home.
    pub fn new() -> anyhow::Result<Self> {
        let home = Self { dir: tempfile::tempdir()? };
        home.home().create().context("a fresh home")?;
        Ok(home)
    }

    /// Its paths.
    pub fn home(&self) -> Home {
        Home::new(self.dir.path().join("home"))
    }

    /// Writes a key file, as a person would.
    pub fn write_key(&self, file: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.home().auths_dir().join(file);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&path)?.write_all(text.as_bytes())?;
        Ok(path)
    }
}
