//! `HOME/.env`, read by dotenvy and never exported into kmi's own environment.

mod items;

use std::{
    collections::HashSet,
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use kmi_proxy::keys::EnvKey;
use zeroize::Zeroizing;

use self::items::Item;
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

/// The variables of a file's text, in the order of their last lines.
pub(super) fn parse(path: &Path, text: &str, warnings: &mut Vec<Problem>) -> Vec<Variable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut variables, mut names) = (Vec::new(), HashSet::new());
    for Item { line, text, read } in items::of(text) {
        let (name, value) = match read {
            Ok(variable) => variable,
            // The message must not show the line: it may hold a key.
            Err(problem) => {
                warnings.push(problem.at(&format_args!("{}:{line}", path.display())));
                continue;
            }
        };
        let origin = Origin::DotEnv { path: path.to_owned(), line, variable: name.clone() };
        if !names.insert(name.clone()) {
            warnings.push(
                Problem::new("set twice; the last one counts")
                    .at(&origin)
                    .hint("remove one of the lines"),
            );
        }
        warnings.extend(dollar(text).map(|problem| problem.at(&origin)));
        variables.push(Variable { name, value: Some(Zeroizing::new(value)), origin });
    }
    // The last one of each name.
    variables.reverse();
    variables.retain(|variable| names.remove(&variable.name));
    variables.reverse();
    variables
}

/// Warns of what dotenvy reads without a word but probably differently than it is meant.
fn dollar(text: &str) -> Option<Problem> {
    let written = text.lines().next().unwrap_or_default();
    let value = written.split_once('=').map_or("", |(_, value)| value.trim_start());
    (value.contains('$') && !value.starts_with('\'')).then(|| {
        Problem::new("the $ in the value starts the name of another variable")
            .hint("put the value in 'single quotes' when the $ is part of it")
    })
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

    /// To dotenvy a quote that is not closed has no end but the file's.
    #[test]
    fn a_quote_that_is_not_closed_costs_its_own_line() {
        let (variables, warnings) =
            parsed("KMI_A=don't\nKMI_B=1\n\nKMI_C=\"sk-secret\nx y\nKMI_D='2'");
        let told: Vec<_> = variables.iter().map(|(n, v, o)| format!("{n} {v} {o}")).collect();
        assert_eq!(told, ["KMI_B 1 .env:2 KMI_B", "KMI_D 2 .env:6 KMI_D"]);
        let lines = [".env:1", ".env:4", ".env:5"];
        assert_eq!(
            warnings,
            lines.map(|it| format!("{it}: a line is not understood and is not used"))
        );
        let (variables, _) = parsed("KMI_A=\"x\nKMI_B=1\n\" y\nKMI_C=2\n");
        assert_eq!(variables.len(), 1, "what stands in quotes is no line");
    }

    /// dotenvy waits for what follows a blank.
    #[test]
    fn a_blank_at_the_end_of_the_file_costs_nothing() {
        for end in [" ", "\t", " # b", "\\"] {
            let (variables, warnings) = parsed(&format!("KMI_A=1{end}"));
            assert_eq!((variables[0].1.as_str(), warnings.len()), ("1", 0), "{end:?}");
        }
    }

    #[test]
    fn variables_in_variables_do_not_grow_without_end() {
        let tenfold =
            |n: char| format!("{}={}\n", char::from(n as u8 + 1), format!("${n}").repeat(10));
        let grown: String = ('A'..='Y').map(tenfold).collect();
        let (variables, warnings) = parsed(&format!("A=0123456789\n{grown}KMI_A=$A\n"));
        let size: usize = variables.iter().map(|(_, value, _)| value.len()).sum();
        assert!((1 << 20..=4 << 20).contains(&size), "{size}");
        assert_eq!(variables.last().unwrap().1, "0123456789");
        let refused = ".env:7: its variables make it too long; it is not used";
        assert!(warnings.iter().any(|it| it == refused), "{warnings:?}");
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
