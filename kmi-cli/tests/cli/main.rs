//! Black-box tests of the `kmi` command: what is printed where, and the exit code.

mod config;
mod env;
mod init;
mod kmi;
mod usage;
