//! Files that only their owner may read, whatever the umask.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use super::error::LedgerError;

const OWNER_ONLY: u32 = 0o600;

/// Opens a file for reading and writing, creates it if need be, and makes it 0600.
pub(super) fn open_private(path: &Path) -> Result<File, LedgerError> {
    let open = || {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(OWNER_ONLY)
            .open(path)?;
        if file.metadata()?.permissions().mode() & 0o777 != OWNER_ONLY {
            file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
        }
        Ok(file)
    };
    open().map_err(LedgerError::io(path))
}

/// Creates a directory (0700) unless it is there.
pub(super) fn create_private_dir(path: &Path) -> Result<(), LedgerError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(LedgerError::io(path))
}

/// Makes a rename or a new file in a directory outlive a power loss.
pub(super) fn sync_dir(path: &Path) -> Result<(), LedgerError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(LedgerError::io(path))
}

/// The running boot of the operating system, where it has a name (Linux, macOS): a changed one
/// tells that what was only in memory when the process died may be lost.
pub(super) fn boot_id() -> Option<String> {
    let id = if cfg!(target_os = "macos") {
        // It has no file, and the system call would need `unsafe`.
        let said = Command::new("/usr/sbin/sysctl").args(["-n", "kern.bootsessionuuid"]).output();
        String::from_utf8(said.ok()?.stdout).ok()?
    } else {
        fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?
    };
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}
