//! Black-box tests of the `kmi` command: what is printed where, and the exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod config;
mod env;
mod init;
mod kmi;
mod usage;
