//! Keys that stand elsewhere, to be taken over: another program's files, or a directory of kmi's
//! predecessor.
//!
//! Unlike key files they may be readable by others (which is told); no program that such a file
//! names is ever run, and no further file is read.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use kmi_core::key::HomeSecret;

use super::{
    dir,
    format::Format,
    load::{Described, Loaded, Sources, admit, describe, read_variable},
    problem::{Fault, Problem, Severity, shown, word},
    read,
};

/// Reads a file, or the key files of a directory, and the variables of `sources`; its own
/// directory is not looked at.
pub fn survey(path: Option<&Path>, sources: &Sources, home: &HomeSecret) -> Loaded {
    let (files, mut problems) = path.map(files).unwrap_or_default();
    let mut described = Vec::new();
    for (path, format) in files {
        match read::read_foreign(&path) {
            Ok(Some(contents)) => {
                problems.extend(exposed(&path));
                describe(&path, format, &contents, sources, &mut described, &mut problems);
            }
            Ok(None) => {
                let fault = Fault::refused("there is no such file", "check the spelling");
                problems.push(fault.in_file(&shown(&path)));
            }
            Err(fault) => problems.push(fault.in_file(&shown(&path))),
        }
    }
    for key in &sources.env {
        read_variable(key, sources, &mut described, &mut problems);
    }
    let (given, elsewhere): (Vec<_>, Vec<_>) =
        described.into_iter().partition(|it| it.spec.source.is_given());
    problems.extend(elsewhere.iter().map(|it| only_says_where(it, &sources.dir)));
    admit(given, problems, sources, home)
}

fn files(path: &Path) -> (Vec<(PathBuf, Format)>, Vec<Problem>) {
    if path.is_dir() {
        return dir::list(path);
    }
    if let Some(format) = Format::of(path) {
        return (vec![(path.to_owned(), format)], Vec::new());
    }
    let hint = "key files end in .env, .toml, .json or .key";
    let fault = Fault::refused("this is no file that keys are known to stand in", hint);
    (Vec::new(), vec![fault.in_file(&shown(path))])
}

fn exposed(path: &Path) -> Option<Problem> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then(|| {
        let message = format!("others may read or change this file (mode {mode:04o})");
        let hint = format!("a copy in it stays exposed: chmod 600 {}", word(path));
        Fault::new(Severity::Warning, message, hint).in_file(&shown(path))
    })
}

fn only_says_where(it: &Described, dir: &Path) -> Problem {
    let message = "it only says where the key is, which is not looked up".to_owned();
    let hint = format!("copy the file itself, if that is right here too: cp FILE {}", word(dir));
    it.problem(Severity::Refused, message, hint)
}
