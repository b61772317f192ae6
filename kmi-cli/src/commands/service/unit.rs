//! The text of a service file: the templates of `packaging/`, filled in.

use std::net::SocketAddr;

use crate::args::Manager;

const SERVICE: &str = include_str!("../../../../packaging/systemd/kmi.service");
const SOCKET: &str = include_str!("../../../../packaging/systemd/kmi.socket");
const AGENT: &str = include_str!("../../../../packaging/launchd/local.kmi.plist");

/// What the templates leave open.
pub(super) struct Parts {
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// Where clients reach it; systemd holds the socket.
    pub(super) listen: SocketAddr,
    /// Where launchd writes what it says; systemd has its journal.
    pub(super) log: String,
    /// How long stopping may take, in seconds.
    pub(super) stop: u64,
}

/// The names of a manager's files.
pub(super) fn names(manager: Manager) -> &'static [&'static str] {
    match manager {
        Manager::Systemd => &["kmi.service", "kmi.socket"],
        Manager::Launchd => &["local.kmi.plist"],
    }
}

/// The texts of [`names`], in that order.
pub(super) fn texts(manager: Manager, parts: &Parts) -> Vec<String> {
    // What is put in last cannot be taken for a gap of the template.
    match manager {
        Manager::Systemd => {
            let words: Vec<_> = parts.command.iter().map(|word| systemd_word(word)).collect();
            let service = SERVICE.replace("@STOP@", &parts.stop.to_string());
            vec![
                service.replace("@COMMAND@", &words.join(" ")),
                SOCKET.replace("@LISTEN@", &parts.listen.to_string()),
            ]
        }
        Manager::Launchd => {
            let string = |word: &String| format!("        <string>{}</string>", xml(word));
            let strings: Vec<_> = parts.command.iter().map(string).collect();
            let agent = AGENT.replace("@STOP@", &parts.stop.to_string());
            let agent = agent.replace("@LOG@", &xml(&parts.log));
            vec![agent.replace("@COMMAND@", &strings.join("\n"))]
        }
    }
}

/// A word of `ExecStart=`, where `%` and `$` mean something.
fn systemd_word(word: &str) -> String {
    let escaped = word
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
        .replace('%', "%%")
        .replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@=".contains(c);
    if word.chars().all(plain) { escaped } else { format!("\"{escaped}\"") }
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_program_as_they_are() {
        assert_eq!(systemd_word("/usr/bin/kmi"), "/usr/bin/kmi");
        assert_eq!(systemd_word("/my home/50%"), "\"/my home/50%%\"");
        assert_eq!(systemd_word(r#"a"b\$c"#), r#""a\"b\\$$c""#);
        let parts = Parts {
            command: vec!["/a & b<c>".into()],
            listen: SocketAddr::from(([127, 0, 0, 1], 1)),
            log: "/l@STOP@".into(),
            stop: 40,
        };
        let text = texts(Manager::Launchd, &parts).remove(0);
        assert!(text.contains("<string>/a &amp; b&lt;c&gt;</string>"), "{text}");
        assert!(text.contains("<string>/l@STOP@</string>"), "{text}");
    }
}
