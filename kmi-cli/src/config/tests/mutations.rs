//! What has to hold of every configuration (`config/fuzzing.rs`), for the corpus of the fuzz target
//! as it is, and for that and the example damaged in a few thousand ways.

use fastrand::Rng;

use super::*;
use crate::config::fuzzing::{self, SECRET};

/// Of each file of the corpus; `KMI_MUTATIONS` asks for more.
const MUTATIONS: usize = 100;

/// What stands where a value should.
const VALUES: [&str; 24] = [
    "",
    "\"\"",
    "0",
    "-1",
    "1.5",
    "1e999",
    "nan",
    "inf",
    "true",
    "false",
    "\"1h\"",
    "\"-1s\"",
    "[]",
    "[1, \"a\", [true]]",
    "{}",
    "{ a = { b = 1 } }",
    "1979-05-27T07:32:00Z",
    "99999999999999999999",
    "18446744073709551615",
    "9223372036854775807",
    "\"99999999999999999999h\"",
    "\"\\u001b]0;title\\u0007\\u202e\\u0000\"",
    "\"\u{1b}[31m\u{7}\"",
    "\"18446744073709551615GiB\"",
];

/// Lines that are cut, moved, doubled and set anew, and a few bytes.
fn damaged(rng: &mut Rng, data: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = data.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for _ in 0..rng.usize(1..=4) {
        let (a, b) = (rng.usize(..lines.len()), rng.usize(..lines.len()));
        let equals = lines[a].iter().position(|byte| *byte == b'=').unwrap_or(lines[a].len());
        match rng.u8(..10) {
            0 if lines.len() > 1 => drop(lines.remove(a)),
            1 => lines.insert(b, lines[a].clone()),
            2 => lines.swap(a, b),
            3 => lines[a] = [&b"["[..], &lines[a], b"]"].concat(),
            4 => drop(lines[a].splice(equals..equals, *b".x ")),
            5 => lines
                .insert(a, [b"x = ".to_vec(), b"[".repeat(b * 20), b"]".repeat(b * 20)].concat()),
            6 => lines.insert(a, [&b"a.".repeat(b * 20)[..], b"x = 1"].concat()),
            _ => {
                let value = match rng.usize(..=VALUES.len()) {
                    n if n < VALUES.len() => VALUES[n].to_owned(),
                    _ => format!("\"{SECRET}\""),
                };
                lines[a].truncate(equals);
                lines[a].extend(format!("= {value}").bytes());
            }
        }
    }
    let mut bytes = lines.join(&b'\n');
    for _ in 0..rng.usize(..3) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..4) {
            0 if at < bytes.len() => bytes[at] = rng.u8(..),
            1 => bytes.insert(at, rng.u8(..0x20)),
            2 => bytes.insert(at, rng.u8(0x80..)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// How much is wrong with an input; what does not hold is told with it.
fn wrong(data: &[u8]) -> usize {
    let held = std::panic::catch_unwind(|| fuzzing::config(data));
    held.unwrap_or_else(|_| panic!("{}", data.escape_ascii()))
}

fn corpus() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/config");
    let mut files: Vec<_> =
        fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "{} files", files.len());
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn what_fuzzing_the_configuration_found_stays_found() {
    for data in corpus() {
        wrong(&data);
    }
}

#[test]
fn what_is_near_the_corpus_of_configurations_holds_too() {
    let asked = std::env::var("KMI_MUTATIONS").ok().and_then(|n| n.parse().ok());
    let mut rng = Rng::with_seed(11);
    for data in corpus() {
        for _ in 0..asked.unwrap_or(MUTATIONS) {
            wrong(&damaged(&mut rng, &data));
        }
    }
}

#[test]
fn a_damaged_configuration_is_told_in_lines_without_secrets() {
    let (data, mut rng) = (format!("t{}", everything()).into_bytes(), Rng::with_seed(7));
    let counts: Vec<usize> = (0..2000).map(|_| wrong(&damaged(&mut rng, &data))).collect();
    let (good, told) = (counts.iter().filter(|n| **n == 0).count(), counts.iter().sum::<usize>());
    assert!(good > 50 && told > 1000, "{good} {told}");
}
