//! Which client a command is, and whether it has to be told a model.
//!
//! kimi-cli and Kimi Code both install a program called `kimi`, and they need opposite things:
//! Kimi Code ignores every other variable unless `KIMI_MODEL_NAME` is set, while kimi-cli lets it
//! replace the name of the model that its user has configured. They are told apart by the file:
//! kimi-cli is a Python script, Kimi Code a Node script or a native program. A script that says
//! neither is taken for kimi-cli, unless Kimi Code has a home here.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::config::{ClientSettings, Environment};

/// The value of `KIMI_MODEL_NAME`, or `None` where it has to stay as it is.
///
/// A model that was asked for (`--model`) is always set. Else the user's own variable stays, and
/// so does the model that kimi-cli is configured with; `command` is `None` when nobody knows yet
/// what will be started.
pub(crate) fn model_name(
    asked: Option<&str>,
    command: Option<&[OsString]>,
    settings: &ClientSettings,
    env: &Environment,
) -> Option<String> {
    if let Some(model) = asked {
        return Some(model.to_owned());
    }
    if env.os("KIMI_MODEL_NAME").is_some() {
        return None;
    }
    let configured = command.is_some_and(|command| {
        who(command, env) == Some(Maker::KimiCli)
            && (names_a_model(command) || has_default_model(env))
    });
    (!configured).then(|| settings.model.clone())
}

/// Whether the program will go past the proxy whatever it is told: Kimi Code prefers a model that
/// is named on its own command line, and with it the provider of its own configuration.
pub(crate) fn goes_past(command: &[OsString], env: &Environment) -> bool {
    names_a_model(command) && who(command, env) == Some(Maker::KimiCode)
}

/// Whose program a command starts; `None` for everything that is not called like Kimi's.
fn who(command: &[OsString], env: &Environment) -> Option<Maker> {
    let program = Path::new(command.first()?);
    match program.file_name().and_then(OsStr::to_str)? {
        "kimi-cli" => Some(Maker::KimiCli),
        "kimi" => find(program, env).as_deref().and_then(maker).or_else(|| {
            let code = kimi_code_home(env).is_some_and(|dir| dir.is_dir());
            Some(if code { Maker::KimiCode } else { Maker::KimiCli })
        }),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    KimiCli,
    KimiCode,
}

/// Whose `kimi` a file is; `None` when it does not say.
fn maker(file: &Path) -> Option<Maker> {
    let real = file.canonicalize().ok()?;
    let mut head = Vec::new();
    // Enough for a wrapper script with a comment or two.
    fs::File::open(&real).ok()?.take(2048).read_to_end(&mut head).ok()?;
    let path = real.to_string_lossy().to_lowercase();
    if !head.starts_with(b"#!") {
        let is_module = [".js", ".mjs", ".cjs"].iter().any(|end| path.ends_with(end));
        let is_native = [b"\x7fELF".as_slice(), b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"]
            .iter()
            .any(|magic| head.starts_with(magic));
        return (is_module || is_native).then_some(Maker::KimiCode);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    // The first line decides; wrappers (`#!/bin/sh`) name what they start further down.
    let first = head.lines().next().unwrap_or_default();
    [first, &head].into_iter().find_map(|text| {
        let says = |words: &[&str]| {
            text.split(|c: char| !c.is_ascii_alphabetic()).any(|word| words.contains(&word))
        };
        match (says(&["python", "pypy", "uv", "uvx", "pipx"]), says(&["node", "bun", "deno"])) {
            (true, false) => Some(Maker::KimiCli),
            (false, true) => Some(Maker::KimiCode),
            _ => None,
        }
    })
}

/// The file that a command name leads to.
fn find(program: &Path, env: &Environment) -> Option<PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        return Some(program.to_owned());
    }
    std::env::split_paths(env.os("PATH")?).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether the user named a model of the configuration on the client's own command line.
fn names_a_model(command: &[OsString]) -> bool {
    command
        .iter()
        .skip(1)
        .filter_map(|word| word.to_str())
        .any(|word| word == "-m" || word == "--model" || word.starts_with("--model="))
}

/// Whether kimi-cli's own configuration has a model.
fn has_default_model(env: &Environment) -> bool {
    let model = || {
        let text = fs::read_to_string(kimi_cli_home(env)?.join("config.toml")).ok()?;
        let table: toml::Table = text.parse().ok()?;
        Some(!table.get("default_model")?.as_str()?.is_empty())
    };
    model().unwrap_or(false)
}

/// Where kimi-cli keeps its configuration.
pub(crate) fn kimi_cli_home(env: &Environment) -> Option<PathBuf> {
    home(env, "KIMI_SHARE_DIR", ".kimi")
}

/// Where Kimi Code keeps its configuration.
pub(crate) fn kimi_code_home(env: &Environment) -> Option<PathBuf> {
    home(env, "KIMI_CODE_HOME", ".kimi-code")
}

fn home(env: &Environment, variable: &str, usual: &str) -> Option<PathBuf> {
    env.path(variable).or_else(|| Some(env.path("HOME")?.join(usual)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        }

        fn env(&self, more: &[(&str, &str)]) -> Environment {
            let home = self.0.path().to_str().unwrap();
            let bin = format!("{home}/bin");
            let mine = [("HOME", home), ("PATH", &bin)];
            mine.iter().chain(more).copied().collect()
        }

        fn model(&self, command: &str) -> Option<String> {
            self.model_with(command, &[])
        }

        fn model_with(&self, command: &str, more: &[(&str, &str)]) -> Option<String> {
            let command: Vec<OsString> = command.split(' ').map(Into::into).collect();
            model_name(None, Some(&command), &ClientSettings::default(), &self.env(more))
        }
    }

    const CONFIGURED: &[u8] = b"default_model = \"k2\"\n";

    #[test]
    fn the_model_that_was_asked_for_is_set() {
        let machine = Machine::new();
        machine.file(".kimi/config.toml", CONFIGURED);
        let env = machine.env(&[("KIMI_MODEL_NAME", "mine")]);
        let command = ["kimi-cli".into()];
        let name = model_name(Some("m"), Some(&command), &ClientSettings::default(), &env);
        assert_eq!(name.as_deref(), Some("m"));
    }

    #[test]
    fn the_users_own_variable_stays() {
        assert_eq!(Machine::new().model_with("claude", &[("KIMI_MODEL_NAME", "mine")]), None);
        let env = Machine::new().env(&[("KIMI_MODEL_NAME", "")]);
        let name = model_name(None, None, &ClientSettings::default(), &env);
        assert_eq!(name.as_deref(), Some("kimi-for-coding"));
    }

    #[test]
    fn kimi_cli_keeps_its_configured_model() {
        let machine = Machine::new();
        let venv = machine.file("tools/kimi-cli/bin/kimi", b"#!/opt/venv/bin/python3.13\nimport x");
        fs::create_dir_all(machine.0.path().join("bin")).unwrap();
        symlink(venv, machine.0.path().join("bin/kimi")).unwrap();
        assert!(machine.model("kimi").is_some(), "nothing is configured yet");
        assert!(machine.model("kimi --print -m work").is_none());
        machine.file(".kimi/config.toml", CONFIGURED);
        assert!(machine.model("kimi").is_none());
        assert!(machine.model("kimi-cli").is_none());
        assert!(machine.model("claude").is_some());
        machine.file("other/config.toml", b"default_model = \"\"\n");
        let other = machine.0.path().join("other");
        let share = [("KIMI_SHARE_DIR", other.to_str().unwrap())];
        assert!(machine.model_with("kimi", &share).is_some());
    }

    #[test]
    fn kimi_code_always_gets_one() {
        let machine = Machine::new();
        machine.file(".kimi/config.toml", CONFIGURED);
        for content in [
            b"#!/usr/bin/env node\nimport 'x'".as_slice(),
            b"#!/bin/sh\nexec node \"$0.js\" \"$@\"\n",
            b"\x7fELF\x02\x01\x01",
        ] {
            machine.file("bin/kimi", content);
            assert!(machine.model("kimi").is_some(), "{content:?}");
        }
    }

    #[test]
    fn kimi_code_with_a_model_of_its_own_goes_past() {
        let machine = Machine::new();
        let past = |command: &str| {
            let command: Vec<OsString> = command.split(' ').map(Into::into).collect();
            goes_past(&command, &machine.env(&[]))
        };
        machine.file("bin/kimi", b"#!/usr/bin/env node\n");
        assert!(past("kimi -m work") && past("kimi --model=work"));
        assert!(!past("kimi -p hi") && !past("claude -m work") && !past("kimi-cli -m work"));
    }

    #[test]
    fn a_script_that_says_nothing_is_kimi_cli_unless_kimi_code_lives_here() {
        let machine = Machine::new();
        machine.file(".kimi/config.toml", CONFIGURED);
        assert!(machine.model("kimi").is_none(), "not even installed");
        machine.file("bin/kimi", b"#!/bin/sh\nenv\n");
        assert!(machine.model("kimi").is_none());
        let path = machine.0.path().join("bin/kimi");
        assert!(machine.model(path.to_str().unwrap()).is_none());
        machine.file(".kimi-code/config.toml", b"");
        assert!(machine.model("kimi").is_some());
    }
}
