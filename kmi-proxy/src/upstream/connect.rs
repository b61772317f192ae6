//! New connections: TCP with happy eyeballs, then TLS, then HTTP/1.1, all within one time limit.

use std::{io, sync::Arc, time::Duration};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, dns::GaiResolver};
use rustix::io::Errno;
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service as _;

use super::connection::{self, Connection};

/// Where nothing acknowledges what was sent, the connection ends after this time: without it the
/// system tries for a quarter of an hour, and a request waits for its whole time. An upstream that
/// takes nothing for so long counts as gone too.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

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
    /// This machine has no room for another connection.
    #[error("{0}")]
    NoRoom(String),
}

impl Connector {
    pub(super) fn new(root: &Uri, tls: Option<Arc<ClientConfig>>, timeout: Duration) -> Self {
        let tcp = tcp(GaiResolver::new(), timeout);
        let tls = tls.map_or_else(no_tls, |tls| ClientConfig::clone(&tls));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls);
        // Plain http was restricted to loopback when the configuration was checked.
        let https = https.https_or_http().enable_http1().wrap_connector(tcp);
        Self { root: root.clone(), https, timeout }
    }

    /// A connection that is ready for a request.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        match tokio::time::timeout(self.timeout, self.establish()).await {
            Ok(result) => result.map_err(|error| {
                let why = chain(&*error);
                if is_no_room(&*error) {
                    ConnectError::NoRoom(why)
                } else {
                    ConnectError::Failed(why)
                }
            }),
            Err(_) => Err(ConnectError::Timeout(self.timeout)),
        }
    }

    async fn establish(&self) -> Result<Connection, BoxError> {
        let connected = self.https.clone().call(self.root.clone()).await?;
        Ok(Connection::new(connection::stream(connected)))
    }
}

/// The first part of a connection; `timeout` is for all of it.
fn tcp<R>(resolver: R, timeout: Duration) -> HttpConnector<R> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_mins(1)));
    tcp.enforce_http(false);
    // Divided over a name's addresses: one that does not answer leaves time for the others, and all
    // of them leave some for TLS.
    tcp.set_connect_timeout(Some(timeout * 3 / 4));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
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

/// Whether it is this machine that lacks something: descriptors or memory. Not where an address is
/// not available: so it is with the IPv6 address of an upstream that is down, on a host without IPv6.
fn is_no_room(error: &(dyn std::error::Error + 'static)) -> bool {
    const LACKS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>().and_then(Errno::from_io_error))
        .any(|errno| LACKS.contains(&errno))
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

// Other systems have no second loopback address, and other backlogs.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        future::{Ready, ready},
        net::{SocketAddr, TcpListener, TcpStream},
        task::{Context, Poll},
        vec,
    };

    use hyper_util::client::legacy::connect::dns::Name;
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

    use super::*;

    /// A name with these addresses.
    #[derive(Clone)]
    struct Named(Vec<SocketAddr>);

    impl tower_service::Service<Name> for Named {
        type Response = vec::IntoIter<SocketAddr>;
        type Error = io::Error;
        type Future = Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            ready(Ok(self.0.clone().into_iter()))
        }
    }

    #[test]
    fn what_this_machine_lacks_is_not_the_upstreams_fault() {
        #[derive(Debug, thiserror::Error)]
        #[error("it cannot be opened")]
        struct Caused(#[source] io::Error);
        let is_no_room = |errno: Errno| is_no_room(&Caused(errno.into()));
        assert!(is_no_room(Errno::MFILE));
        assert!(is_no_room(Errno::NOBUFS));
        assert!(!is_no_room(Errno::ADDRNOTAVAIL));
        assert!(!is_no_room(Errno::CONNREFUSED));
        assert!(!is_no_room(Errno::TIMEDOUT));
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        // The system answers nobody for a listener whose line is full.
        let silent = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&silent, &SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        listen(&silent, 0).unwrap();
        let silent_at = SocketAddr::try_from(getsockname(&silent).unwrap()).unwrap();
        let _in_line = TcpStream::connect(silent_at).unwrap();
        let good_at = SocketAddr::from(([127, 0, 0, 1], silent_at.port()));
        let _good = TcpListener::bind(good_at).unwrap();

        let mut tcp = tcp(Named(vec![silent_at, good_at]), Duration::from_secs(2));
        let uri = format!("http://upstream.example:{}/", silent_at.port()).parse().unwrap();
        let connected = tokio::time::timeout(Duration::from_secs(2), tcp.call(uri)).await;
        let connected = connected.expect("it is in time").expect("the second one answers");
        assert_eq!(connected.inner().peer_addr().unwrap(), good_at);
    }
}
