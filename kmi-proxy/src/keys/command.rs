//! Asking another program for a key: no shell, and bounded in time and size.

use std::{
    env,
    ffi::OsString,
    io::{self, Read},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use kmi_core::display;
use rustix::{
    fs::OFlags,
    process::{Pid, Signal},
};
use zeroize::Zeroizing;

use super::problem::Fault;

/// Longest time a command may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Most output that is taken, in bytes.
const MAX_OUTPUT: usize = 64 * 1024;
/// Most of a command's complaints that is kept, in bytes.
const MAX_COMPLAINT: usize = 4 * 1024;
/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Runs a program and returns what it printed.
///
/// A program that is named by a relative path is looked for from `dir`, never from the current
/// directory; a bare name is looked for in `PATH`.
pub(super) fn output(argv: &[&str], dir: &Path) -> Result<Zeroizing<String>, Fault> {
    output_within(argv, dir, TIMEOUT)
}

/// The same for a tool of the system: `missing` says what brings it where it is not installed.
pub(super) fn output_of_tool(
    argv: &[&str],
    dir: &Path,
    missing: Fault,
) -> Result<Zeroizing<String>, Fault> {
    let running = start(argv, dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing,
        _ => cannot_start(&error),
    })?;
    printed_by(running, TIMEOUT)
}

fn output_within(argv: &[&str], dir: &Path, timeout: Duration) -> Result<Zeroizing<String>, Fault> {
    printed_by(start(argv, dir).map_err(|error| cannot_start(&error))?, timeout)
}

fn printed_by(mut running: Running, timeout: Duration) -> Result<Zeroizing<String>, Fault> {
    let (mut out, mut err) = (Collected::up_to(MAX_OUTPUT), Collected::up_to(MAX_COMPLAINT));
    let deadline = Instant::now() + timeout;
    let status = loop {
        // The status first: what an ended program has printed is then surely in the pipe.
        let status = running.0.try_wait().map_err(|error| cannot_start(&error))?;
        out.drain(running.0.stdout.as_mut());
        err.drain(running.0.stderr.as_mut());
        if out.overflow {
            return Err(too_much());
        }
        if let Some(status) = status {
            break status;
        }
        if Instant::now() >= deadline {
            return Err(too_slow(timeout));
        }
        thread::sleep(LOOK);
    };
    if !status.success() {
        return Err(failed(status, &out.bytes, &err.bytes));
    }
    match std::str::from_utf8(&out.bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Fault::refused("the command's output is not text", "it must print the key")),
    }
}

/// A program that is ended, with its children, unless it has ended by itself.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
                // It may end on its own in this very moment.
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}

fn start(argv: &[&str], dir: &Path) -> io::Result<Running> {
    let (name, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let program = if name.contains('/') { dir.join(name) } else { name.into() };
    let mut command = Command::new(program);
    withhold_keys(&mut command, env::vars_os().map(|(name, _)| name));
    let running = command
        .args(arguments)
        .current_dir(dir)
        // A group of its own, so that its children end with it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Running)?;
    // A grandchild that keeps a pipe open must not be able to hold the reader.
    if let (Some(out), Some(err)) = (&running.0.stdout, &running.0.stderr) {
        rustix::fs::fcntl_setfl(out, OFlags::NONBLOCK)?;
        rustix::fs::fcntl_setfl(err, OFlags::NONBLOCK)?;
    }
    Ok(running)
}

/// A program that knows one key is no reason to tell it the others.
fn withhold_keys(command: &mut Command, names: impl Iterator<Item = OsString>) {
    let is_key = |name: &OsString| name.as_encoded_bytes().starts_with(b"KMI_API_KEY");
    for name in names.filter(is_key) {
        command.env_remove(name);
    }
}

/// The beginning of a stream.
struct Collected {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    overflow: bool,
}

impl Collected {
    fn up_to(limit: usize) -> Self {
        // Never grown, so that no copy of a secret stays behind.
        Self { bytes: Zeroizing::new(Vec::with_capacity(limit)), limit, overflow: false }
    }

    /// Takes what is there now; what is beyond the limit is read and thrown away.
    fn drain(&mut self, stream: Option<&mut impl Read>) {
        let Some(stream) = stream else { return };
        let mut piece = Zeroizing::new([0; 8 * 1024]);
        for _ in 0..=MAX_OUTPUT / piece.len() {
            let Ok(n @ 1..) = stream.read(&mut piece[..]) else { return };
            let room = n.min(self.limit - self.bytes.len());
            self.bytes.extend_from_slice(&piece[..room]);
            self.overflow |= room < n;
        }
    }
}

fn cannot_start(error: &io::Error) -> Fault {
    const WHAT: &str = "the command cannot be run";
    let hint = "name the program by its full path, and its arguments one by one";
    match error.kind() {
        io::ErrorKind::NotFound => {
            Fault::refused(format!("{WHAT}: there is no such program"), hint)
        }
        _ => Fault::of_system(WHAT, error, hint),
    }
}

fn too_slow(timeout: Duration) -> Fault {
    Fault::refused(
        format!("the command took longer than {} s", timeout.as_secs_f32()),
        "run it by hand: it must print the key without asking anything",
    )
}

fn too_much() -> Fault {
    Fault::refused(
        format!("the command printed more than {MAX_OUTPUT} bytes"),
        "it must print the key and nothing else",
    )
}

/// Shows the first line of the program's complaint, unless that repeats what it printed.
fn failed(status: ExitStatus, out: &[u8], err: &[u8]) -> Fault {
    let out = String::from_utf8_lossy(out);
    let err = String::from_utf8_lossy(err);
    let complaint = err.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let repeats = out.split_whitespace().any(|word| complaint.contains(word));
    let mut message = format!("the command failed ({status})");
    if !complaint.is_empty() && !repeats {
        message.push_str(": ");
        message.push_str(&display::visible(complaint));
    }
    Fault::refused(message, "run it by hand; it may need you to sign in first")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Duration) -> Result<Zeroizing<String>, String> {
        output_within(&["sh", "-c", script], Path::new("/"), timeout)
            .map_err(|fault| fault.in_file(&"f".into()).to_string())
    }

    #[test]
    fn the_output_is_what_the_program_printed() {
        assert_eq!(*sh("echo some-key", TIMEOUT).unwrap(), "some-key\n");
        assert_eq!(*sh("cat; echo none", TIMEOUT).unwrap(), "none\n", "nothing on stdin");
    }

    #[test]
    fn a_program_is_not_told_the_keys_of_the_environment() {
        let mut command = Command::new("sh");
        let names = ["HOME", "KMI_API_KEY", "KMI_API_KEY_WORK", "KMI_HOME"].map(OsString::from);
        withhold_keys(&mut command, names.into_iter());
        let withheld: Vec<_> = command.get_envs().collect();
        assert_eq!(withheld, ["KMI_API_KEY", "KMI_API_KEY_WORK"].map(|it| (it.as_ref(), None)));
    }

    #[test]
    fn a_slow_program_and_its_children_are_ended() {
        let begun = Instant::now();
        let error = sh("sleep 60 & sleep 60", Duration::from_millis(100)).unwrap_err();
        assert_eq!(error, "f: the command took longer than 0.1 s");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_hold_the_reader() {
        let begun = Instant::now();
        assert_eq!(*sh("sleep 40 & echo some-key", TIMEOUT).unwrap(), "some-key\n");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn too_much_output_is_refused() {
        let error = sh("yes", TIMEOUT).unwrap_err();
        assert_eq!(error, "f: the command printed more than 65536 bytes");
    }

    #[test]
    fn a_complaint_is_shown_made_visible_and_without_the_output() {
        let error = sh("printf 'not \\033[31msigned in\\nmore' >&2; exit 3", TIMEOUT).unwrap_err();
        assert_eq!(error, "f: the command failed (exit status: 3): not \\u{1b}[31msigned in");
        let error = sh("echo sk-secret-1; echo got sk-secret-1 >&2; exit 1", TIMEOUT).unwrap_err();
        assert_eq!(error, "f: the command failed (exit status: 1)");
    }

    #[test]
    fn a_program_that_is_not_there_is_told_without_its_name() {
        let error = output(&["sk-not-a-program"], Path::new("/")).unwrap_err();
        let error = error.in_file(&"f".into()).to_string();
        assert_eq!(error, "f: the command cannot be run: there is no such program");
        let missing = Fault::refused("no tool", "install it");
        let error = output_of_tool(&["kmi-no-such-tool"], Path::new("/"), missing).unwrap_err();
        assert_eq!(error, Fault::refused("no tool", "install it"));
    }
}
