//! A client that sends exactly the bytes it is given.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::in_time;

/// One connection, without any manners.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
        Ok(in_time(self.stream.write_all(bytes.as_ref())).await??)
    }

    /// Reads until the text has come, and gives everything up to its end; the rest stays.
    pub async fn until(&mut self, text: &str) -> anyhow::Result<String> {
        loop {
            let found = self.read.windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + text.len());
                let taken = std::mem::replace(&mut self.read, rest);
                return Ok(String::from_utf8_lossy(&taken).into_owned());
            }
            let more = in_time(self.stream.read_buf(&mut self.read)).await??;
            anyhow::ensure!(more > 0, "the connection ended: {}", self.so_far());
        }
    }

    /// Reads until the proxy closes the connection, or resets it.
    pub async fn to_end(&mut self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes_to_end().await?).into_owned())
    }

    /// The same, byte for byte.
    pub async fn bytes_to_end(&mut self) -> anyhow::Result<Vec<u8>> {
        // A reset ends a connection as well; what came before it stays.
        let _ = in_time(self.stream.read_to_end(&mut self.read)).await?;
        Ok(std::mem::take(&mut self.read))
    }

    /// The status of the next answer, and its whole head.
    pub async fn head(&mut self) -> anyhow::Result<(u16, String)> {
        let head = self.until("\r\n\r\n").await?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or_else(|| anyhow::anyhow!("no status in {head:?}"))?, head))
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}
