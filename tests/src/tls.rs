//! TLS before a stand-in, with a certificate that no system trusts.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::CertifiedKey;
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// A listener that takes TLS off and passes the bytes on.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    dir: TempDir,
    accepting: JoinHandle<()>,
}

impl TlsFront {
    /// Starts, with a certificate of its own for `name`, before `upstream`.
    pub async fn start(name: &str, upstream: SocketAddr) -> anyhow::Result<Self> {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([name.to_owned()])?;
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("ca.pem"), cert.pem())?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut inside = acceptor.accept(stream).await?;
                    let mut there = TcpStream::connect(upstream).await?;
                    copy_bidirectional(&mut inside, &mut there).await
                });
            }
        });
        Ok(Self { address, dir, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL by the given host name.
    pub fn base_url(&self, host: &str) -> String {
        format!("https://{host}:{}/coding/v1", self.address.port())
    }

    /// The certificate, as `ca_file` takes it.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
