//! How source files look.

use std::path::Path;

use crate::{read, rust_files};

/// Lines of a file without its tests.
const MAX_LINES: usize = 400;

/// The one place with `unsafe`, and how often it may stand there.
const UNSAFE: (&str, usize) = ("kmi-proxy/src/ledger/page.rs", 1);

/// Whether a file is nothing but tests, or a benchmark.
fn is_test(path: &Path) -> bool {
    path.starts_with("tests")
        || path.starts_with("benches")
        || path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name().is_some_and(|name| name == "tests.rs")
}

/// A file's lines before its test module.
fn without_tests(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let inline_tests = lines.windows(2).position(|two| {
        two[0].trim() == "#[cfg(test)]"
            && two[1].trim_start().starts_with("mod ")
            && two[1].ends_with('{')
    });
    lines[..inline_tests.unwrap_or(lines.len())].to_vec()
}

#[test]
fn no_file_is_long_without_its_tests() {
    for path in rust_files().iter().filter(|path| !is_test(path)) {
        let lines = without_tests(&read(path)).len();
        assert!(lines <= MAX_LINES, "{}: {lines} lines, split it", path.display());
    }
}

#[test]
fn no_module_is_named_after_nothing() {
    for path in rust_files() {
        for part in path.with_extension("").components() {
            let name = part.as_os_str().to_string_lossy();
            let vague = ["common", "helper", "helpers", "misc", "util", "utils"];
            assert!(!vague.contains(&&*name), "{}: name it after what it does", path.display());
        }
    }
}

#[test]
fn every_module_says_what_it_is() {
    for path in rust_files().iter().filter(|path| !is_test(path)) {
        assert!(read(path).starts_with("//!"), "{}: begin with `//!`", path.display());
    }
}

#[test]
fn unsafe_code_is_forbidden_but_for_one_place() {
    for name in ["kmi-core", "kmi-health", "kmi-stats", "kmi-tui"] {
        let text = read(format!("{name}/src/lib.rs"));
        assert!(text.contains("\n#![forbid(unsafe_code)]\n"), "{name} does not forbid unsafe code");
    }
    assert!(read("kmi-cli/src/main.rs").contains("\n#![forbid(unsafe_code)]\n"));
    for path in rust_files().iter().filter(|path| !path.starts_with("tests/house")) {
        let text = read(path);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code
            .flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .filter(|word| *word == "unsafe")
            .count();
        let allowed = if path == Path::new(UNSAFE.0) { UNSAFE.1 } else { 0 };
        assert_eq!(found, allowed, "{}: unsafe code", path.display());
    }
}

#[test]
fn no_test_is_switched_off() {
    for path in rust_files().iter().filter(|path| !path.starts_with("tests/house")) {
        let text = read(path);
        let off = text.lines().any(|line| line.trim_start().starts_with("#[ignore"));
        assert!(!off, "{}: a test that does not run proves nothing", path.display());
    }
}

#[test]
fn tests_are_told_from_what_they_test() {
    let text = "//! A.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
    assert_eq!(without_tests(text), ["//! A.", "fn a() {}", ""]);
    let elsewhere = "//! A.\n#[cfg(test)]\nmod tests;\n";
    assert_eq!(without_tests(elsewhere).len(), 3);
    assert!(is_test(Path::new("kmi-core/src/rotation/tests.rs")));
    assert!(is_test(Path::new("kmi-proxy/src/keys/tests/laws.rs")));
    assert!(!is_test(Path::new("kmi-proxy/src/keys/load.rs")));
}
