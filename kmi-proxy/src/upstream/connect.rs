//! New connections: TCP with happy eyeballs, then TLS, then HTTP/1.1, all within one time limit.

use std::{sync::Arc, time::Duration};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service as _;

use super::connection::{self, Connection};

/// Opens connections to one origin.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    root: Uri,
    https: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

/// Why a connection did not come about; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Failed(String),
}

impl Connector {
    pub(super) fn new(root: &Uri, tls: Option<Arc<ClientConfig>>, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        tcp.enforce_http(false);
        let tls = tls.map_or_else(no_tls, |tls| ClientConfig::clone(&tls));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls);
        // Plain http was restricted to loopback when the configuration was checked.
        let https = https.https_or_http().enable_http1().wrap_connector(tcp);
        Self { root: root.clone(), https, timeout }
    }

    /// A connection that is ready for a request.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        match tokio::time::timeout(self.timeout, self.establish()).await {
            Ok(result) => result.map_err(|error| ConnectError::Failed(chain(&*error))),
            Err(_) => Err(ConnectError::Timeout(self.timeout)),
        }
    }

    async fn establish(&self) -> Result<Connection, BoxError> {
        let connected = self.https.clone().call(self.root.clone()).await?;
        Ok(Connection::new(connection::stream(connected)))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connector needs a configuration even where no https origin uses it; this one trusts nobody.
fn no_tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring supports TLS 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// An error with its causes in one line: "client error: tcp connect error: refused".
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
