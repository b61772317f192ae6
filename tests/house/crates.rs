//! The crate graph is the architecture: who may import whom, and what the pure crates do without.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::read;

/// Every crate with the crates of ours that it may import.
const MAY_IMPORT: [(&str, &[&str]); 8] = [
    ("kmi-core", &[]),
    ("kmi-health", &["kmi-core"]),
    ("kmi-stats", &["kmi-core"]),
    ("kmi-proxy", &["kmi-core", "kmi-health", "kmi-stats"]),
    ("kmi-tui", &["kmi-core", "kmi-health", "kmi-stats"]),
    ("kmi-cli", &["kmi-core", "kmi-health", "kmi-stats", "kmi-proxy", "kmi-tui"]),
    ("tests", &["kmi-core", "kmi-health", "kmi-stats", "kmi-proxy"]),
    ("benches", &["kmi-core", "kmi-health", "kmi-stats", "kmi-proxy", "kmi-tests"]),
];

/// Crates that take time and input as arguments.
const PURE: [&str; 3] = ["kmi-core", "kmi-health", "kmi-stats"];

/// What would bring sockets, files, threads or an async runtime into a pure crate.
const IMPURE: [&str; 12] = [
    "async-std",
    "dotenvy",
    "hyper",
    "hyper-util",
    "memmap2",
    "mio",
    "notify",
    "rusqlite",
    "rustix",
    "rustls",
    "socket2",
    "tokio",
];

/// What a pure crate's clippy.toml has to ban.
const BANNED: [&str; 8] = [
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "jiff::Timestamp::now",
    "std::env::var",
    "std::fs::read",
    "std::fs::File::open",
    "std::thread::spawn",
    "std::thread::sleep",
];

fn manifest(dir: &str) -> Table {
    read(format!("{dir}/Cargo.toml")).parse().expect("a manifest is TOML")
}

fn names(manifest: &Table, tables: &[&str]) -> BTreeSet<String> {
    let tables = tables.iter().filter_map(|table| manifest.get(*table).and_then(Value::as_table));
    tables.flat_map(|table| table.keys().cloned()).collect()
}

const ALL_DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

#[test]
fn the_table_has_every_crate() {
    let workspace = read("Cargo.toml").parse::<Table>().expect("TOML");
    let members = workspace["workspace"]["members"].as_array().expect("members").iter();
    let members: BTreeSet<_> = members.filter_map(Value::as_str).collect();
    assert_eq!(members, MAY_IMPORT.iter().map(|(name, _)| *name).collect());
}

#[test]
fn crates_import_only_what_they_may() {
    for (dir, allowed) in MAY_IMPORT {
        for name in names(&manifest(dir), &ALL_DEPENDENCIES) {
            let is_ours = name.starts_with("kmi-");
            assert!(!is_ours || allowed.contains(&&*name), "{dir} must not import {name}");
        }
    }
}

#[test]
fn versions_and_features_stand_in_one_place() {
    for (dir, _) in MAY_IMPORT {
        let manifest = manifest(dir);
        for table in ALL_DEPENDENCIES {
            let Some(table) = manifest.get(table).and_then(Value::as_table) else { continue };
            for (name, entry) in table {
                let workspace = entry.get("workspace").and_then(Value::as_bool);
                assert_eq!(workspace, Some(true), "{dir}: {name} names a version of its own");
            }
        }
    }
}

#[test]
fn pure_crates_reach_no_socket_file_or_runtime() {
    let lock: Table = read("Cargo.lock").parse().expect("TOML");
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("packages") {
        let Some(name) = package["name"].as_str() else { continue };
        let dependencies = package.get("dependencies").and_then(Value::as_array);
        let dependencies = dependencies.into_iter().flatten().filter_map(Value::as_str);
        // "name version" where there are several versions.
        let dependencies = dependencies.filter_map(|text| text.split(' ').next());
        needs.entry(name).or_default().extend(dependencies);
    }
    // In the lock file a package of ours needs its tests' tools too; those may touch files.
    for dir in PURE {
        let mut open: Vec<String> =
            names(&manifest(dir), &["dependencies", "build-dependencies"]).into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            assert!(!IMPURE.contains(&&*name), "{dir} is pure and reaches {name}");
            if !name.starts_with("kmi-") && seen.insert(name.clone()) {
                open.extend(needs.get(&*name).into_iter().flatten().map(|&name| name.to_owned()));
            }
        }
        assert!(seen.contains("serde"), "the search finds too little");
    }
}

#[test]
fn pure_crates_ban_clocks_files_and_environment() {
    let workspace: Table = read("clippy.toml").parse().expect("TOML");
    for dir in PURE {
        let own: Table = read(format!("{dir}/clippy.toml")).parse().expect("TOML");
        let banned = |table: &Table| -> BTreeSet<String> {
            let methods = table["disallowed-methods"].as_array().into_iter().flatten();
            methods.filter_map(|it| it["path"].as_str()).map(str::to_owned).collect()
        };
        let own_bans = banned(&own);
        for path in BANNED {
            assert!(own_bans.contains(path), "{dir}/clippy.toml does not ban {path}");
        }
        // A crate's clippy.toml replaces the workspace's, so it must repeat what that one bans.
        assert!(own_bans.is_superset(&banned(&workspace)), "{dir}/clippy.toml repeats too little");
    }
}

#[test]
fn lints_are_the_workspaces_and_no_crate_has_a_default_bench() {
    for (dir, _) in MAY_IMPORT {
        let manifest = manifest(dir);
        let lints = manifest.get("lints").and_then(|it| it.get("workspace"));
        assert_eq!(lints.and_then(Value::as_bool), Some(true), "{dir}: lints");
        let bins = manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
        let targets: Vec<_> = manifest.get("lib").into_iter().chain(bins).collect();
        assert!(!targets.is_empty(), "{dir} must say `bench = false` of its library or program");
        for target in targets {
            // Otherwise `cargo bench` runs the test harness of every crate, and trips over
            // criterion's options there.
            assert_eq!(target.get("bench").and_then(Value::as_bool), Some(false), "{dir}: bench");
        }
    }
}

#[test]
fn anyhow_stays_at_the_rim() {
    for (dir, _) in MAY_IMPORT {
        let uses = names(&manifest(dir), &["dependencies"]).contains("anyhow");
        let may = matches!(dir, "kmi-cli" | "tests" | "benches");
        assert!(!uses || may, "{dir} is a library: its errors are types");
    }
}
