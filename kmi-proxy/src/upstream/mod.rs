//! The way to one upstream: where its bases are, and kept connections to them.

mod answer;
mod connect;
mod connection;
mod kept;
mod origin;
mod tls;

use std::sync::Arc;

use http::Uri;
use http::uri::PathAndQuery;

pub(crate) use self::{
    answer::Answer,
    origin::{Origin, Sent},
};
pub use self::{origin::SendError, tls::TlsError};
use crate::settings::{UpstreamKind, UpstreamSettings};

/// Which API a request speaks; the two may have different bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `/v1/messages` and its neighbours.
    Anthropic,
    /// Everything else.
    OpenAi,
}

/// One upstream as the proxy uses it.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    openai: Base,
    anthropic: Base,
}

/// An origin, and the path there that everything goes below.
#[derive(Debug)]
struct Base {
    origin: Arc<Origin>,
    path: String,
}

/// Why an upstream cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The configuration's own check lets no such URL pass.
    #[error("`{0}` is no http or https URL with a host")]
    Url(String),
    /// Certificates could not be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Upstream {
    /// Prepares the way; connects to nothing yet.
    pub fn new(settings: &UpstreamSettings) -> Result<Self, UpstreamError> {
        let anthropic_url = anthropic_base_url(settings);
        let (openai, anthropic) = (split(&settings.base_url)?, split(&anthropic_url)?);
        let tls = (openai.https || anthropic.https)
            .then(|| tls::client_config(settings.ca_file.as_deref()))
            .transpose()?;
        let origin = |parts: &Parts| {
            Arc::new(Origin::new(&parts.root, parts.host.clone(), tls.clone(), settings))
        };
        let first = origin(&openai);
        let second =
            if openai.root == anthropic.root { Arc::clone(&first) } else { origin(&anthropic) };
        Ok(Self {
            settings: settings.clone(),
            openai: Base { origin: first, path: openai.path },
            anthropic: Base { origin: second, path: anthropic.path },
        })
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// The origin that a surface's requests go to.
    pub(crate) fn origin(&self, surface: Surface) -> &Arc<Origin> {
        &self.base(surface).origin
    }

    /// Closes kept connections that nobody has used for too long.
    pub(crate) fn sweep(&self) {
        self.openai.origin.sweep();
        self.anthropic.origin.sweep();
    }

    /// The target of a request: the base's path, then the client's bytes as they are.
    ///
    /// `rest` begins with `/` and is below `/v1`. Nothing is joined or normalised: the authority
    /// is fixed, so no path can lead elsewhere.
    pub(crate) fn target(&self, surface: Surface, rest: &str) -> Option<PathAndQuery> {
        let base = &self.base(surface).path;
        let version = if surface == Surface::Anthropic { "/v1" } else { "" };
        let mut target = String::with_capacity(base.len() + version.len() + rest.len());
        target.push_str(base);
        target.push_str(version);
        target.push_str(rest);
        PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)).ok()
    }

    fn base(&self, surface: Surface) -> &Base {
        match surface {
            Surface::Anthropic => &self.anthropic,
            Surface::OpenAi => &self.openai,
        }
    }
}

/// The Anthropic-style base: as configured, else where the provider has it (WIRE, table of
/// families).
fn anthropic_base_url(settings: &UpstreamSettings) -> String {
    if let Some(url) = &settings.anthropic_base_url {
        return url.clone();
    }
    let url = &settings.base_url;
    match settings.kind {
        UpstreamKind::OpenPlatform => {
            let host = url.find("://").map_or(0, |at| at + 3);
            let end = url[host..].find('/').map_or(url.len(), |at| host + at);
            format!("{}/anthropic", &url[..end])
        }
        UpstreamKind::KimiCode | UpstreamKind::OpenAi => {
            url.strip_suffix("/v1").unwrap_or(url).to_owned()
        }
    }
}

struct Parts {
    https: bool,
    host: String,
    /// `scheme://authority/`
    root: Uri,
    path: String,
}

fn split(url: &str) -> Result<Parts, UpstreamError> {
    let bad = || UpstreamError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or_else(bad)?;
    let root =
        Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/");
    Ok(Parts {
        https: *scheme == http::uri::Scheme::HTTPS,
        host: authority.as_str().to_owned(),
        root: root.build().map_err(|_| bad())?,
        path: uri.path().trim_end_matches('/').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(base: &str, kind: UpstreamKind, surface: Surface, rest: &str) -> String {
        let settings =
            UpstreamSettings { base_url: base.into(), kind, ..UpstreamSettings::default() };
        let upstream = Upstream::new(&settings).unwrap();
        upstream.target(surface, rest).unwrap().to_string()
    }

    #[test]
    fn requests_go_below_the_right_base() {
        use Surface::{Anthropic, OpenAi};
        use UpstreamKind::{KimiCode, OpenPlatform};
        let code = "http://127.0.0.1:1/coding/v1";
        assert_eq!(target(code, KimiCode, OpenAi, "/models"), "/coding/v1/models");
        assert_eq!(
            target(code, KimiCode, Anthropic, "/messages?beta=true"),
            "/coding/v1/messages?beta=true"
        );
        let open = "http://127.0.0.1:1/v1";
        assert_eq!(target(open, OpenPlatform, OpenAi, "/files/a"), "/v1/files/a");
        assert_eq!(target(open, OpenPlatform, Anthropic, "/messages"), "/anthropic/v1/messages");
    }

    #[test]
    fn a_path_is_never_taken_for_an_authority() {
        let code = "http://127.0.0.1:1/coding/v1";
        let kind = UpstreamKind::KimiCode;
        assert_eq!(
            target(code, kind, Surface::OpenAi, "//evil.example/x"),
            "/coding/v1//evil.example/x"
        );
    }
}
