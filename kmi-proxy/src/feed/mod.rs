//! What those who watch are shown: trace lines as they are committed, and now and then the whole
//! picture. The control socket and the web page hand out the same stream.
//!
//! Watching never slows what is watched. The lines come out of one ring that the ledger's writer
//! fills without waiting; who reads too slowly is told how many lines it missed. The picture is
//! made once for all watchers, by one task, and only while there are any.

mod lines;
mod overview;
mod watcher;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use self::lines::Lines;
pub use self::overview::Overview;
pub(crate) use self::{lines::Begin, watcher::Watcher};
use crate::{
    control::Status,
    ledger::{Reader, Subscription},
    rotor::InFlight,
};

/// Watchers at once, on the control socket and on the page together.
const WATCHERS: usize = 32;

/// Looks into the ledger at once, for those who scroll back or ask why.
const READINGS: usize = 2;

/// Where a feed takes it all from.
pub(crate) trait Source: std::fmt::Debug + Send + Sync + 'static {
    /// What `kmi status` shows; may block for a moment.
    fn status(&self, now: Timestamp) -> Status;
    /// The turns under way.
    fn in_flight(&self) -> HashMap<Arc<str>, InFlight>;
    /// Committed lines from now on.
    fn subscribe(&self) -> Subscription;
    /// A reader of the lines before; `None` when the ledger cannot be read.
    fn reader(&self) -> Option<Reader>;
}

/// The feed of one proxy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: OnceLock<Weak<dyn Source>>,
    places: Arc<Semaphore>,
    /// The newest picture, as a line of JSON; `None` while nobody watches.
    picture: watch::Sender<Option<Arc<str>>>,
    /// Somebody has begun to watch.
    begun: Notify,
    readings: Arc<Semaphore>,
    /// Whether the proxy has begun to stop.
    ending: watch::Sender<bool>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            source: OnceLock::new(),
            places: Arc::new(Semaphore::new(WATCHERS)),
            picture: watch::Sender::default(),
            begun: Notify::new(),
            readings: Arc::new(Semaphore::new(READINGS)),
            ending: watch::Sender::default(),
        }
    }
}

/// Why nobody can watch now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// There are enough watchers.
    #[error("{WATCHERS} others watch already")]
    TooMany,
    /// The proxy is starting or stopping.
    #[error("the proxy is starting or stopping")]
    NoSource,
}

impl Feed {
    /// Says where everything comes from, once. The feed does not keep it alive.
    pub(crate) fn connect(&self, source: Weak<dyn Source>) {
        let _ = self.0.source.set(source);
    }

    /// Begins to watch: lines, and with `pictures` the whole picture too. Blocks for a moment.
    pub(crate) fn watch(&self, begin: Begin, pictures: bool) -> Result<Watcher, Refused> {
        let place = Arc::clone(&self.0.places).try_acquire_owned();
        let place = place.map_err(|_| Refused::TooMany)?;
        let source = self.source().ok_or(Refused::NoSource)?;
        let pictures = pictures.then(|| {
            let pictures = self.0.picture.subscribe();
            self.0.begun.notify_one();
            pictures
        });
        Ok(Watcher::new(Lines::new(&source, begin), pictures, place))
    }

    /// Makes the picture for as long as somebody watches; ends with its source.
    pub(crate) async fn run(self) {
        loop {
            self.0.begun.notified().await;
            let Some(source) = self.0.source.get() else { return };
            overview::paint(source, &self.0.picture).await;
        }
    }

    /// Waits until every watcher has read to the end, but no longer than `limit`. To be called when
    /// the source has gone.
    pub(crate) async fn watchers_gone(&self, limit: Duration) {
        let all = WATCHERS.try_into().unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(limit, self.0.places.acquire_many(all)).await;
    }

    /// Waits for a place to look into the ledger, which is given back by dropping it.
    pub(crate) async fn reading(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.readings).acquire_owned().await.ok()
    }

    /// The proxy begins to stop.
    pub(crate) fn end(&self) {
        self.0.ending.send_replace(true);
    }

    /// Waits until the proxy begins to stop.
    pub(crate) fn ending(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ending = self.0.ending.subscribe();
        // An error: the feed is gone, and with it the proxy.
        async move { drop(ending.wait_for(|ending| *ending).await) }
    }

    /// Where everything comes from; `None` while the proxy starts or stops.
    pub(crate) fn source(&self) -> Option<Arc<dyn Source>> {
        self.0.source.get()?.upgrade()
    }
}

#[cfg(test)]
mod tests;
