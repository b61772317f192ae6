//! The feed of the running proxy, over the control socket: trace lines and pictures. Whatever
//! proxy runs is watched, one after the other; between them the home itself is looked at.

use std::{thread, time::Duration};

use kmi_proxy::{
    control::{self, CallError, FeedItem, Overview},
    ledger::Reader,
};
use kmi_tui::{feed::Answer, row};

use super::{Shared, resting, status};

/// How long it waits before it looks for a proxy again.
const RETRY: Duration = Duration::from_millis(500);

/// Watches for as long as the process lives.
pub(super) fn watch(shared: &Shared) {
    let reader = Reader::open(shared.place.home.state_dir());
    let span = reader.and_then(|reader| reader.span()).ok().flatten();
    let mut last = span.map_or(0, |(_, last)| last);
    let mut ran = None;
    loop {
        match control::feed(&shared.place.home.socket(), Some(last), 0) {
            Ok(feed) => {
                ran = Some(true);
                for item in feed.map_while(Result::ok) {
                    take(shared, item, &mut last);
                }
            }
            // Without a proxy nothing changes by itself, so once is enough.
            Err(CallError::NotRunning) if ran != Some(false) => {
                ran = Some(false);
                resting::look(shared);
            }
            // It is starting or stopping: the next try will tell.
            Err(_) => {}
        }
        thread::sleep(RETRY);
    }
}

fn take(shared: &Shared, item: FeedItem, last: &mut u64) {
    let mailbox = &shared.mailbox;
    match item {
        FeedItem::Line(line) => {
            *last = row::seq(&line).unwrap_or(*last);
            mailbox.line(line);
        }
        FeedItem::Missed(lines) => mailbox.missed(lines),
        FeedItem::Picture(picture) => {
            let Overview { status: state, fairness, .. } = *picture;
            mailbox.status(status(state));
            mailbox.proof(fairness);
        }
        FeedItem::Refused(failure) => {
            let hint = failure.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            mailbox.answer(Answer::Failed(format!("{}{hint}", failure.message)));
        }
        // A later kmi tells of more.
        _ => {}
    }
}
