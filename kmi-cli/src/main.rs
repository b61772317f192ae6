//! The `kmi` command.
#![forbid(unsafe_code)]

mod args;

fn main() {
    let _ = args::Cli::parse_from(std::env::args_os());
}
