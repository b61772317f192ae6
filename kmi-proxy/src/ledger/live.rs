//! Committed lines for those who watch: the control socket, the TUI, the web page.

use std::sync::Arc;

use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};

/// Lines that a watcher may be behind before it misses some.
const BACKLOG: usize = 4096;

/// One committed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLine {
    /// Its number.
    pub seq: u64,
    /// Its bytes, without the newline: JSON.
    pub text: Arc<[u8]>,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// The next line.
    Line(LiveLine),
    /// It read too slowly: so many lines were left out here.
    Missed(u64),
}

/// A watcher's end. To show older lines too, subscribe first, then read the tail, then skip the
/// live lines up to the tail's last number.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<LiveLine>);

impl Subscription {
    /// Waits for what comes next; `None` when the ledger was closed.
    pub async fn recv(&mut self) -> Option<Live> {
        told(self.0.recv().await)
    }

    /// What has come already; `None` when nothing waits, or nothing comes any more.
    pub fn try_recv(&mut self) -> Option<Live> {
        match self.0.try_recv() {
            Ok(line) => Some(Live::Line(line)),
            Err(TryRecvError::Lagged(lines)) => Some(Live::Missed(lines)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// As [`Self::recv`], for a thread of its own; not to be called from async code.
    pub fn blocking_recv(&mut self) -> Option<Live> {
        told(self.0.blocking_recv())
    }
}

fn told(received: Result<LiveLine, RecvError>) -> Option<Live> {
    match received {
        Ok(line) => Some(Live::Line(line)),
        Err(RecvError::Lagged(lines)) => Some(Live::Missed(lines)),
        Err(RecvError::Closed) => None,
    }
}

/// Makes subscriptions for as long as the ledger is open, without keeping it open.
#[derive(Debug, Clone)]
pub(super) struct Subscriptions(broadcast::WeakSender<LiveLine>);

impl Subscriptions {
    /// A subscription from the next line on; one to a closed ledger ends at once.
    pub(super) fn subscribe(&self) -> Subscription {
        match self.0.upgrade() {
            Some(sender) => Subscription(sender.subscribe()),
            None => Subscription(broadcast::channel(1).1),
        }
    }
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Publisher(broadcast::Sender<LiveLine>);

impl Publisher {
    pub(super) fn new() -> (Self, Subscriptions) {
        let sender = broadcast::Sender::new(BACKLOG);
        let subscriptions = Subscriptions(sender.downgrade());
        (Self(sender), subscriptions)
    }

    /// Tells whoever watches; costs nothing when nobody does.
    pub(super) fn publish<'l>(&self, lines: impl Iterator<Item = (u64, &'l [u8])>) {
        if self.0.receiver_count() > 0 {
            for (seq, text) in lines {
                // An error tells that the last watcher left meanwhile.
                let _ = self.0.send(LiveLine { seq, text: text.into() });
            }
        }
    }
}
