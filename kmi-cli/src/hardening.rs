//! What is asked of the system for this process: what it holds ends in no core file, is open to no
//! debugger of the same user, and is in no message about a bug; and a proxy may open the files that
//! its connections take.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{self, PanicHookInfo},
    sync::OnceLock,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::output::Output;

/// What a proxy opens besides its clients' connections and one upstream connection for each: kept
/// ones, the ledger, key files, watchers.
const OTHER_FILES: u64 = 512;
/// The least of them with which it works.
const FEW_FILES: u64 = 64;

/// The limit on open files that this process was started with.
static FILES: OnceLock<Rlimit> = OnceLock::new();

/// Closes the process, as far as the system allows.
pub(crate) fn begin(output: Output) {
    // Only the soft limit: what `kmi run` starts may raise it again.
    let limit = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    let _ = setrlimit(Resource::Core, limit);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
    panic::set_hook(Box::new(move |info| tell(info, output)));
}

/// Raises the limit on open files so that `connections` clients fit, as far as the system allows:
/// systems begin with 1024 or 256, and beyond it no client is accepted and no upstream reached.
pub(crate) fn make_room(connections: usize, output: Output) {
    let given = FILES.get_or_init(|| getrlimit(Resource::Nofile));
    let files = (connections as u64).saturating_mul(2);
    if let Some(limit) = raised(given, files.saturating_add(OTHER_FILES)) {
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let least = files.saturating_add(FEW_FILES);
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|it| *it < least) {
        output.warning(
            format_args!(
                "the system lets kmi open {allowed} files, too few for {connections} connections"
            ),
            "raise the hard limit (`ulimit -Hn`), or lower `proxy.max_connections`",
        );
    }
}

/// The limit that allows so many files, or as many as may be; `None` where it allows them already.
fn raised(given: &Rlimit, files: u64) -> Option<Rlimit> {
    let wanted = given.maximum.map_or(files, |most| most.min(files));
    let enough = given.current.is_none_or(|now| now >= wanted);
    (!enough).then_some(Rlimit { current: Some(wanted), maximum: given.maximum })
}

/// Starts another program with the limit that this one was started with: there are programs that
/// break on a file with a large number.
pub(crate) fn with_given_limits<T>(start: impl FnOnce() -> T) -> T {
    let Some(given) = FILES.get() else { return start() };
    let ours = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, *given);
    let started = start();
    let _ = setrlimit(Resource::Nofile, ours);
    started
}

fn tell(info: &PanicHookInfo<'_>, output: Output) {
    let hint = "please report this line; with RUST_BACKTRACE=1 kmi also says how it came there";
    output.error(words(info), hint);
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        output.note(trace);
    }
}

/// Says where the bug is. A text that was put together at run time stays unsaid: it may hold what
/// was being worked on. The request ends with its connection; others do not notice.
fn words(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let what = info.payload().downcast_ref::<&'static str>();
    let what = what.map(|what| format!(" ({what})")).unwrap_or_default();
    format!("a bug in kmi at {place}{what}")
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, sync::mpsc};

    use super::*;

    #[test]
    fn as_many_files_as_are_wanted_and_allowed() {
        let raised = |current, maximum| {
            raised(&Rlimit { current, maximum }, 2560).map(|limit| limit.current)
        };
        assert_eq!(raised(Some(1024), Some(1 << 20)), Some(Some(2560)));
        assert_eq!(raised(Some(256), None), Some(Some(2560)));
        assert_eq!(raised(Some(256), Some(2000)), Some(Some(2000)));
        for enough in [Some(2560), Some(4096), None] {
            assert_eq!(raised(enough, None), None);
        }
        assert_eq!(raised(Some(2000), Some(2000)), None, "more may not be");
    }

    #[test]
    fn a_panic_says_where_it_was_and_no_secret() {
        let (tell, told) = mpsc::channel();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| drop(tell.send(words(info)))));
        let key = "sk-canary-0001".to_owned();
        let refused: Result<(), &String> = black_box(Err(&key));
        let _ = panic::catch_unwind(|| panic!("the key {key} is bad"));
        let _ = panic::catch_unwind(|| refused.expect("a good key"));
        let _ = panic::catch_unwind(|| panic!("plain words"));
        panic::set_hook(before);
        let said = told.try_iter().collect::<Vec<_>>().join("\n");
        assert_eq!(said.matches("a bug in kmi at kmi-cli/src/hardening.rs:").count(), 3, "{said}");
        assert!(said.contains("(plain words)") && !said.contains("sk-"), "{said}");
    }
}
