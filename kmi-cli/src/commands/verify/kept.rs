//! What was kept elsewhere: a checkpoint, and the public key that tells whose it is.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use kmi_stats::checkpoint::{Checkpoint, PublicKey};

use crate::report::{Failure, USAGE};

/// No file of ours is longer, in bytes.
const MAX_FILE: u64 = 8192;

/// What a checkpoint states; with a key only if that has signed it.
pub(super) fn checkpoint(path: &Path, signer: Option<&PublicKey>) -> Result<Checkpoint, Failure> {
    let note = read(path)?;
    let stated = match signer {
        Some(signer) => signer.check(&note),
        None => Checkpoint::parse(&note),
    };
    stated.map_err(|error| {
        let hint = "`kmi trace head` prints checkpoints, and `--public-key` the key to check with";
        Failure::new(format!("{}: {error}", path.display()), hint)
    })
}

/// A public key out of a file.
pub(super) fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    read(path)?.parse().map_err(|error| {
        let hint = "`kmi trace head --public-key > FILE` writes one";
        Failure::new(format!("{}: {error}", path.display()), hint).code(USAGE)
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|error: io::Error| {
        let hint = "name a file that `kmi trace head` wrote";
        Failure::new(format!("cannot read {}: {error}", path.display()), hint).code(USAGE)
    })
}
