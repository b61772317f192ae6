//! One watcher: lines and pictures, woven into one stream of JSON lines.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::lines::Lines;

/// Under load lines gather for this long: a write costs as much for one as for many. The first
/// line after a pause goes out at once.
const GATHER: Duration = Duration::from_millis(50);
/// In silence an empty line goes out, so that both sides notice when the other one is gone.
const SILENCE: Duration = Duration::from_secs(15);

/// One watcher's end of the feed.
#[derive(Debug)]
pub(crate) struct Watcher {
    lines: Lines,
    pictures: Option<watch::Receiver<Option<Arc<str>>>>,
    /// When something went out last.
    sent: Option<Instant>,
    /// Whether more may be waiting than went out.
    more: bool,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    pub(super) fn new(
        lines: Lines,
        mut pictures: Option<watch::Receiver<Option<Arc<str>>>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        // One that was painted for others is news for this one.
        pictures.iter_mut().for_each(watch::Receiver::mark_changed);
        Self { lines, pictures, sent: None, more: false, _place: place }
    }

    /// The next piece of the stream: whole lines, never nothing; but a line may be empty. `None`
    /// when the proxy has ended.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while !self.lines.is_live() {
            self.lines.past(&mut out).await;
            if !out.is_empty() {
                return Some(out.into());
            }
        }
        // Nothing comes out of it when a picture was taken away, or a line is known already.
        while out.is_empty() {
            if !self.more && !self.wait(&mut out).await {
                return None;
            }
            self.more = self.lines.waiting(&mut out);
            self.picture(&mut out);
        }
        self.sent = Some(Instant::now());
        Some(out.into())
    }

    fn picture(&mut self, out: &mut Vec<u8>) {
        if let Some(pictures) = &mut self.pictures
            && pictures.has_changed().unwrap_or(false)
            && let Some(picture) = &*pictures.borrow_and_update()
        {
            out.extend_from_slice(picture.as_bytes());
            out.push(b'\n');
        }
    }

    /// Waits until there is something to send, then a little for what follows; false at the end.
    async fn wait(&mut self, out: &mut Vec<u8>) -> bool {
        tokio::select! {
            live = self.lines.live(out) => {
                if !live {
                    return false;
                }
            }
            () = changed(&mut self.pictures) => {}
            () = tokio::time::sleep(SILENCE) => out.push(b'\n'),
        }
        if let Some(sent) = self.sent {
            tokio::time::sleep_until(sent + GATHER).await;
        }
        true
    }
}

/// Waits for the next picture; for ever where none comes.
async fn changed(pictures: &mut Option<watch::Receiver<Option<Arc<str>>>>) {
    if let Some(pictures) = pictures
        && pictures.changed().await.is_ok()
    {
        // Waiting is not looking.
        pictures.mark_changed();
        return;
    }
    std::future::pending::<()>().await;
}
