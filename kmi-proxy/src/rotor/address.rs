//! The addresses under which a listener is told and reached.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where this machine reaches a listener. "All addresses" is none to connect to, and no Host that
/// the gate lets in: the loopback address of its family stands for it.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen {
        _ if !listen.ip().is_unspecified() => listen.ip(),
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

/// What all of kmi's URLs begin with, without a `/` at the end.
pub fn root_url(listen: SocketAddr, base_path: &str) -> String {
    format!("http://{}{base_path}", reachable(listen))
}

/// The base URL for clients, without the token.
pub fn base_url(listen: SocketAddr, base_path: &str) -> String {
    format!("{}/v1", root_url(listen, base_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_that_is_told_can_be_connected_to() {
        let told = |listen: &str| base_url(listen.parse().unwrap(), "/kmi-rotor");
        assert_eq!(told("127.0.0.1:54123"), "http://127.0.0.1:54123/kmi-rotor/v1");
        assert_eq!(told("192.0.2.7:80"), "http://192.0.2.7:80/kmi-rotor/v1");
        assert_eq!(told("0.0.0.0:54123"), "http://127.0.0.1:54123/kmi-rotor/v1");
        assert_eq!(told("[::]:54123"), "http://[::1]:54123/kmi-rotor/v1");
    }
}
