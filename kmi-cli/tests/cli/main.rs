//! Black-box tests of the `kmi` command: what is printed where, and the exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod config;
mod crash;
mod demo;
mod doctor;
mod env;
mod hand_over;
mod import;
mod init;
mod install;
mod keys;
mod kmi;
mod kmi_usage;
mod prompt;
mod proxy;
mod rotate;
mod run;
mod serve;
mod simulate;
mod status;
mod trace;
mod usage;
mod verify;
