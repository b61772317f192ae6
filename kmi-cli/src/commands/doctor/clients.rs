//! The clients: where their configuration and the environment lead them.

use std::{fs, io, net::SocketAddr, path::Path};

use http::Uri;
use kmi_proxy::home::Token;
use kmi_tui::quantity::counted;

use super::finding::Findings;
use crate::{client_env, config::Environment, shell};

const CHECK: &str = "clients";

/// Where a client would have to be led to reach the proxy of this home.
pub(super) struct Door<'a> {
    pub(super) listen: SocketAddr,
    pub(super) base_path: &'a str,
    /// `None` when none was made yet.
    pub(super) token: Option<Token>,
}

/// Where a base URL leads.
#[derive(Debug, PartialEq, Eq)]
enum Aim {
    /// To the proxy of this home.
    Here,
    /// To a proxy, but it will not be let in; why.
    Shut(String),
    /// Somewhere else, by its host.
    Elsewhere(String),
}

impl Door<'_> {
    /// Where a base URL leads, with the key that the client sends there.
    fn aim(&self, url: &str, key: Option<&str>) -> Aim {
        let uri: Option<Uri> = url.parse().ok();
        let Some(authority) = uri.as_ref().and_then(Uri::authority) else {
            return Aim::Elsewhere("no usable address".to_owned());
        };
        let host = authority.host().to_ascii_lowercase();
        let path = uri.as_ref().map(Uri::path).unwrap_or_default();
        let below = path
            .strip_prefix(self.base_path)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let local = ["127.0.0.1", "localhost", "[::1]"].contains(&host.as_str());
        let Some(below) = below.filter(|_| local) else {
            return Aim::Elsewhere(host);
        };
        if authority.port_u16().unwrap_or(80) != self.listen.port() {
            return Aim::Shut(format!("the port is not {}", self.listen.port()));
        }
        let in_path = below.strip_prefix("/t/").and_then(|rest| rest.split('/').next());
        let good =
            |text: &str| self.token.as_ref().is_some_and(|token| token.matches(text.as_bytes()));
        match in_path.or(key) {
            Some(text) if good(text) => Aim::Here,
            Some(_) => Aim::Shut("the token is not this home's".to_owned()),
            None => Aim::Shut("it has no token".to_owned()),
        }
    }

    fn tell(&self, who: &str, url: &str, key: Option<&str>, found: &mut Findings) {
        match self.aim(url, key) {
            Aim::Here => found.ok(CHECK, format!("{who} leads to this proxy")),
            Aim::Shut(why) => {
                let hint =
                    "take it out and start the client with `kmi run`, or copy it from `kmi env`";
                found.problem(CHECK, format!("{who} leads to kmi, but {why}"), hint);
            }
            Aim::Elsewhere(host) => {
                let hint = "`kmi run -- CMD` leads a client here without changing this";
                found.warning(CHECK, format!("{who} leads past kmi, to {host}"), hint);
            }
        }
    }
}

pub(super) fn check(door: &Door<'_>, env: &Environment, found: &mut Findings) {
    let kimis = [
        ("kimi-cli", client_env::kimi_cli_home(env)),
        ("Kimi Code", client_env::kimi_code_home(env)),
    ];
    for (name, home) in kimis {
        if let Some(file) = home.map(|home| home.join("config.toml")) {
            kimi(name, &file, door, found);
        }
    }
    let claude = env.path("CLAUDE_CONFIG_DIR").or_else(|| Some(env.path("HOME")?.join(".claude")));
    if let Some(dir) = claude {
        claude_code(&dir.join("settings.json"), door, found);
    }
    variables(door, env, found);
    proxies(env, found);
}

/// kimi-cli and Kimi Code: the providers of their `config.toml`, which `kmi run` overrides.
fn kimi(name: &str, file: &Path, door: &Door<'_>, found: &mut Findings) {
    let Some(table) = read(file, found, |text| text.parse::<toml::Table>().ok()) else { return };
    let providers = table.get("providers").and_then(toml::Value::as_table);
    let mut keys = 0;
    for (provider, value) in providers.into_iter().flatten() {
        let text = |field: &str| {
            value.get(field).and_then(toml::Value::as_str).filter(|text| !text.is_empty())
        };
        let (url, key) = (text("base_url"), text("api_key"));
        let aim = url.map(|url| door.aim(url, key));
        if let (Some(url), Some(Aim::Here | Aim::Shut(_))) = (url, aim) {
            door.tell(&format!("{name}'s provider {provider}"), url, key, found);
        } else if key.is_some() {
            keys += 1;
        }
    }
    let file = file.display();
    if keys == 0 {
        found.ok(CHECK, format!("{name} is set up ({file}); `kmi run` leads it here"));
    } else {
        let keys = counted(keys, "API key");
        let message = format!("{name} has {keys} of its own ({file}); `kmi run` leads it here");
        found.ok(CHECK, message);
    }
}

/// Claude Code: the `env` of its settings wins over the environment that `kmi run` sets.
fn claude_code(file: &Path, door: &Door<'_>, found: &mut Findings) {
    let Some(settings) =
        read(file, found, |text| serde_json::from_str::<serde_json::Value>(text).ok())
    else {
        return;
    };
    let variable = |name: &str| settings.get("env")?.get(name)?.as_str();
    match variable("ANTHROPIC_BASE_URL") {
        Some(url)
            if matches!(door.aim(url, variable("ANTHROPIC_AUTH_TOKEN")), Aim::Elsewhere(_)) =>
        {
            let message =
                format!("ANTHROPIC_BASE_URL in {} leads Claude Code past kmi", file.display());
            let hint = "it wins over `kmi run`: take it out of there to use kmi";
            found.warning(CHECK, message, hint);
        }
        Some(url) => {
            let key = variable("ANTHROPIC_AUTH_TOKEN").or_else(|| variable("ANTHROPIC_API_KEY"));
            door.tell("Claude Code's ANTHROPIC_BASE_URL", url, key, found);
        }
        None => found.ok(CHECK, "Claude Code is set up; `kmi run` leads it here"),
    }
}

/// What a file of a client says; `None` without the file, or when it is not understood.
fn read<T>(file: &Path, found: &mut Findings, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            let message = format!("{} cannot be read: {error}", file.display());
            found.warning(
                CHECK,
                message,
                "look at its permissions; its client cannot read it either",
            );
            return None;
        }
    };
    let parsed = parse(&text);
    if parsed.is_none() {
        let message = format!("{} is not understood", file.display());
        found.warning(CHECK, message, format!("look for a typing mistake: {}", shell::word(file)));
    }
    parsed
}

/// The variables that lead clients, and those that `kmi run` cannot help against.
fn variables(door: &Door<'_>, env: &Environment, found: &mut Findings) {
    let urls = [
        ("KIMI_BASE_URL", "KIMI_API_KEY"),
        ("KIMI_MODEL_BASE_URL", "KIMI_MODEL_API_KEY"),
        ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
        ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"),
    ];
    for (name, key) in urls {
        if let Some(url) = env.text(name) {
            door.tell(name, url, env.text(key), found);
        }
    }
    if env.os("KIMI_CODE_BASE_URL").is_some() {
        let message = "KIMI_CODE_BASE_URL is set: Kimi Code rewrites its configuration for it \
                       and loses its login";
        found.warning(CHECK, message, "unset KIMI_CODE_BASE_URL; kmi does not need it");
    }
    for name in ["CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"] {
        if env.os(name).is_some() {
            let message =
                format!("{name} is set: Claude Code goes past kmi, whatever `kmi run` says");
            found.warning(CHECK, message, format!("unset {name}"));
        }
    }
}

/// A proxy for all HTTP must not get requests to this machine.
fn proxies(env: &Environment, found: &mut Findings) {
    let names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let Some(name) = names.into_iter().find(|name| env.os(name).is_some()) else { return };
    let list = env.text("no_proxy").or_else(|| env.text("NO_PROXY")).unwrap_or_default();
    let excepted = |host: &str| list.split(',').any(|entry| [host, "*"].contains(&entry.trim()));
    if excepted("127.0.0.1") && excepted("localhost") {
        return found
            .ok(CHECK, format!("{name} is set, and NO_PROXY keeps this machine out of it"));
    }
    let message = format!("{name} is set, and NO_PROXY does not name 127.0.0.1 and localhost");
    let hint = "export NO_PROXY=\"$NO_PROXY,127.0.0.1,localhost\"; `kmi run` does so by itself";
    found.warning(CHECK, message, hint);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0707070707070707070707070707070707070707070707070707070707070707";

    fn door() -> Door<'static> {
        let listen = "127.0.0.1:54123".parse().unwrap();
        Door { listen, base_path: "/kmi-rotor", token: Some(Token::new(&[7; 32])) }
    }

    #[test]
    fn urls_lead_here_or_not() {
        let aim = |url: &str, key| door().aim(url, key);
        let with_token = format!("http://localhost:54123/kmi-rotor/t/{TOKEN}/v1");
        assert_eq!(aim(&with_token, None), Aim::Here);
        assert_eq!(aim(&with_token, Some("sk-other")), Aim::Here);
        assert_eq!(aim("http://127.0.0.1:54123/kmi-rotor/v1", Some(TOKEN)), Aim::Here);
        let shut = |url: &str, key, why: &str| {
            assert_eq!(aim(url, key), Aim::Shut(why.to_owned()), "{url}");
        };
        shut("http://127.0.0.1:1/kmi-rotor/v1", Some(TOKEN), "the port is not 54123");
        shut("http://127.0.0.1:54123/kmi-rotor/v1", None, "it has no token");
        shut("http://[::1]:54123/kmi-rotor/t/ab/v1", Some(TOKEN), "the token is not this home's");
        let past = |url: &str, host: &str| {
            assert_eq!(aim(url, Some(TOKEN)), Aim::Elsewhere(host.to_owned()), "{url}");
        };
        past("https://api.kimi.com/kmi-rotor/v1", "api.kimi.com");
        past("http://127.0.0.1:54123/kmi-rotors/v1", "127.0.0.1");
        past("/kmi-rotor/v1", "no usable address");
    }
}
