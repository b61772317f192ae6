//! Directories and files that only their owner can use, under any umask.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use super::HomeError;

/// Makes a directory and those above it that are missing, 0700 each.
///
/// A directory (or a link to one) that exists stays as it is: its owner may have a reason.
pub fn create_private_dir(path: &Path) -> Result<(), HomeError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_private_dir(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // A umask can only take bits away; this gives the owner's back.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o700)),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|source| HomeError::Directory { path: path.to_owned(), source })
}

/// Writes a file, 0600, unless there is one already; says whether it did.
///
/// The file appears with its whole content or not at all, and of all processes that try at once
/// exactly one succeeds: each writes a file of its own and links it to the final name, which only
/// one link can take.
pub fn create_private_file(path: &Path, content: &[u8]) -> Result<bool, HomeError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    create_private_dir(dir)?;
    let mut name = [0; 8];
    random(&mut name)?;
    let draft = dir.join(format!(".new-{}", hex::encode(name)));
    let failed = |source| HomeError::Write { path: path.to_owned(), source };
    let linked = write_new(&draft, content).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        linked => linked.map(|()| true),
    });
    // The draft is only a second name by now, or useless.
    let removed = fs::remove_file(&draft);
    let made = linked.map_err(failed)?;
    removed.map_err(failed)?;
    sync_dir(dir).map_err(failed)?;
    Ok(made)
}

/// Fills bytes with random bits of the system.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), HomeError> {
    getrandom::fill(bytes).map_err(|error| HomeError::Random(error.to_string()))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Has the names of a directory on the disk.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
