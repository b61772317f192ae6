//! What `kmi run` and `kmi env` set: the environment that points clients at the proxy
//! (CONTRACT section 3, WIRE section 4).
//!
//! Every base URL carries the token as a path segment: a client that is logged in sends its own
//! login and not the key it is told, so the path is the one gate that works for all of them. No
//! configuration file of a client is changed. `KIMI_CODE_BASE_URL` is left alone on purpose: with
//! it Kimi Code rewrites its own configuration and loses its login (WIRE section 4.2).

mod client;
mod launch;

use std::net::SocketAddr;

use kmi_proxy::{home::Token, rotor};

pub(crate) use self::{
    client::{goes_past, kimi_cli_home, kimi_code_home, model_name},
    launch::launch,
};
use crate::{args::Shell, config::Environment, shell};

/// Where clients reach the proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint<'a> {
    /// The address it listens on.
    pub(crate) listen: SocketAddr,
    /// The path that all of kmi lives under.
    pub(crate) base_path: &'a str,
    /// What lets a client in.
    pub(crate) token: &'a Token,
}

impl Endpoint<'_> {
    /// The base URL with the token in its path, without `/v1`.
    fn base_url(&self) -> String {
        format!("{}/t/{}", self.root(), self.token.expose())
    }

    /// The page that shows the trace. Browsers send what stands behind the `#` to nobody.
    pub(crate) fn page_url(&self) -> String {
        format!("{}/trace#token={}", self.root(), self.token.expose())
    }

    /// What all of kmi's addresses begin with.
    fn root(&self) -> String {
        rotor::root_url(self.listen, self.base_path)
    }
}

/// Variables with their values, the token among them; it cannot be printed by accident.
pub(crate) struct Variables(Vec<(&'static str, String)>);

impl Variables {
    /// Names and values, to hand them to a client.
    pub(crate) fn expose(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The variables; `model` is what [`model_name`] said.
pub(crate) fn variables(
    endpoint: &Endpoint<'_>,
    model: Option<&str>,
    env: &Environment,
) -> Variables {
    let base = endpoint.base_url();
    // OpenAI-style clients append `/chat/completions`, Anthropic-style ones `/v1/messages`.
    let openai = format!("{base}/v1");
    let token = endpoint.token.expose();
    let mut variables = vec![
        ("KIMI_BASE_URL", openai.clone()),
        ("KIMI_API_KEY", token.to_owned()),
        ("KIMI_MODEL_BASE_URL", openai.clone()),
        ("KIMI_MODEL_API_KEY", token.to_owned()),
        ("OPENAI_BASE_URL", openai),
        ("OPENAI_API_KEY", token.to_owned()),
        ("ANTHROPIC_BASE_URL", base),
        ("ANTHROPIC_AUTH_TOKEN", token.to_owned()),
        ("NO_PROXY", no_proxy(["NO_PROXY", "no_proxy"], endpoint, env)),
        ("no_proxy", no_proxy(["no_proxy", "NO_PROXY"], endpoint, env)),
    ];
    if let Some(model) = model {
        variables.push(("KIMI_MODEL_NAME", model.to_owned()));
    }
    Variables(variables)
}

/// What the user has, else what the twin of the other case has, and this machine.
fn no_proxy(names: [&str; 2], endpoint: &Endpoint<'_>, env: &Environment) -> String {
    let mut list = names.iter().find_map(|name| env.text(name)).unwrap_or_default().to_owned();
    let mut hosts = vec!["127.0.0.1", "localhost"];
    if endpoint.listen.is_ipv6() {
        hosts.push("::1");
    }
    for host in hosts {
        let there = list.split(',').any(|entry| entry.trim() == host || entry.trim() == "*");
        if !there {
            let comma = if list.is_empty() { "" } else { "," };
            list = format!("{list}{comma}{host}");
        }
    }
    list
}

/// The variables as a shell reads them.
pub(crate) fn write(variables: &Variables, shell: Shell) -> Result<String, serde_json::Error> {
    let line = |(name, value): (&str, &str)| match shell {
        Shell::Fish => {
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            format!("set -gx {name} '{value}'\n")
        }
        Shell::Sh | Shell::Json => format!("export {name}={}\n", shell::quoted(value)),
    };
    if shell == Shell::Json {
        let object: serde_json::Map<_, _> =
            variables.expose().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return Ok(serde_json::to_string_pretty(&object)? + "\n");
    }
    Ok(variables.expose().map(line).collect())
}

#[cfg(test)]
mod tests;
