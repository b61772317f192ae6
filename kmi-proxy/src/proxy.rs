//! The proxy's shared state: what every request can see.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
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

    /// Whether what still runs is being ended.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }
}

/// Whether what still runs is being ended: the time to drain is over.
#[derive(Debug, Clone, Default)]
pub struct Phase(Arc<AtomicBool>);

impl Phase {
    /// The time to drain is over.
    pub fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the time to drain is over.
    pub fn is_ending(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
