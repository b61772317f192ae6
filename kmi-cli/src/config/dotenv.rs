//! `HOME/.env`, read by dotenvy and never exported into kmi's own environment.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use kmi_proxy::keys::EnvKey;
use zeroize::Zeroizing;

use super::{
    env::{self, Variable},
    layers::Origin,
    problem::{ConfigError, Problem},
};

/// Larger files are no configuration.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// The variables of a `.env` file; none without the file.
///
/// A line that is not understood costs only itself. Keys of a file that others can use are left
/// out, as those of key files are (CONTRACT section 2).
pub(super) fn read(path: &Path, warnings: &mut Vec<Problem>) -> Result<Vec<Variable>, ConfigError> {
    let Some((text, mode)) = content(path)? else { return Ok(Vec::new()) };
    let mut variables = parse(path, &text, warnings);
    if mode & 0o077 != 0 {
        let before = variables.len();
        variables.retain(|variable| !variable.name.starts_with("KMI_API_KEY_"));
        if variables.len() < before {
            warnings.push(
                Problem::new(format!(
                    "group or others can use this file (mode {mode:04o}); its keys are not used"
                ))
                .at(&path.display())
                .hint(format!("chmod 600 {}", path.display())),
            );
        }
    }
    Ok(variables)
}

/// One variable of a `.env` file, for `api_key_env`.
pub(crate) fn value(path: &Path, name: &str) -> Option<Zeroizing<String>> {
    let variables = read(path, &mut Vec::new()).ok()?;
    variables.into_iter().rfind(|variable| variable.name == name)?.value
}

/// The keys in anybody's `.env` file, whoever may read it: for `kmi keys import`.
pub(crate) fn foreign_keys(path: &Path) -> Result<Vec<EnvKey>, ConfigError> {
    let Some((text, _)) = content(path)? else { return Ok(Vec::new()) };
    let key = |Variable { name, value, origin }| {
        let label = env::foreign_label(&name)?;
        Some(env::key(label, value.filter(|value| !value.is_empty())?, &origin))
    };
    // What is odd about the rest of it is no business of ours.
    Ok(parse(path, &text, &mut Vec::new()).into_iter().filter_map(key).collect())
}

fn content(path: &Path) -> Result<Option<(Zeroizing<String>, u32)>, ConfigError> {
    let broken = |why: &str| {
        ConfigError::from(
            Problem::new(format!("cannot read {}: {why}", path.display()))
                .hint("make it a readable UTF-8 text file, or move it away"),
        )
    };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(broken("it is not a regular file")),
        Ok(metadata) if metadata.len() > MAX_BYTES => return Err(broken("it is over 1 MiB")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken(&error.to_string())),
    }
    let io = |error: io::Error| broken(&error.to_string());
    let file = fs::File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    Ok(Some((text, mode)))
}

fn parse(path: &Path, text: &str, warnings: &mut Vec<Problem>) -> Vec<Variable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables: Vec<Variable> = Vec::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        match item {
            Ok((name, value)) => {
                let line = line_of(text, &name, &variables);
                let origin = Origin::DotEnv { path: path.to_owned(), line, variable: name.clone() };
                odd(text, line, &name, &variables, &origin, warnings);
                variables.retain(|earlier| earlier.name != name);
                variables.push(Variable { name, value: Some(Zeroizing::new(value)), origin });
            }
            // The message must not show the line: it may hold a key.
            Err(error) => {
                let place = match &error {
                    dotenvy::Error::LineParse(line, _) => {
                        format!("{}:{}", path.display(), line_with(text, line))
                    }
                    _ => path.display().to_string(),
                };
                warnings.push(
                    Problem::new("a line is not understood and is not used")
                        .at(&place)
                        .hint("write NAME=value; values with blanks, # or $ in 'single quotes'"),
                );
            }
        }
    }
    variables
}

/// Warns of what dotenvy reads without a word but probably differently than it is meant.
fn odd(
    text: &str,
    line: usize,
    name: &str,
    earlier: &[Variable],
    origin: &Origin,
    warnings: &mut Vec<Problem>,
) {
    if earlier.iter().any(|variable| variable.name == name) {
        warnings.push(
            Problem::new("set twice; the last one counts")
                .at(origin)
                .hint("remove one of the lines"),
        );
    }
    let written = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let value = written.split_once('=').map_or("", |(_, value)| value.trim_start());
    if value.contains('$') && !value.starts_with('\'') {
        warnings.push(
            Problem::new("the $ in the value starts the name of another variable")
                .at(origin)
                .hint("put the value in 'single quotes' when the $ is part of it"),
        );
    }
}

/// The line (from 1) on which a variable is set, after all earlier mentions of it.
fn line_of(text: &str, name: &str, earlier: &[Variable]) -> usize {
    let after = earlier
        .iter()
        .filter(|variable| variable.name == name)
        .map(|variable| match &variable.origin {
            Origin::DotEnv { line, .. } => *line,
            _ => 0,
        })
        .max()
        .unwrap_or(0);
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().enumerate().skip(after).find(|(_, line)| sets(line)).map_or(after, |(n, _)| n + 1)
}

/// The line (from 1) that begins what dotenvy could not read.
fn line_with(text: &str, part: &str) -> usize {
    let first = part.lines().next().unwrap_or_default();
    text.lines()
        .position(|line| line == first || (!first.is_empty() && line.contains(first)))
        .map_or(1, |n| n + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<(String, String, String)>, Vec<String>) {
        let mut warnings = Vec::new();
        let variables = parse(Path::new(".env"), text, &mut warnings)
            .into_iter()
            .map(|v| (v.name, v.value.unwrap().to_string(), v.origin.to_string()))
            .collect();
        (variables, warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lines_are_read_as_dotenv_does() {
        let text =
            "\u{feff}# comment\r\nKMI_A=1\r\n\r\nexport KMI_B = \"two words\"\nKMI_C='$x'\nKMI_D=4";
        let (variables, warnings) = parsed(text);
        let text: Vec<_> = variables.iter().map(|(n, v, o)| format!("{n} {v} {o}")).collect();
        insta::assert_snapshot!(text.join("\n"), @"
        KMI_A 1 .env:2 KMI_A
        KMI_B two words .env:4 KMI_B
        KMI_C $x .env:5 KMI_C
        KMI_D 4 .env:6 KMI_D
        ");
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn a_bad_line_costs_only_itself_and_is_not_shown() {
        let (variables, warnings) = parsed("KMI_A=1\nsk-secret key with blanks\nKMI_B=2\n");
        assert_eq!(variables.len(), 2);
        assert_eq!(warnings, [".env:2: a line is not understood and is not used"]);
        let (variables, warnings) = parsed("KMI_A=1\nKMI_B=\"sk-secret\n");
        assert_eq!(variables.len(), 1);
        assert_eq!(warnings, [".env:2: a line is not understood and is not used"]);
    }

    #[test]
    fn twice_and_dollar_are_odd() {
        let (variables, warnings) = parsed("KMI_A=1\nKMI_A=2\nKMI_B=a$b\n");
        assert_eq!(variables[0].1, "2");
        insta::assert_snapshot!(warnings.join("\n"), @"
        .env:2 KMI_A: set twice; the last one counts
        .env:3 KMI_B: the $ in the value starts the name of another variable
        ");
    }

    #[test]
    fn keys_in_a_file_that_others_can_read_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        fs::write(&path, "KMI_API_KEY_A=sk-12345678\nKMI_ROTATION_MODE=auto\n").unwrap();
        for (mode, count) in [(0o600, 2), (0o644, 1)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let mut warnings = Vec::new();
            assert_eq!(read(&path, &mut warnings).unwrap().len(), count, "{mode:o}");
            assert_eq!(warnings.len(), 2 - count, "{warnings:?}");
        }
    }

    #[test]
    fn what_is_no_text_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("none"), &mut Vec::new()).unwrap().is_empty());
        assert!(read(dir.path(), &mut Vec::new()).is_err());
        let path = dir.path().join(".env");
        fs::write(&path, b"KMI_A=\xff").unwrap();
        assert!(read(&path, &mut Vec::new()).is_err());
    }
}
