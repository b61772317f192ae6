//! kmi's home: where configuration, keys, state and the control socket are, and the three
//! secrets that are made there (CONTRACT section 1).
//!
//! Directories are 0700 and files 0600 under any umask. The token and the home's secret are made
//! once, even when two processes start in a fresh home at the same moment: the loser reads what
//! the winner wrote.

mod private;
mod token;

use std::{
    io,
    path::{Path, PathBuf},
};

use kmi_core::key::HomeSecret;
use kmi_stats::checkpoint::Signer;

pub use self::{
    private::{create_private_dir, create_private_file},
    token::Token,
};

/// The paths of one home.
///
/// All paths are absolute when the root is; nothing here touches the disk but [`Home::create`],
/// [`Home::token`], [`Home::secret`] and [`Home::signer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    auths: PathBuf,
    state: PathBuf,
}

/// What can be wrong with a home.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// A directory could not be made.
    #[error("cannot make the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A token or secret file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A token or secret file does not hold what kmi wrote into it.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A token or secret file can be read or written by others.
    #[error("{} can be used by group or others (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

impl HomeError {
    /// What the user can do about it, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::Directory { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "a file is in its place: move it away, or choose another directory".to_owned()
            }
            Self::Directory { .. } | Self::Write { .. } => {
                "choose a place that you may write to with `--home DIR` or KMI_HOME".to_owned()
            }
            Self::Read { path, .. } => {
                format!("make it a file that you can read, or remove it: {}", path.display())
            }
            Self::Damaged { path, .. } => format!(
                "restore it from a backup, or remove it and kmi makes a new one: {}",
                path.display()
            ),
            Self::Exposed { path, .. } => format!("chmod 600 {}", path.display()),
            Self::Random(_) => "try again; without random numbers no token can be made".to_owned(),
        }
    }
}

impl Home {
    /// A home with its directories in their usual places.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { auths: root.join("_auths"), state: root.join("state"), root }
    }

    /// The same home with its key and state directories elsewhere; relative paths are below the
    /// root (configuration keys `keys.dir` and `state.dir`).
    #[must_use]
    pub fn with_dirs(self, auths: &Path, state: &Path) -> Self {
        Self { auths: self.root.join(auths), state: self.root.join(state), root: self.root }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration file as TOML.
    pub fn config_toml(&self) -> PathBuf {
        self.root.join("kmi.config.toml")
    }

    /// The configuration file as JSON, for those who prefer it.
    pub fn config_json(&self) -> PathBuf {
        self.root.join("kmi.config.json")
    }

    /// Settings and keys as `NAME=value` lines.
    pub fn env_file(&self) -> PathBuf {
        self.root.join(".env")
    }

    /// The key files.
    pub fn auths_dir(&self) -> &Path {
        &self.auths
    }

    /// The ledger, the token, counters.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// What exists only while a proxy runs.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("kmi.sock")
    }

    /// The client token.
    pub fn token_file(&self) -> PathBuf {
        self.state.join("token")
    }

    /// The secret that key ids are derived from.
    pub fn secret_file(&self) -> PathBuf {
        self.state.join("secret")
    }

    /// The secret half of the key that signs checkpoints of the trace.
    pub fn signer_file(&self) -> PathBuf {
        self.state.join("checkpoint.key")
    }

    /// Makes the directories that are missing, 0700 each; existing ones stay as they are.
    pub fn create(&self) -> Result<(), HomeError> {
        for dir in [self.root(), self.auths_dir(), self.state_dir(), &self.run_dir()] {
            create_private_dir(dir)?;
        }
        Ok(())
    }

    /// The client token; made when there is none yet, together with the state directory.
    pub fn token(&self) -> Result<Token, HomeError> {
        Ok(Token::new(&*token::read_or_make(&self.token_file())?))
    }

    /// The client token if there is one, without making anything.
    pub fn existing_token(&self) -> Result<Option<Token>, HomeError> {
        Ok(token::read(&self.token_file())?.map(|bytes| Token::new(&bytes)))
    }

    /// The key that signs checkpoints of the trace; made as [`Home::token`] is.
    pub fn signer(&self) -> Result<Signer, HomeError> {
        let path = self.signer_file();
        let seed = token::read_or_make(&path)?;
        Signer::new(&seed).map_err(|_| HomeError::Damaged { path, why: "it makes no key" })
    }

    /// The secret that key ids are derived from; made as [`Home::token`] is.
    pub fn secret(&self) -> Result<HomeSecret, HomeError> {
        Ok(HomeSecret::new(*token::read_or_make(&self.secret_file())?))
    }

    /// The secret if there is one, without making anything.
    pub fn existing_secret(&self) -> Result<Option<HomeSecret>, HomeError> {
        Ok(token::read(&self.secret_file())?.map(|bytes| HomeSecret::new(*bytes)))
    }
}

#[cfg(test)]
mod tests;
