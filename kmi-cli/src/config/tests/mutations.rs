//! The example with everything set, damaged in a few thousand ways: it is read, or each thing that
//! is wrong is told in one line with its place, and in one line what to do; no secret is repeated.

use fastrand::Rng;

use super::*;

/// A key that is written where it does not belong.
const SECRET: &str = "sk-kimi-Zq7Wv3Kx9Rt2Mb8Nc4Jd6Hf1Gs5LpTy";

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

fn damaged(rng: &mut Rng, text: &str) -> Vec<u8> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..rng.usize(1..=4) {
        let (a, b) = (rng.usize(..lines.len()), rng.usize(..lines.len()));
        match rng.u8(..14) {
            0 => drop(lines.remove(a)),
            1 => lines.insert(b, lines[a].clone()),
            2 => lines.swap(a, b),
            3 => lines[a] = format!("[{}]", lines[a]),
            4 => lines[a] = lines[a].replacen('=', ".x =", 1),
            5 => lines.insert(a, format!("x = {}{}", "[".repeat(b * 20), "]".repeat(b * 20))),
            6 => lines.insert(a, format!("{}x = 1", "a.".repeat(b * 20))),
            7 => lines.insert(a, format!("{SECRET} = 1")),
            8 => lines
                .insert(a, format!("[{}{SECRET}]", ["", "upstream.", "proxy."][rng.usize(..3)])),
            9 => lines.insert(a, format!("upstream.{SECRET}.kind = \"openai\"")),
            _ => {
                let name = lines[a].split('=').next().unwrap_or("").to_owned();
                let value = match rng.usize(..=VALUES.len()) {
                    n if n < VALUES.len() => VALUES[n].to_owned(),
                    _ => format!("\"{SECRET}\""),
                };
                lines[a] = format!("{name}= {value}");
            }
        }
    }
    let mut bytes = lines.join("\n").into_bytes();
    for _ in 0..rng.usize(..3) {
        let at = rng.usize(..bytes.len());
        match rng.u8(..4) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes.insert(at, rng.u8(..0x20)),
            2 => bytes.insert(at, rng.u8(0x80..)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[test]
fn a_damaged_configuration_is_told_in_lines_without_secrets() {
    let place = Place::new();
    let path = place.dir.path().join("kmi.config.toml");
    let (text, mut rng) = (everything(), Rng::with_seed(7));
    let args = ["kmi", "--home", place.dir.path().to_str().unwrap()];
    let (cli, env) =
        (Cli::parse_from(args.map(Into::into)).unwrap(), [("LANG", "C")].into_iter().collect());
    let (mut good, mut told) = (0, 0);
    for n in 0..2000 {
        let bytes = damaged(&mut rng, &text);
        fs::write(&path, &bytes).unwrap();
        let config = String::from_utf8_lossy(&bytes);
        let Err(error) = load(&cli.global, &[], &env) else {
            good += 1;
            continue;
        };
        assert!(!error.problems.is_empty());
        for problem in &error.problems {
            told += 1;
            let (line, hint) = (problem.to_string(), problem.remedy());
            let lines = [line.as_str(), hint];
            let is_visible =
                lines.iter().all(|it| !it.is_empty() && !it.contains(char::is_control));
            assert!(is_visible, "{n}: {line:?} {hint:?}\n{config}");
            let leaks = lines.iter().any(|it| it.contains(&SECRET[8..24]));
            assert!(!leaks, "{n}: {line:?} {hint:?}");
            let named = line.find(path.to_str().unwrap()).map(|at| &line[at..]);
            let named = named.unwrap_or_else(|| panic!("{n}: no file in {line:?}"));
            let after = named.strip_prefix(path.to_str().unwrap()).unwrap();
            let number = after.strip_prefix(':').and_then(|it| it.split(':').next());
            let has_line = number.is_some_and(|it| it.parse::<usize>().is_ok());
            assert!(has_line || line.starts_with("cannot read "), "{n}: no line in {line:?}");
        }
    }
    assert!(good > 50 && told > 1000, "{good} {told}");
}
