//! Whether files and directories are only their owner's; `--fix` makes them so.
//!
//! Key files, `.env`, the token and the home's secret are refused by whoever reads them, in words
//! of their own; here they are only tightened.

use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use kmi_proxy::{home::Home, keys};

use super::finding::{Findings, Level};
use crate::shell;

const CHECK: &str = "files";

/// What a file or directory may be used for by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Others must not write; that they can look into it is only untidy.
    Directory,
    /// Others must not write: it decides where keys go.
    Settings,
    /// Others must not even read.
    Private,
    /// The same, but somebody else reports it.
    Refused,
}

pub(super) fn check(home: &Home, config: &Path, fix: bool, found: &mut Findings) {
    if !home.root().exists() {
        let message = format!("there is no home at {} yet", home.root().display());
        found.warning(CHECK, message, "`kmi init` makes one");
        return;
    }
    let before = found.all().len();
    for (path, kind) in list(home, config) {
        match fs::metadata(&path) {
            Ok(metadata) => one(&path, kind, &metadata, fix, found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!("{} cannot be looked at: {error}", path.display());
                found.problem(CHECK, message, "make sure that the home belongs to you");
            }
        }
    }
    if found.all()[before..].iter().all(|finding| finding.level == Level::Ok) {
        found.ok(CHECK, format!("{} is yours alone", home.root().display()));
    }
}

fn list(home: &Home, config: &Path) -> Vec<(PathBuf, Kind)> {
    let dirs = [home.root(), home.auths_dir(), home.state_dir(), &home.run_dir()];
    let mut list: Vec<_> = dirs.map(|dir| (dir.to_owned(), Kind::Directory)).into();
    list.push((config.to_owned(), Kind::Settings));
    list.extend(secrets(home).into_iter().map(|path| (path, Kind::Refused)));
    let state = fs::read_dir(home.state_dir()).into_iter().flatten().flatten();
    let mut state: Vec<PathBuf> = state.map(|entry| entry.path()).collect();
    state.retain(|path| *path != home.token_file() && *path != home.secret_file());
    state.sort();
    list.extend(state.into_iter().map(|path| (path, Kind::Private)));
    list
}

/// The files that hold keys, the token or the home's secret.
pub(super) fn secrets(home: &Home) -> Vec<PathBuf> {
    let mut files = vec![home.env_file(), home.token_file(), home.secret_file()];
    files.extend(keys::files(home.auths_dir()));
    files
}

fn one(path: &Path, kind: Kind, metadata: &Metadata, fix: bool, found: &mut Findings) {
    let mode = metadata.permissions().mode() & 0o7777;
    let shown = path.display();
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let hint = format!("take it back as its owner: chown {} {}", user(), shell::word(path));
        return found.problem(CHECK, format!("{shown} belongs to another user"), hint);
    }
    let for_others = mode & 0o077;
    if for_others == 0 {
        return;
    }
    if fix {
        match fs::set_permissions(path, Permissions::from_mode(mode & !0o077)) {
            Ok(()) => found.ok(CHECK, format!("{shown} is private now (its mode was {mode:04o})")),
            Err(error) => {
                let hint = "look at its file system: does it keep modes?";
                found.problem(CHECK, format!("{shown} stays open to others: {error}"), hint);
            }
        }
        return;
    }
    let hint = || {
        let bits = if kind == Kind::Directory { 700 } else { 600 };
        format!("`kmi doctor --fix` tightens it, as does: chmod {bits} {}", shell::word(path))
    };
    let writable = mode & 0o022 != 0;
    match kind {
        Kind::Directory | Kind::Settings if writable => {
            let message = format!("others may change {shown} (mode {mode:04o})");
            found.problem(CHECK, message, hint());
        }
        Kind::Directory => {
            let message = format!("others may look into {shown} (mode {mode:04o})");
            found.warning(CHECK, message, hint());
        }
        Kind::Private => {
            let message = format!("others may read or change {shown} (mode {mode:04o})");
            found.problem(CHECK, message, hint());
        }
        Kind::Settings | Kind::Refused => {}
    }
}

fn user() -> String {
    rustix::process::geteuid().as_raw().to_string()
}
