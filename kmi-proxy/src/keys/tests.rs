//! Loading: every format, every refusal, and the laws that hold for any input.

mod editing;
mod formats;
mod laws;
mod refusals;
mod sources;
mod uniqueness;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kmi_core::{inventory::Key, key::HomeSecret};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::{Answers, EnvKey, Loaded, Problem, Sources, load};
use crate::settings::UpstreamSettings;

/// A key directory that goes away with the test.
struct Home {
    dir: TempDir,
    sources: Sources,
}

impl Home {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let sources = Sources {
            dir: dir.path().join("_auths"),
            env: Vec::new(),
            upstreams: vec![
                UpstreamSettings::default(),
                UpstreamSettings {
                    name: "open".into(),
                    base_url: "https://api.moonshot.ai/v1".into(),
                    ..UpstreamSettings::default()
                },
            ],
            variables: Arc::new(|_| None),
            answers: Answers::default(),
            settle: Duration::ZERO,
        };
        fs::create_dir(&sources.dir).unwrap();
        fs::set_permissions(&sources.dir, fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir, sources }
    }

    /// A home with these files.
    fn with(files: &[(&str, &str)]) -> Self {
        let home = Self::new();
        for (name, text) in files {
            home.write(name, text);
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sources.dir.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        write(&self.path(name), text)
    }

    fn variable(&mut self, name: &'static str, value: &'static str) {
        let before = Arc::clone(&self.sources.variables);
        self.sources.variables = Arc::new(move |asked| {
            if asked == name { Some(Zeroizing::new(value.into())) } else { before(asked) }
        });
    }

    fn env_key(&mut self, name: &str, value: &str, line: u32) {
        self.sources.env.push(EnvKey {
            name: name.into(),
            value: Zeroizing::new(value.into()),
            origin: "HOME/.env".into(),
            line: Some(line),
        });
    }

    fn load(&self) -> Loaded {
        load(&self.sources, &HomeSecret::new([7; 32]))
    }

    /// The keys as `label=secret`.
    fn keys(&self) -> Vec<String> {
        self.load().keys.iter().map(|key| shown(key)).collect()
    }

    /// The only key; nothing may be wrong.
    fn only_key(&self) -> Arc<Key> {
        let mut loaded = self.load();
        assert_eq!(loaded.problems, []);
        assert_eq!(loaded.keys.len(), 1);
        loaded.keys.remove(0)
    }

    /// The problems, one a line, without the directory.
    fn problems(&self) -> String {
        let lines: Vec<_> = self.load().problems.iter().map(|problem| self.line(problem)).collect();
        lines.join("\n")
    }

    fn line(&self, problem: &Problem) -> String {
        let text = format!("{:?} {problem}\n  hint: {}", problem.severity, problem.hint());
        let text = text.replace(&format!("{}/", self.sources.dir.display()), "");
        text.replace(&self.dir.path().display().to_string(), "HOME")
    }
}

fn write(path: &Path, text: impl AsRef<[u8]>) -> PathBuf {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

fn shown(key: &Key) -> String {
    format!("{}={}", key.label, key.secret.expose())
}
