//! The configuration: what is wrong or odd about it, where keys will go, and what is not used.

use std::{net::SocketAddr, path::Path};

use super::finding::Findings;
use crate::config::{self, Config, ConfigError};

const CHECK: &str = "config";

pub(super) fn check(config: &Result<Config, ConfigError>, found: &mut Findings) {
    let config = match config {
        Ok(config) => config,
        Err(ConfigError { problems }) => {
            for problem in problems {
                found.problem(CHECK, problem.to_string(), problem.remedy());
            }
            return;
        }
    };
    for warning in &config.warnings {
        found.warning(CHECK, warning.to_string(), warning.remedy());
    }
    match &config.file {
        Some(file) => found.ok(CHECK, format!("{} is understood", file.display())),
        None => found.ok(CHECK, "no configuration file: the defaults hold"),
    }
    for upstream in &config.settings.upstreams {
        let (name, url) = (&upstream.name, &upstream.base_url);
        found.ok(CHECK, format!("keys of upstream {name} go to {url}"));
    }
    for problem in config.try_upstreams().err().into_iter().flat_map(|error| error.problems) {
        found.problem(CHECK, problem.to_string(), problem.remedy());
    }
    listen(config.settings.proxy.listen, found);
    if let Some(unused) = std::env::current_dir().ok().and_then(|dir| unused(config, &dir)) {
        let (what, hint) = unused;
        found.warning(CHECK, what, hint);
    }
}

fn listen(address: SocketAddr, found: &mut Findings) {
    if !address.ip().is_loopback() {
        let message = format!("other machines can reach kmi at {address}");
        let hint = "they need the token, which travels unencrypted: listen on 127.0.0.1 if you can";
        found.warning(CHECK, message, hint);
    }
}

/// `config` says it in one line for a hint; here its halves are message and hint.
fn unused(config: &Config, dir: &Path) -> Option<(String, String)> {
    let line = config::unused_here(config, dir)?;
    let (what, hint) = line.split_once("; ")?;
    Some((what.to_owned(), hint.to_owned()))
}
