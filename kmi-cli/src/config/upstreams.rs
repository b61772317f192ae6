//! Whether the upstreams can be used as they are configured: what a proxy finds out at its start.

use kmi_proxy::{
    settings::UpstreamSettings,
    upstream::{TlsError, Upstream, UpstreamError},
};

use super::{Config, ConfigError, Problem};

impl Config {
    /// Prepares every upstream as a start does, files of certificates included; connects to
    /// nothing.
    pub(crate) fn try_upstreams(&self) -> Result<(), ConfigError> {
        let refused = |it: &UpstreamSettings| {
            Upstream::new(it).err().map(|error| self.refused_upstream(&it.name, &error))
        };
        let problems: Vec<Problem> = self.settings.upstreams.iter().filter_map(refused).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    /// Why an upstream cannot be used, with the place of the setting that says so.
    pub(crate) fn refused_upstream(&self, name: &str, error: &UpstreamError) -> Problem {
        let (field, message, hint) = match error {
            UpstreamError::Tls(TlsError::CaFile { path, reason }) => (
                "ca_file",
                format!("{}: {reason}", path.display()),
                "name a PEM file with the certificate of a CA, or take the setting out",
            ),
            UpstreamError::Tls(TlsError::NoRoots) => (
                "ca_file",
                error.to_string(),
                "install the package ca-certificates, or name a PEM file with your CA here",
            ),
            _ => ("base_url", error.to_string(), "an upstream is https://HOST/PATH"),
        };
        let key = format!("upstream.{name}.{field}");
        let problem = Problem::new(format!("`{key}`: {message}")).hint(hint);
        match self.rows.iter().find(|row| row.key == key) {
            Some(row) => problem.at(&row.origin),
            None => problem,
        }
    }
}
