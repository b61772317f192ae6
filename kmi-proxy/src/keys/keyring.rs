//! The keyring of the operating system, asked through the system's own tool.
//!
//! The libraries for it bring about a hundred crates (D-Bus, an async runtime of its own) into a
//! program that reads one secret at start. `secret-tool` (libsecret) and macOS's `security` are
//! what the system itself offers for that, ask the user to unlock where needed, and are bounded
//! by the same limits as `api_key_cmd`.

use std::path::Path;

use zeroize::Zeroizing;

use super::{command, problem::Fault};

/// The secret that is stored for a service and a user.
pub(super) fn lookup(service: &str, user: &str, dir: &Path) -> Result<Zeroizing<String>, Fault> {
    let argv = tool(service, user).ok_or_else(|| {
        Fault::refused(
            "`api_key_keyring` is not known on this system",
            "use api_key_cmd with the system's own tool for secrets",
        )
    })?;
    let found = command::output_of_tool(&argv, dir, missing(argv[0]))
        .map_err(|fault| fault.about("the system's keyring"))?;
    if found.trim().is_empty() {
        return Err(Fault::refused("the keyring has no such entry", hint()));
    }
    Ok(found)
}

fn tool<'a>(service: &'a str, user: &'a str) -> Option<Vec<&'a str>> {
    if cfg!(target_os = "macos") {
        let security = "/usr/bin/security";
        Some(vec![security, "find-generic-password", "-w", "-s", service, "-a", user])
    } else if cfg!(unix) {
        // The attributes that the common keyring libraries of Python, Rust and Node write.
        Some(vec!["secret-tool", "lookup", "service", service, "username", user])
    } else {
        None
    }
}

fn missing(tool: &str) -> Fault {
    Fault::refused(
        format!("the program `{tool}` is not installed"),
        "install it: on Debian and Ubuntu the package libsecret-tools brings it, elsewhere libsecret",
    )
}

fn hint() -> &'static str {
    if cfg!(target_os = "macos") {
        "store it: security add-generic-password -s SERVICE -a USER -w"
    } else {
        "store it: secret-tool store --label=kimi service SERVICE username USER"
    }
}
