//! Trace lines of the running proxy, as they are committed.

use std::{sync::atomic::Ordering, thread, time::Duration};

use kmi_proxy::{control, ledger::Reader};
use serde::Deserialize;

use super::Shared;

/// How long it waits before it looks for a proxy again.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct Head {
    seq: Option<u64>,
    /// In the notice that lines were left out: how many.
    lines: Option<u64>,
}

/// Follows whatever proxy runs, one after the other.
pub(super) fn watch(shared: &Shared) {
    let reader = Reader::open(shared.place.home.state_dir());
    let head = reader.and_then(|reader| reader.span()).ok().flatten();
    let mut last = head.map_or(0, |(_, last)| last);
    shared.newest.store(last, Ordering::Relaxed);
    loop {
        if let Ok(lines) = control::follow(&shared.place.home.socket(), Some(last)) {
            for line in lines.map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(Head { seq: Some(seq), .. }) => {
                        last = seq;
                        shared.newest.store(seq, Ordering::Relaxed);
                        shared.mailbox.line(line);
                    }
                    Ok(Head { lines: Some(missed), .. }) => shared.mailbox.missed(missed),
                    _ => {}
                }
            }
        }
        thread::sleep(RETRY);
    }
}
