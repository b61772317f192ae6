//! Whether secrets stand in a git work tree, from where they would be published.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::finding::Findings;
use crate::shell;

const CHECK: &str = "git";

pub(super) fn check(secrets: &[PathBuf], found: &mut Findings) {
    // A link is where it leads: dotfiles repositories are made of links.
    let mut dirs: BTreeMap<PathBuf, Vec<OsString>> = BTreeMap::new();
    for file in secrets.iter().filter_map(|path| path.canonicalize().ok()) {
        if let (Some(dir), Some(name)) = (file.parent(), file.file_name()) {
            dirs.entry(dir.to_owned()).or_default().push(name.to_owned());
        }
    }
    dirs.retain(|dir, _| dir.ancestors().any(|dir| dir.join(".git").exists()));
    if dirs.is_empty() {
        found.ok(CHECK, "no secret stands in a git repository");
    }
    for (dir, names) in dirs {
        if let Err(error) = directory(&dir, &names, found) {
            let message = format!("{} is in a git repository: {error}", dir.display());
            found.warning(CHECK, message, "make sure that git does not track it, and ignores it");
        }
    }
}

fn directory(dir: &Path, names: &[OsString], found: &mut Findings) -> io::Result<()> {
    let tracked = git(dir, &["ls-files", "-z", "--"], names)?;
    let open = git(dir, &["ls-files", "-z", "--others", "--exclude-standard", "--"], names)?;
    for name in &tracked {
        let hint = format!(
            "if it was ever pushed, make a new key at the provider; then: git -C {} rm --cached {}",
            shell::word(dir),
            shell::word(Path::new(name)),
        );
        found.problem(CHECK, format!("{} is tracked by git", dir.join(name).display()), hint);
    }
    let shown = dir.display();
    if !open.is_empty() {
        let list: Vec<_> = open.iter().map(|name| name.to_string_lossy()).collect();
        let message = format!("git does not ignore, in {shown}: {}", list.join(", "));
        let hint = "add them to .gitignore, or move kmi's home out of the repository";
        found.warning(CHECK, message, hint);
    }
    if tracked.is_empty() && open.is_empty() {
        found.ok(CHECK, format!("git ignores the secrets in {shown}"));
    }
    Ok(())
}

/// The names, of those given, that a git command prints.
fn git(dir: &Path, command: &[&str], names: &[OsString]) -> io::Result<Vec<OsString>> {
    let mut git = Command::new("git");
    // No program that the repository's own configuration names is run.
    git.args(["-c", "core.fsmonitor=false", "--literal-pathspecs", "-C"]).arg(dir);
    git.args(command).args(names).stdin(Stdio::null());
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    let output = git.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other("git is not there to be asked about it"),
        _ => error,
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().next().unwrap_or("git failed without a word");
        return Err(io::Error::other(line.trim_start_matches("fatal: ").to_owned()));
    }
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
}
