//! One writer for a state directory: an exclusive lock on a file that names the holder.

use std::{
    fs::{File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

use super::{error::LedgerError, files};

/// The lock; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock of a state directory or says who holds it.
    pub(super) fn take(state_dir: &Path) -> Result<Self, LedgerError> {
        let path = state_dir.join("ledger.lock");
        let mut file = files::open_private(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Whoever holds it may just be writing its number.
                let _ = (&file).take(32).read_to_string(&mut text);
                return Err(LedgerError::Locked { path, pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(LedgerError::Io { path, source }),
        }
        let write_pid = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write_pid(&mut file).map_err(LedgerError::io(path))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = StateLock::take(dir.path()).unwrap();
        let error = StateLock::take(dir.path()).unwrap_err();
        assert!(
            matches!(error, LedgerError::Locked { pid, .. } if pid == Some(std::process::id()))
        );
        assert!(error.to_string().starts_with("another kmi (process "), "{error}");
        drop(lock);
        StateLock::take(dir.path()).unwrap();
    }
}
