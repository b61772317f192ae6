//! Before anything else: what this process holds ends in no core file, is open to no debugger of
//! the same user, and is in no message about a bug.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{self, PanicHookInfo},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::output::Output;

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
