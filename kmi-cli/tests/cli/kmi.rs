//! Runs `kmi` with an environment of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use assert_cmd::Command;

/// A user with a home directory and a current directory, and nothing else.
pub(crate) struct User {
    dir: tempfile::TempDir,
}

/// What a run left behind; the user's directory is written as `~`.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl User {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir }
    }

    /// A path below the user's home directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a private file below `~`.
    pub(crate) fn file(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// `kmi` with these arguments, run in `~/work`.
    pub(crate) fn command(&self, args: &str) -> Command {
        Command::from_std(self.std_command(args))
    }

    /// The same for a process that the test wants to hold.
    pub(crate) fn std_command(&self, args: &str) -> std::process::Command {
        self.program_command(Path::new(env!("CARGO_BIN_EXE_kmi")), args)
    }

    /// The same with another program file.
    pub(crate) fn program_command(&self, program: &Path, args: &str) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command
            .args(args.split_whitespace())
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.path("work"));
        command
    }

    pub(crate) fn run(&self, args: &str) -> Run {
        self.finish(self.command(args))
    }

    pub(crate) fn finish(&self, mut command: Command) -> Run {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap().replace(self.dir.path().to_str().unwrap(), "~")
        };
        Run {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Run {
    /// The same, where it has to be good.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.told());
        self
    }

    /// What was printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}", self.told()))
    }

    /// All of it, for snapshots.
    pub(crate) fn told(&self) -> String {
        format!("{}\n--- out\n{}--- err\n{}", self.code, self.out, self.err)
    }
}

/// The permission bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
