//! Whether the documents say what is true.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use kmi_stats::{
    report::{Report, Verdict},
    verify::{InFlight, Options, Verifier},
};
use toml::{Table, Value};

use crate::{files_below, read, root, rust_files};

/// The part of a document below a heading, up to the next one of the same kind.
fn section(document: &str, heading: &str) -> String {
    let text = read(document);
    let (_, below) = text.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    below.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The texts between `backticks`.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The rows of the tables of a text, cell by cell, without their heads.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = lines.map(|line| line.split('|').map(str::trim).collect());
    let rows: Vec<Vec<&str>> = cells.collect();
    let is_rule = |row: &Vec<&str>| row.iter().all(|cell| cell.starts_with("---"));
    let body = rows.iter().position(is_rule).map_or(0, |rule| rule + 1);
    rows[body..].to_vec()
}

#[test]
fn readmes_commands_are_the_gates() {
    let set_up = section("README.md", "Set up");
    let blocks = set_up.split("```sh\n").skip(1).filter_map(|block| block.split("\n```").next());
    let commands: Vec<&str> = blocks.collect();
    assert_eq!(commands.len(), 2, "two set-up commands: {commands:?}");
    let gate = read(".ci/run");
    for command in commands {
        assert!(!command.contains('\n'), "one command in a block: {command}");
        let runs = |line: &str| line.contains(" step '") && line.ends_with(&format!("' {command}"));
        assert!(gate.lines().any(|line| runs(&format!(" {line}"))), ".ci/run lacks: {command}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let workspace: Table = read("Cargo.toml").parse().expect("TOML");
    let table = workspace["workspace"]["dependencies"].as_table().expect("a table");
    let features = |entry: &Value| -> BTreeSet<String> {
        let features = entry.get("features").and_then(Value::as_array).into_iter().flatten();
        features.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let needed: BTreeMap<String, BTreeSet<String>> = table
        .iter()
        .filter(|(name, _)| !name.starts_with("kmi-"))
        .map(|(name, entry)| (name.clone(), features(entry)))
        .collect();
    let document = section("CONTRIBUTING.md", "Dependencies");
    let explained: BTreeMap<String, BTreeSet<String>> = rows(&document)
        .iter()
        .map(|row| {
            let mut words = quoted(row[0]).into_iter().map(str::to_owned);
            (words.next().unwrap_or_default(), words.collect())
        })
        .collect();
    assert_eq!(needed, explained, "left: Cargo.toml, right: CONTRIBUTING.md");
}

#[test]
fn every_dependency_is_used() {
    let sources: Vec<_> = rust_files().iter().map(|path| (path.clone(), read(path))).collect();
    let workspace: Table = read("Cargo.toml").parse().expect("TOML");
    let all = workspace["workspace"]["dependencies"].as_table().expect("a table").keys();
    let mut unused: BTreeSet<&String> = all.collect();
    for member in workspace["workspace"]["members"].as_array().into_iter().flatten() {
        let dir = member.as_str().expect("a directory");
        let manifest: Table = read(format!("{dir}/Cargo.toml")).parse().expect("TOML");
        for table in ["dependencies", "dev-dependencies"] {
            let Some(table) = manifest.get(table).and_then(Value::as_table) else { continue };
            for name in table.keys() {
                let path = format!("{}::", name.replace('-', "_"));
                let import = format!("use {}", name.replace('-', "_"));
                let uses = |text: &String| text.contains(&path) || text.contains(&import);
                let found = sources.iter().any(|(file, text)| file.starts_with(dir) && uses(text));
                assert!(found, "{dir} does not use {name}");
                unused.remove(name);
            }
        }
    }
    assert!(unused.is_empty(), "no crate uses {unused:?}");
}

/// Whether the last cells of a document's tables name tests that the gate runs, and each row one.
fn each_row_is_checked(tables: &[Vec<&str>]) {
    let sources: String = rust_files().iter().map(read).collect();
    // A function alone is no test: what stands above it must say that it is one.
    let in_rust = |test: &str| {
        sources.match_indices(&format!("fn {test}(")).any(|(at, _)| {
            let above = sources[..at].rsplit('\n').skip(1).map(str::trim);
            let mut marks =
                above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
            marks.any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
        })
    };
    // Scripts check too: those that the gate runs, and of them what is in their list.
    let gate = read(".ci/run");
    let mut scripts = files_below("tests");
    scripts.retain(|path| {
        let is_script = path.extension().is_some_and(|extension| extension == "py");
        is_script && gate.contains(&*path.to_string_lossy())
    });
    let scripts: String = scripts.iter().map(read).collect();
    let in_script = |test: &str| {
        scripts.contains(&format!("\ndef {test}(")) && scripts.contains(&format!("\n    {test},\n"))
    };
    for row in tables {
        let tests = quoted(row.last().expect("a cell"));
        assert!(!tests.is_empty(), "nothing checks: {}", row[0]);
        for test in tests {
            assert!(in_rust(test) || in_script(test), "no test is called {test}: {}", row[0]);
        }
    }
}

#[test]
fn security_names_tests_that_exist() {
    let document = section("SECURITY.md", "What is promised");
    let promises = rows(&document);
    assert!(promises.len() > 10, "the table was not found");
    each_row_is_checked(&promises);
}

#[test]
fn reliability_names_tests_that_exist() {
    for (heading, least) in [("Faults, and what comes of them", 20), ("Threads", 2)] {
        let document = section("docs/reliability.md", heading);
        let tables = rows(&document);
        assert!(tables.len() >= least, "the table was not found: {heading}");
        each_row_is_checked(&tables);
    }
}

/// How many requests and answers stand in the tables of the edge.
#[test]
fn the_edge_is_as_long_as_the_documents_say() {
    let cases = |name: &str| read(format!("tests/edge/{name}")).matches("\n[[case]]\n").count();
    let (requests, answers) = (cases("client.toml"), cases("upstream.toml"));
    let (security, reliability) = (read("SECURITY.md"), read("docs/reliability.md"));
    for (document, words) in [
        (&security, format!("Of {requests} hostile requests")),
        (&security, format!("of {answers} hostile answers")),
        (&security, format!("| {requests} byte for byte;")),
        (&security, format!("| {answers} written ones;")),
        (&reliability, format!("| {requests} (`tests/edge/client.toml`) |")),
        (&reliability, format!("| {answers} (`tests/edge/upstream.toml`) |")),
    ] {
        assert!(document.contains(&words), "no document says: {words}");
    }
}

#[test]
fn the_map_knows_every_module() {
    let map = section("ARCHITECTURE.md", "Code map");
    let (crates, _) = map.split_once("### tests, benches").expect("the end of the crates");
    for part in crates.split("\n### ").skip(1) {
        let name = part.lines().next().expect("a crate's name").trim();
        let entry = if name == "kmi-cli" { "main.rs" } else { "lib.rs" };
        let text = read(format!("{name}/src/{entry}"));
        // What exists for tests only is no part of the map.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let modules = text.lines().filter_map(|line| {
            line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')
        });
        let modules: Vec<_> = modules.collect();
        assert!(modules.len() > 4, "{name}: the modules were not found");
        let named = quoted(part);
        for module in &modules {
            assert!(named.contains(module), "ARCHITECTURE.md does not know {name}'s `{module}`");
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let mut documents = files_below("");
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut links = 0;
    for document in documents {
        let text = read(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with('#') {
                continue;
            }
            let folder = document.parent().unwrap_or(Path::new(""));
            let target = root().join(folder).join(link.split('#').next().unwrap_or_default());
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            links += 1;
        }
    }
    assert!(links > 8, "the links were not found");
}

fn verified(path: &str) -> Report {
    let mut verifier = Verifier::new(Options::default());
    for line in read(path).lines() {
        verifier.line(line.as_bytes()).expect("not filtered");
    }
    verifier.report(&InFlight::None)
}

/// The other two examples, and what the page says of them.
#[test]
fn the_gap_and_the_violation_are_what_their_page_says() {
    let gap = verified("docs/example-gap.jsonl");
    assert_eq!(gap.findings, []);
    let all = &gap.all;
    assert_eq!(
        (gap.chain.ok, gap.chain.records, all.verdict),
        (true, 10, Verdict::InsufficientData)
    );
    assert_eq!((all.turns, all.conforming, all.open, all.unlinked), (8, 8, 0, 0));
    assert_eq!((all.gaps[0].from_turn, all.gaps[0].to_turn), (4, 5));
    assert!(all.gaps[0].slots_known);

    let violated = verified("docs/example-violated.jsonl");
    let all = &violated.all;
    assert_eq!((violated.chain.ok, violated.chain.records), (true, 11));
    assert_eq!((all.verdict, all.turns, all.conforming), (Verdict::Violated, 10, 8));
    let turns: Vec<_> = violated.findings.iter().map(|it| it.turn).collect();
    assert_eq!(turns, [Some(5), Some(6)]);
    assert!(violated.findings[0].what.contains("slot 0 was chosen; the next eligible one is 2"));
    assert!((all.max_pair_gap - 3.0).abs() < 1e-9, "{}", all.max_pair_gap);
}

/// The numbers that docs/trace-format.md promises of its example.
#[test]
fn the_example_trace_is_what_its_page_says() {
    let page = section("docs/trace-format.md", "The examples");
    let report = verified("docs/example-trace.jsonl");
    assert_eq!(report.findings, []);
    let (chain, all) = (&report.chain, &report.all);
    assert_eq!((chain.ok, chain.records), (true, 11));
    assert!(page.contains("11 lines") && page.contains(&format!("head `{}`", chain.head)));
    assert_eq!((all.turns, all.conforming, all.open), (10, 10, 0));
    assert!(page.contains(&format!("confidence\n{:.12}", all.confidence)));
    assert_eq!(all.verdict, Verdict::InsufficientData);
    let shares: Vec<_> = all.shares.iter().map(|it| (&*it.label, it.turns)).collect();
    assert_eq!(shares, [("alpha", 4), ("beta", 3), ("gamma", 3)]);
    for (share, expected) in all.shares.iter().zip([4.0, 2.5, 3.5]) {
        assert!((share.expected - expected).abs() < 1e-9, "{}: {}", share.label, share.expected);
    }
    assert!((all.max_pair_gap - 1.0).abs() < 1e-9);
}
