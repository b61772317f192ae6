//! The rules for upstream URLs (CONTRACT section 1): keys travel there, so nothing is guessed.

use std::net::IpAddr;

use http::Uri;

/// Checks a base URL and takes `/` from its end; says what is wrong with any other.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    if text.chars().any(|c| !c.is_ascii_graphic() || c == '\\') {
        return Err("has a blank, a backslash or a character outside ASCII".into());
    }
    // The parser drops fragments without a word.
    if let Some(mark) = ['?', '#'].into_iter().find(|mark| text.contains(*mark)) {
        let part = if mark == '?' { "query" } else { "fragment" };
        return Err(format!("has a {part}; write it without `{mark}` and what follows"));
    }
    let uri: Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not a URL with https:// and a host".into());
    };
    if authority.as_str().contains('@') {
        return Err("has a user name or password".into());
    }
    // `host:` and `host:99999` pass the parser.
    let bare = authority.host().len() == authority.as_str().len();
    if authority.host().is_empty() || (!bare && uri.port_u16().is_none_or(|port| port == 0)) {
        return Err("has no valid host and port".into());
    }
    match scheme {
        "https" => {}
        "http" if is_loopback(authority.host()) => {}
        "http" => return Err("would send keys in the clear; write https://".into()),
        _ => return Err("is neither https nor http".into()),
    }
    path(uri.path())?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// Whether a URL that passed [`base_url`] leads to this port of this machine.
pub(super) fn is_listener(base_url: &str, port: u16) -> bool {
    base_url.parse::<Uri>().is_ok_and(|uri| {
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        uri.host().is_some_and(is_loopback) && uri.port_u16().unwrap_or(default) == port
    })
}

/// Checks a path that requests are appended to.
fn path(path: &str) -> Result<(), String> {
    let lower = path.to_ascii_lowercase();
    if let Some(code) = ["%2f", "%5c", "%00"].into_iter().find(|code| lower.contains(code)) {
        return Err(format!("has `{code}` in its path"));
    }
    let path = lower.replace("%2e", ".");
    let path = path.trim_end_matches('/');
    for segment in path.split('/').skip(1) {
        match segment {
            "." | ".." => return Err("has a `.` or `..` segment in its path".into()),
            "" => return Err("has an empty segment in its path".into()),
            _ => {}
        }
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_and_loopback_pass() {
        for (text, url) in [
            ("https://api.kimi.com/coding/v1", "https://api.kimi.com/coding/v1"),
            ("https://api.kimi.com/coding/v1/", "https://api.kimi.com/coding/v1"),
            ("https://host", "https://host"),
            ("https://host:8443/v1", "https://host:8443/v1"),
            ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"),
            ("http://127.1.2.3/v1", "http://127.1.2.3/v1"),
            ("http://LOCALHOST:9", "http://LOCALHOST:9"),
            ("http://[::1]:9/v1", "http://[::1]:9/v1"),
            ("https://host/a..b/.well-known", "https://host/a..b/.well-known"),
        ] {
            assert_eq!(base_url(text).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "host",
            "/v1",
            "http://api.kimi.com/v1",
            "http://localhost.evil.com/v1",
            "http://127.0.0.1.evil.com/v1",
            "http://0.0.0.0/v1",
            "ftp://host/v1",
            "https://",
            "https:///v1",
            "https://user@host/v1",
            "https://user:pw@host/v1",
            "http://127.0.0.1@host/v1",
            "https://host/v1?a=b",
            "https://host/v1?",
            "https://host/v1#x",
            "https://host#",
            "https://host/a/../v1",
            "https://host/./v1",
            "https://host/%2e%2E/v1",
            "https://host/a%2Fb",
            "https://host/a%5cb",
            "https://host//v1",
            "https://host\\v1",
            "https://host/ä",
            "https://host:99999/v1",
            "https://host:/v1",
            "https://host:0/v1",
            "https://ho st/v1",
            "https://host/v1\n",
        ] {
            assert!(base_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_loop_is_seen() {
        assert!(is_listener("http://localhost:54123/v1", 54123));
        assert!(is_listener("http://[::1]:54123/kmi-rotor/v1", 54123));
        assert!(!is_listener("http://localhost:54124/v1", 54123));
        assert!(!is_listener("https://host:54123/v1", 54123));
    }
}
