//! The proxy's shared state: what every request can see.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use arc_swap::ArcSwap;

use crate::{
    feed::Feed, forward::ReplayBudget, home::Token, ledger::Sink, pool::Pool, settings::Settings,
};

/// What every request can see.
#[derive(Debug)]
pub struct Proxy {
    live: ArcSwap<Live>,
    pub(crate) token: Token,
    pub(crate) sink: Sink,
    pub(crate) phase: Phase,
    pub(crate) replay: ReplayBudget,
    pub(crate) feed: Feed,
}

/// What a reload replaces as a whole.
#[derive(Debug)]
pub struct Live {
    /// The settings in force.
    pub settings: Settings,
    /// The pools, in the order of the settings' upstreams: the first is the default one.
    pub pools: Vec<Arc<Pool>>,
}

impl Live {
    /// The pool of the upstream with this name, or of the default one.
    pub fn pool(&self, name: Option<&str>) -> Option<&Arc<Pool>> {
        match name {
            Some(name) => self.pools.iter().find(|pool| **pool.name() == *name),
            None => self.pools.first(),
        }
    }
}

impl Proxy {
    /// Puts the pieces together.
    pub fn new(live: Live, token: Token, sink: Sink) -> Self {
        Self {
            live: ArcSwap::from_pointee(live),
            token,
            sink,
            phase: Phase::default(),
            replay: ReplayBudget::default(),
            feed: Feed::default(),
        }
    }

    /// What is in force now; cheap, and not to be kept over a reload.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Replaces what is in force; running requests end on what they began with.
    pub fn set_live(&self, live: Live) {
        self.live.store(Arc::new(live));
    }

    /// How far it has come with its end.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }
}

/// How far a proxy has come with its end.
#[derive(Debug, Clone, Default)]
pub struct Phase(Arc<AtomicU8>);

impl Phase {
    const LEAVING: u8 = 1;
    const ENDING: u8 = 2;

    /// Another one takes its place soon: clients are told to open another connection.
    pub fn leave(&self) {
        self.0.fetch_max(Self::LEAVING, Ordering::Relaxed);
    }

    /// The time to drain is over: what still runs is being ended.
    pub fn end(&self) {
        self.0.fetch_max(Self::ENDING, Ordering::Relaxed);
    }

    /// Whether another one takes its place soon.
    pub fn is_leaving(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::LEAVING
    }

    /// Whether the time to drain is over.
    pub fn is_ending(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::ENDING
    }
}
