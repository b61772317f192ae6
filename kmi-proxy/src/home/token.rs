//! Files with 256 random bits: the client token and the home's secret.

use std::{
    fmt, fs,
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    HomeError,
    private::{create_private_file, random},
};

const BYTES: usize = 32;

/// The client token as 64 hex digits; wiped when dropped.
///
/// It has no `Display` and no `Serialize`, and its `Debug` says nothing. [`Token::expose`] is for
/// the environment of clients only.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes 256 random bits.
    pub fn new(bytes: &[u8; BYTES]) -> Self {
        Self(Zeroizing::new(hex::encode(bytes)))
    }

    /// The text, to hand it to a client.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a client sent this token; the time taken does not tell how much of it was right.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The bits in a file, or `None` without the file.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<[u8; BYTES]>>, HomeError> {
    let damaged = |why| HomeError::Damaged { path: path.to_owned(), why };
    let unreadable = |source| HomeError::Read { path: path.to_owned(), source };
    // Without NONBLOCK opening a pipe that somebody put there would wait forever.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match fs::OpenOptions::new().read(true).custom_flags(nonblock).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(unreadable(source)),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(damaged("it is not a regular file"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(HomeError::Exposed { path: path.to_owned(), mode });
    }
    // One byte more than the line that was written, so that a longer file is noticed.
    let mut line = Zeroizing::new(Vec::with_capacity(2 * BYTES + 2));
    file.take(2 * BYTES as u64 + 2).read_to_end(&mut line).map_err(unreadable)?;
    let digits = line.strip_suffix(b"\n").unwrap_or(&line);
    let mut bytes = Zeroizing::new([0; BYTES]);
    hex::decode_to_slice(digits, &mut *bytes)
        .map_err(|_| damaged("it does not hold exactly 64 hex digits"))?;
    Ok(Some(bytes))
}

/// The bits in a file; a missing file is made first, by exactly one of all processes that try.
pub(super) fn read_or_make(path: &Path) -> Result<Zeroizing<[u8; BYTES]>, HomeError> {
    if let Some(bytes) = read(path)? {
        return Ok(bytes);
    }
    let mut bytes = Zeroizing::new([0; BYTES]);
    random(&mut *bytes)?;
    let line = Zeroizing::new(hex::encode(*bytes) + "\n");
    // Read again in any case: another process may have been faster, and then its file counts.
    create_private_file(path, line.as_bytes())?;
    read(path)?.ok_or_else(|| HomeError::Read {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::NotFound, "it was removed while kmi started"),
    })
}
