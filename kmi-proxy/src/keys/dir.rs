//! Which files of the key directory are key files.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, path::PathBuf};

use super::{
    format::Format,
    problem::{Fault, Problem, Severity, shown, word},
};

/// Most entries of the directory that are looked at.
pub(super) const MAX_ENTRIES: usize = 4096;

/// The key files in order of their names, and what is odd about the directory.
pub(super) fn list(dir: &Path) -> (Vec<(PathBuf, Format)>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut report = |path: &Path, fault: Fault| problems.push(fault.in_file(&shown(path)));
    let names = match names(dir) {
        Ok(names) => names,
        Err(error) => {
            report(dir, missing(dir, &error));
            return (Vec::new(), problems);
        }
    };
    if let Some(fault) = exposed(dir) {
        report(dir, fault);
    }
    let mut files = Vec::new();
    for (at, name) in names.iter().filter(|name| !is_ignored(&name.to_string_lossy())).enumerate() {
        if at == MAX_ENTRIES {
            report(dir, too_many());
            break;
        }
        let path = dir.join(name);
        match Format::of(&path) {
            Some(format) => files.push((path, format)),
            None => report(&path, unknown()),
        }
    }
    (files, problems)
}

/// The key files of a directory in order of their names, whatever stands in them.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    list(dir).0.into_iter().map(|(path, _)| path).collect()
}

fn names(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    // One more than is used, so that the excess is noticed; hidden ones do not count.
    let entries = fs::read_dir(dir)?.take(8 * MAX_ENTRIES);
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Hidden files, editor backups and `README*`, which nobody means as keys.
pub(super) fn is_ignored(name: &str) -> bool {
    const BACKUPS: [&str; 7] = ["~", ".bak", ".swp", ".swo", ".orig", ".tmp", ".example"];
    name.starts_with('.')
        || name.starts_with("README")
        || (name.starts_with('#') && name.ends_with('#'))
        || BACKUPS.iter().any(|end| name.ends_with(end))
}

fn exposed(dir: &Path) -> Option<Fault> {
    let mode = fs::metadata(dir).ok()?.permissions().mode() & 0o7777;
    (mode & 0o022 != 0).then(|| {
        Fault::new(
            Severity::Warning,
            format!("others may add or replace key files in this directory (mode {mode:04o})"),
            format!("chmod 700 {}", word(dir)),
        )
    })
}

fn missing(dir: &Path, error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::NotFound {
        let hint = format!("kmi init, or: mkdir -m 700 {}", word(dir));
        return Fault::new(Severity::Warning, "there is no key directory here", hint);
    }
    let hint = format!("make sure that it is a directory of yours: chmod 700 {}", word(dir));
    Fault::of_system("the key directory cannot be read", error, hint)
}

fn too_many() -> Fault {
    Fault::refused(
        format!("the directory has more than {MAX_ENTRIES} files; the rest is not read"),
        "put many keys into one keys.toml",
    )
}

fn unknown() -> Fault {
    Fault::new(
        Severity::Notice,
        "ignored: this is no key file",
        "key files end in .env, .toml, .json or .key",
    )
}
