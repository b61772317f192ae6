//! The `kmi` command.
#![forbid(unsafe_code)]

mod args;
mod client_env;
mod config;

fn main() {
    let _ = args::Cli::parse_from(std::env::args_os());
}
