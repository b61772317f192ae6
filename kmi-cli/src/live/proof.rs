//! The proof over the newest lines, again and again while lines come.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use super::Shared;
use crate::commands::newest_proof;

/// How often it looks whether there is something to prove.
const PAUSE: Duration = Duration::from_secs(1);
/// It rests this many times as long as it has worked: a tenth of a core at most.
const REST: u32 = 9;

/// Proves.
pub(super) fn watch(shared: &Shared) {
    let mut proven = None;
    loop {
        let newest = shared.newest.load(Ordering::Relaxed);
        let start = Instant::now();
        if proven != Some(newest)
            && let Ok(report) = newest_proof(&shared.place.home)
        {
            proven = Some(newest);
            shared.mailbox.proof(report);
        }
        thread::sleep(PAUSE.max(start.elapsed() * REST));
    }
}
