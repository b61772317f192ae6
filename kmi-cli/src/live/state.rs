//! The state of proxy and keys, asked for several times a second.

use std::{thread, time::Duration};

use kmi_proxy::control::{self, CallError, Reply, Request};
use kmi_tui::feed::Status;

use super::{Place, Shared};
use crate::desk;

/// How often it asks.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks.
pub(super) fn watch(shared: &Shared) {
    let mut ran = None;
    loop {
        match control::call(&shared.place.home.socket(), &Request::Status) {
            Ok(Reply::Status(status)) => {
                ran = Some(true);
                shared.mailbox.status(plain(*status));
            }
            // Without a proxy nothing changes by itself, so once is enough.
            Err(CallError::NotRunning) if ran != Some(false) => {
                ran = Some(false);
                shared.mailbox.status(resting(&shared.place));
            }
            // It is starting, stopping, or of another version: the next answer will tell.
            _ => {}
        }
        thread::sleep(PAUSE);
    }
}

/// The state of a home on which no proxy runs.
pub(super) fn resting(place: &Place) -> Status {
    let Some(resting) = place.resting.as_deref() else { return Status::default() };
    let (config, env) = resting;
    // Looking around makes no home.
    if config.env_keys.is_empty() && !config.home.root().exists() {
        return Status::default();
    }
    match desk::ask_silently(config, env, &Request::Status) {
        Ok(Reply::Status(status)) => plain(*status),
        Ok(_) => Status::default(),
        Err(error) => Status { problems: vec![error.to_string()], ..Status::default() },
    }
}

fn plain(status: control::Status) -> Status {
    let failure = status.trace_failure.map(|it| format!("the trace cannot be written: {it}"));
    let problems = status.problems.into_iter().map(|it| format!("{} ({})", it.message, it.hint));
    Status { snapshot: status.snapshot, problems: failure.into_iter().chain(problems).collect() }
}
