//! Opening a key file: every check is made on the opened file, never on its name.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
};
use zeroize::Zeroizing;

use super::problem::{Fault, word};

/// Largest key file, in bytes.
pub(super) const MAX_BYTES: u64 = 64 * 1024;

/// How often a file that changes under the reader is read again.
const ATTEMPTS: u32 = 5;

/// What stands in a key file.
pub(super) struct Contents {
    /// The text, without a byte order mark.
    pub text: Zeroizing<String>,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

/// The contents of a key file; `None` when there is no such file.
///
/// A file that was written less than `settle` ago is waited for (it may be half written), as is
/// one that changes while it is read.
pub(super) fn read(path: &Path, settle: Duration) -> Result<Option<Contents>, Fault> {
    read_if(path, settle, private)
}

/// The contents of a file that kmi does not use but takes a key out of, whoever may read it.
pub(super) fn read_foreign(path: &Path) -> Result<Option<Contents>, Fault> {
    read_if(path, Duration::ZERO, |_, _| Ok(()))
}

/// Whether a file may be used by others, with its bits and its path.
type Exposure = fn(u32, &Path) -> Result<(), Fault>;

fn read_if(path: &Path, settle: Duration, exposure: Exposure) -> Result<Option<Contents>, Fault> {
    let Some((bytes, modified)) = read_bytes(path, settle, exposure)? else { return Ok(None) };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(Contents { text: Zeroizing::new(text.to_owned()), modified })),
        Err(error) => Err(Fault::refused("the file is not UTF-8 text", "save the file as UTF-8")
            .on(line_at(bytes, error.valid_up_to()))),
    }
}

/// The line, from 1, of a byte offset.
pub(super) fn line_at(bytes: &[u8], offset: usize) -> u32 {
    let before = &bytes[..offset.min(bytes.len())];
    u32::try_from(before.split(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX)
}

type Bytes = (Zeroizing<Vec<u8>>, Option<SystemTime>);

fn read_bytes(path: &Path, settle: Duration, may: Exposure) -> Result<Option<Bytes>, Fault> {
    for _ in 0..ATTEMPTS {
        let Some(mut file) = open(path)? else { return Ok(None) };
        let before = check(&file, path, may)?;
        if let Some(rest) = unsettled(&before, settle) {
            thread::sleep(rest);
            continue;
        }
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_BYTES + 1).unwrap_or(0)));
        file.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
        if check(&file, path, may)? == before {
            return Ok(Some((bytes, before.modified)));
        }
    }
    Err(Fault::refused(
        "the file keeps changing while it is read",
        "it is read again once it is left alone",
    )
    .passing())
}

fn open(path: &Path) -> Result<Option<File>, Fault> {
    // Without NONBLOCK a FIFO would hang here, before it can be recognised.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::NOENT) if path.symlink_metadata().is_err() => Ok(None),
        Err(Errno::NOENT) => Err(Fault::refused(
            "the symbolic link points to nothing",
            format!("create its target, or remove the link: rm {}", word(path)),
        )),
        Err(Errno::LOOP) => {
            Err(Fault::refused("the symbolic links go in a circle", "remove the link"))
        }
        // Sockets cannot be opened at all.
        Err(Errno::NXIO) => Err(irregular()),
        Err(error) => Err(unreadable(&error.into())),
    }
}

/// What tells two versions of a file apart.
#[derive(PartialEq)]
struct Version {
    modified: Option<SystemTime>,
    bytes: u64,
}

fn check(file: &File, path: &Path, may: Exposure) -> Result<Version, Fault> {
    let stat = rustix::fs::fstat(file).map_err(|e| unreadable(&e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(irregular());
    }
    may(stat.st_mode & 0o7777, path)?;
    let meta = file.metadata().map_err(|e| unreadable(&e))?;
    if meta.len() > MAX_BYTES {
        return Err(Fault::refused(
            format!("the file has {} bytes; at most {MAX_BYTES} are allowed", meta.len()),
            "a key file holds a key and little else; is this the right file?",
        ));
    }
    Ok(Version { modified: meta.modified().ok(), bytes: meta.len() })
}

pub(super) fn private(mode: u32, path: &Path) -> Result<(), Fault> {
    if mode & 0o077 != 0 {
        return Err(Fault::refused(
            format!("others may read or change the file (mode {mode:04o})"),
            format!("chmod 600 {}", word(path)),
        ));
    }
    Ok(())
}

/// How long a file must still be left alone; a time in the future says nothing and counts as old.
fn unsettled(version: &Version, settle: Duration) -> Option<Duration> {
    let age = SystemTime::now().duration_since(version.modified?).ok()?;
    settle.checked_sub(age).filter(|rest| !rest.is_zero())
}

fn irregular() -> Fault {
    Fault::refused(
        "this is not a regular file",
        "put the key into a plain file (a symbolic link to one is fine)",
    )
}

fn unreadable(error: &io::Error) -> Fault {
    let hint = "make sure that the file belongs to you and has mode 600";
    Fault::of_system("the file cannot be read", error, hint)
}
