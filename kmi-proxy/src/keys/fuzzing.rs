//! Reads key files without a disk, for `crate::fuzzing`.

use std::path::Path;

use super::{format::Format, problem::shown, spec::KeySpec};
use crate::settings::UpstreamSettings;

/// Stands in keys of the corpus; no message may repeat it.
pub(crate) const KEY_MARK: &str = "Zq7Xv";

/// All that would be told of a file.
pub(crate) fn read(path: &Path, text: &str, upstreams: &[UpstreamSettings]) -> Vec<String> {
    let file = shown(path);
    let Some(format) = Format::of(path) else { return Vec::new() };
    let entries = format.parse(text, "stem").into_iter();
    let faults =
        entries.filter_map(|entry| entry.and_then(|it| KeySpec::check(it, upstreams)).err());
    let problems = faults.flatten().map(|fault| fault.in_file(&file));
    problems.flat_map(|problem| [problem.to_string(), problem.hint().to_owned()]).collect()
}
