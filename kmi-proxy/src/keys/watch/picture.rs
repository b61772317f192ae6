//! What the watched files look like from outside.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::super::{
    dir::{MAX_ENTRIES, is_ignored},
    problem::is_passing,
};

/// The metadata of everything that is watched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    dir: Option<Identity>,
    files: BTreeMap<PathBuf, File>,
}

/// A path: the link and what it points to; the same when it is no link.
#[derive(Debug, PartialEq, Eq)]
struct File {
    link: Option<Version>,
    target: Option<Version>,
}

/// A file's contents cannot change without one of these. The time of the last status change is
/// what tells a replaced file whose modification time was set back (`cp -p`), and a new mode.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    identity: Identity,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Which directory or file a path leads to at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    mode: u32,
}

impl Picture {
    /// A look at the directory's files, without those that are no key files, and at further files;
    /// `None` where the system does not let anybody look just now.
    pub(super) fn of(dir: &Path, files: &[PathBuf]) -> Option<Self> {
        let entries = match fs::read_dir(dir) {
            Err(error) if is_passing(&error) => return None,
            entries => entries.into_iter().flatten().take(8 * MAX_ENTRIES).flatten(),
        };
        let named = entries
            .filter(|entry| !is_ignored(&entry.file_name().to_string_lossy()))
            .map(|entry| entry.path());
        let files = named.chain(files.iter().cloned()).map(|path| {
            let file = File::of(&path);
            (path, file)
        });
        Some(Self { dir: Identity::of(dir), files: files.collect() })
    }
}

impl File {
    fn of(path: &Path) -> Self {
        let link = path.symlink_metadata().ok();
        let target =
            link.as_ref().filter(|meta| meta.is_symlink()).and_then(|_| path.metadata().ok());
        Self { link: link.as_ref().map(Version::of), target: target.as_ref().map(Version::of) }
    }
}

impl Version {
    fn of(meta: &Metadata) -> Self {
        Self {
            identity: Identity::from(meta),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Identity {
    /// `None` when there is nothing (or nothing that may be looked at).
    pub(super) fn of(path: &Path) -> Option<Self> {
        path.metadata().as_ref().ok().map(Self::from)
    }
}

impl From<&Metadata> for Identity {
    fn from(meta: &Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino(), mode: meta.mode() }
    }
}
