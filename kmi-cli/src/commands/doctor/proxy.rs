//! The proxy: does it run and answer; if not, could it start?

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use kmi_proxy::{
    control::{self, CallError, Reply, Request, Status},
    home::Home,
    probe,
};

use super::finding::Findings;
use crate::config::Config;

const CHECK: &str = "proxy";

/// Longest path of a unix socket on every system.
const MAX_SOCKET: usize = 103;

/// The status of the proxy that runs on this home, if one does.
pub(super) fn ask(home: &Home, found: &mut Findings) -> Option<Status> {
    match control::call(&home.socket(), &Request::Status) {
        Ok(Reply::Status(status)) => return Some(*status),
        Err(CallError::NotRunning | CallError::Gone) => {}
        Ok(_) => not_understood(found, "it gives an answer that does not fit"),
        Err(error) => not_understood(found, &error.to_string()),
    }
    None
}

fn not_understood(found: &mut Findings, what: &str) {
    let hint = "stop it with `kmi stop`, or by its number with `kill`, and start it again";
    found.problem(CHECK, format!("a proxy runs on this home, but {what}"), hint);
}

pub(super) fn check(config: &Config, running: Option<&Status>, found: &mut Findings) {
    match running {
        Some(status) => answers(config, status, found),
        None => could_start(config, found),
    }
}

fn answers(config: &Config, status: &Status, found: &mut Findings) {
    let proxy = &status.snapshot.proxy;
    let url = proxy.base_url.as_deref().unwrap_or("an unknown address");
    let pid = proxy.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    let address: Option<SocketAddr> = proxy.listen.as_ref().and_then(|text| text.parse().ok());
    match address.map(|address| probe::is_kmi(address, &config.settings.proxy.base_path)) {
        Some(Ok(true)) => found.ok(CHECK, format!("it serves at {url}{pid}")),
        Some(Ok(false)) | None => {
            let message = format!("what answers at {url} is not the proxy{pid}");
            found.problem(CHECK, message, "restart it: `kmi stop`, then `kmi serve`");
        }
        Some(Err(error)) => {
            let message = format!("it runs{pid}, but does not answer at {url}: {error}");
            found.problem(CHECK, message, "restart it: `kmi stop`, then `kmi serve`");
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    if proxy.version != version {
        let message = format!("the running proxy is kmi {}, this is {version}", proxy.version);
        found.warning(CHECK, message, "restart it: `kmi stop`, then `kmi serve`");
    }
    let wanted = config.settings.proxy.listen;
    if wanted.port() != 0 && address.is_some_and(|address| address != wanted) {
        let message = format!("it serves at {url}, the configuration says {wanted}");
        found.warning(CHECK, message, "restart it to have the configured address");
    }
    if let Some(failure) = &status.trace_failure {
        let message = format!("the trace cannot be written: {failure}");
        found.problem(CHECK, message, "make room on the disk; what is missing will be declared");
    }
}

fn could_start(config: &Config, found: &mut Findings) {
    let socket = config.home.socket();
    if socket.as_os_str().len() > MAX_SOCKET {
        let message = format!("{} is too long for the path of a socket", socket.display());
        found.problem(CHECK, message, "use a home with a shorter path: `--home DIR`");
    }
    let listen = config.settings.proxy.listen;
    match TcpListener::bind(listen) {
        Ok(_) if listen.port() == 0 => found.ok(CHECK, "none runs; it will pick a free port"),
        Ok(_) => found.ok(CHECK, format!("none runs; {listen} is free for it")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let hint = "end that program, or choose another address: proxy.listen, or `--listen`";
            found.problem(CHECK, format!("{listen} is held by {}", holder(config, listen)), hint);
        }
        Err(error) => {
            let hint = "choose another address: proxy.listen, or `kmi serve --listen ADDR`";
            found.problem(CHECK, format!("{listen} cannot be listened on: {error}"), hint);
        }
    }
}

/// Who listens there, as far as the system tells.
fn holder(config: &Config, listen: SocketAddr) -> String {
    let process = listeners::get_process_by_port(listen.port(), listeners::Protocol::TCP).ok();
    let who = match process {
        Some(process) => format!("{} (process {})", process.name, process.pid),
        // Another user's, or one that lets nobody look into it, as kmi does.
        None => "another program".to_owned(),
    };
    match probe::is_kmi(listen, &config.settings.proxy.base_path) {
        Ok(true) => format!("{who}, which serves another home"),
        _ => who,
    }
}
