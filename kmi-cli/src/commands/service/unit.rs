//! The text of a service file: the templates of `packaging/`, filled in.

use crate::args::Manager;

const SYSTEMD: &str = include_str!("../../../../packaging/systemd/kmi.service");
const LAUNCHD: &str = include_str!("../../../../packaging/launchd/local.kmi.plist");

/// What the templates leave open.
pub(super) struct Parts {
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// Where launchd writes what it says; systemd has its journal.
    pub(super) log: String,
    /// How long stopping may take, in seconds.
    pub(super) stop: u64,
}

pub(super) fn text(manager: Manager, parts: &Parts) -> String {
    let (template, command, log) = match manager {
        Manager::Systemd => {
            let words: Vec<_> = parts.command.iter().map(|word| systemd_word(word)).collect();
            (SYSTEMD, words.join(" "), String::new())
        }
        Manager::Launchd => {
            let string = |word: &String| format!("        <string>{}</string>", xml(word));
            let strings: Vec<_> = parts.command.iter().map(string).collect();
            (LAUNCHD, strings.join("\n"), xml(&parts.log))
        }
    };
    // What is put in last cannot be taken for a gap of the template.
    template
        .replace("@STOP@", &parts.stop.to_string())
        .replace("@LOG@", &log)
        .replace("@COMMAND@", &command)
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
        let parts = Parts { command: vec!["/a & b<c>".into()], log: "/l@STOP@".into(), stop: 40 };
        let text = text(Manager::Launchd, &parts);
        assert!(text.contains("<string>/a &amp; b&lt;c&gt;</string>"), "{text}");
        assert!(text.contains("<string>/l@STOP@</string>"), "{text}");
    }
}
