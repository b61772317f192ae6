//! What has to hold whatever a configuration says: for the fuzz target `config`, whose corpus is
//! replayed by an ordinary test.
//!
//! Exists in tests and in fuzz builds only, and knows nothing outside of this module and the
//! libraries: the fuzz target includes it by its path, for a program is no library.

use std::{
    collections::BTreeMap, ffi::OsStr, net::IpAddr, os::unix::ffi::OsStrExt as _, path::Path,
};

use http::Uri;
use kmi_core::display;
use kmi_proxy::settings::UpstreamSettings;
use serde_json::Value;

use super::{
    Environment, Meaning, Origin, Problem, Told, dotenv, env, file,
    layers::{DEFAULT_UPSTREAM, Written, upstream_names},
    parse_sets,
    resolve::Row,
    schema::{self, KEYS, Root, UPSTREAM_KEYS, UpstreamRoot},
    understand,
};

/// Parts the texts of an input; no text has this byte.
pub(crate) const BETWEEN: u8 = 0xff;

/// A key that stands where it does not belong.
pub(crate) const SECRET: &str = "sk-kimi-Zq7Wv3Kx9Rt2Mb8Nc4Jd6Hf1Gs5LpTy";

const DOTENV: &str = "/home/.env";

/// A whole configuration: `j` for JSON or anything for TOML, the file, and after one
/// [`BETWEEN`] each `.env`, variables of the process (a line each) and options (the same).
///
/// It is read or refused. Whatever is said of it is short, inert, names its place and repeats no
/// key; what is well is there, whatever stands beside it. Returns how much was wrong.
pub(crate) fn config(data: &[u8]) -> usize {
    let Some((form, rest)) = data.split_first() else { return 0 };
    let mut parts = rest.splitn(4, |byte| *byte == BETWEEN);
    let [text, dotenv_text, variables, options] =
        [(); 4].map(|()| parts.next().unwrap_or_default());
    let [text, dotenv_text, options] = [text, dotenv_text, options].map(as_text);
    let path = Path::new(if *form == b'j' { "/home/c.json" } else { "/home/c.toml" });

    let mut told = Told::default();
    let from_file = file::settings(path, text, &mut told.problems);
    if told.problems.is_empty() {
        nothing_of_the_file_is_lost(path, text, &from_file);
    }
    let sets: Vec<String> = options.lines().map(str::to_owned).collect();
    let before = told.problems.len();
    let from_options = parse_sets(&sets, &mut told.problems);
    assert_eq!(from_options.len() + told.problems.len() - before, sets.len(), "an option is lost");
    let from_dotenv = dotenv::parse(Path::new(DOTENV), dotenv_text, &mut told.warnings);
    let environment = environment(variables);

    let layers = {
        let names = upstream_names(from_file.iter().chain(&from_options));
        let settings = |variables| env::settings_and_keys(variables, &names, &mut Vec::new()).0;
        let again = dotenv::parse(Path::new(DOTENV), dotenv_text, &mut Vec::new());
        [from_file.clone(), settings(again), settings(environment.kmi()), from_options.clone()]
    };
    let meaning = understand(from_file, from_dotenv, environment.kmi(), from_options, &mut told);

    let count = told.problems.len() + told.warnings.len();
    assert!(count <= data.len() + 64, "{count} problems of {} bytes", data.len());
    let may_leak = !is_whole(data);
    let lines = [text, dotenv_text].map(|text| text.split('\n').count());
    for problem in told.problems.iter().chain(&told.warnings) {
        let (line, hint) = (problem.to_string(), problem.remedy());
        has_its_place(&line, path, lines);
        for text in [&line, hint] {
            is_short_and_inert(text);
            assert!(may_leak || !text.contains(&SECRET[8..24]), "a key is repeated: {text}");
        }
    }
    every_setting_counts(&layers, &meaning.rows, &told.problems);
    if told.problems.is_empty() {
        keys_go_nowhere_else(&meaning);
    }
    neighbours_of_a_bad_line_are_kept(dotenv_text);
    told.problems.len()
}

fn as_text(part: &[u8]) -> &str {
    std::str::from_utf8(part).unwrap_or_default()
}

fn environment(lines: &[u8]) -> Environment {
    let variable = |line: &[u8]| {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&line[..equals], &line[equals + 1..]);
        Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
    };
    lines.split(|byte| *byte == b'\n').filter_map(variable).collect()
}

/// Place and message pass the filter each, where a character may become ten.
fn is_short_and_inert(text: &str) {
    let longest = 2 * (10 * display::MAX_CHARS + 1) + 2;
    assert!(!text.is_empty() && text.chars().count() <= longest, "{text:?}");
    assert!(!text.chars().any(display::is_unsafe), "{text:?}");
}

/// File and line, or the variable, or the option.
fn has_its_place(line: &str, file: &Path, [lines, dotenv_lines]: [usize; 2]) {
    let number = |file: &str| {
        let digits = line.strip_prefix(file)?.strip_prefix(':')?;
        digits[..digits.find([':', ' ']).unwrap_or(digits.len())].parse::<usize>().ok()
    };
    let (file, dotenv) = (number(&file.to_string_lossy()), number(DOTENV));
    let is_there = match (file, dotenv) {
        (Some(at), _) => (1..=lines).contains(&at),
        (_, Some(at)) => (1..=dotenv_lines).contains(&at),
        _ => line.starts_with("environment KMI_") || line.starts_with("command line --set: "),
    };
    assert!(is_there, "no place: {line:?}");
}

/// Whether the key stands in it as a word of its own only: in pieces nobody can know it.
fn is_whole(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.match_indices(&SECRET[8..24]).all(|(at, _)| {
        let start = at.checked_sub(8);
        start.is_some_and(|start| {
            text.get(start..).is_some_and(|rest| rest.starts_with(SECRET))
                && !text[..start].ends_with(word)
        })
    })
}

/// All settings that a reader without places finds are there.
fn nothing_of_the_file_is_lost(path: &Path, text: &str, written: &[Written]) {
    fn settings(prefix: &str, value: &Value, found: &mut Vec<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            if schema::exists(&key) && !name.contains('.') {
                found.push(key);
            } else if !name.contains('.') {
                settings(&key, value, found);
            }
        }
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value = if path.extension().is_some_and(|it| it == "json") {
        serde_json::from_str(text).ok()
    } else {
        text.parse::<toml::Table>().ok().and_then(|table| serde_json::to_value(table).ok())
    };
    // That reader gives up at numbers beyond 64 bits and in deep tables, ours does not.
    let Some(value) = value else { return };
    let mut found = Vec::new();
    settings("", &value, &mut found);
    found.sort();
    let mut read: Vec<&str> = written.iter().map(|setting| setting.key.as_str()).collect();
    read.sort_unstable();
    assert_eq!(found, read);
}

/// The strongest layer's setting is the one that is shown, and one that is refused is told.
fn every_setting_counts(layers: &[Vec<Written>; 4], rows: &[Row], problems: &[Problem]) {
    let alias = format!("upstream.{DEFAULT_UPSTREAM}.");
    let has_alias = layers.iter().flatten().any(|setting| setting.key.starts_with(&alias));
    let mut strongest = BTreeMap::new();
    for setting in layers.iter().flatten() {
        strongest.insert(setting.key.as_str(), setting);
    }
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for row in rows {
        if let Some(text) = row.value.as_str() {
            assert!(!text.chars().any(display::is_unsafe), "{}: {text:?}", row.key);
        }
        let setting = strongest.remove(row.key.as_str());
        if has_alias && row.key.ends_with(".base_url") {
            continue;
        }
        let origin = setting.map_or(&Origin::Default, |setting| &setting.origin);
        assert_eq!(&row.origin, origin, "{}", row.key);
        let Some(setting) = setting else { continue };
        let refused = is_refused(setting);
        let place = display::visible(&origin.to_string()).into_owned() + ": ";
        assert!(
            !refused || told.iter().any(|line| line.starts_with(&place)),
            "{} is refused without a word: {told:?}",
            row.key
        );
    }
    let lost: Vec<_> = strongest.keys().filter(|key| !key.starts_with(&alias)).collect();
    assert!(lost.is_empty(), "no row: {lost:?}");
}

/// Whether a value cannot be one of its key.
fn is_refused(Written { key, value, .. }: &Written) -> bool {
    match schema::upstream_of(key) {
        None => {
            let found = KEYS.iter().find(|it| it.name == key).expect("a key");
            (found.write)(&mut Root::default(), value).is_err()
        }
        Some(upstream) => {
            let field = &key["upstream..".len() + upstream.len()..];
            let found = UPSTREAM_KEYS.iter().find(|it| it.name == field).expect("a key");
            let settings = UpstreamSettings::default();
            (found.write)(&mut UpstreamRoot { settings, default: false }, value).is_err()
        }
    }
}

/// A configuration that is taken sends keys over TLS, or to this machine.
fn keys_go_nowhere_else(meaning: &Meaning) {
    assert!(!meaning.root.settings.upstreams.is_empty());
    for upstream in &meaning.root.settings.upstreams {
        for url in [Some(&upstream.base_url), upstream.anthropic_base_url.as_ref()] {
            let Some(url) = url else { continue };
            let uri: Uri = url.parse().expect("a URL");
            let host = uri.host().expect("a host");
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            let here = host.eq_ignore_ascii_case("localhost")
                || address.is_ok_and(|address| address.is_loopback());
            assert!(uri.scheme_str() == Some("https") || here, "{url}");
            assert!(!url.contains(['@', '?', '#', '\\', ' ']), "{url}");
        }
    }
}

/// In `.env` a bad line costs only itself, whatever it is.
fn neighbours_of_a_bad_line_are_kept(text: &str) {
    let whole = format!("KMI_KEYS_DIR=/first\n{text}\nKMI_STATE_DIR=/last\n");
    let variables = dotenv::parse(Path::new(DOTENV), &whole, &mut Vec::new());
    let value = |name: &str| {
        let mut found = variables.iter().filter(|variable| variable.name == name);
        let value = found.next().and_then(|variable| variable.value.as_ref());
        assert!(found.next().is_none(), "{name} twice");
        value.map(|value| value.as_str())
    };
    assert!(text.contains("KMI_KEYS_DIR") || value("KMI_KEYS_DIR") == Some("/first"));
    assert_eq!(value("KMI_STATE_DIR"), Some("/last"), "the line after {text:?}");
}
