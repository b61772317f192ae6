//! How the pools of a home are opened: where keys are, keys of the upstream, what is remembered, the
//! turn page.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use kmi_core::{
    inventory::{Inventory, Key},
    key::KeyId,
    state::Mode,
};

use super::{
    RotorError, Setup,
    stored::{DISABLED, active_setting},
};
use crate::{
    home::Home,
    keys::{Answers, Sources},
    ledger::{Ledger, Recovered},
    pool::{Journal, Pool, Start},
    settings::{Settings, UpstreamSettings},
    upstream::Upstream,
};

/// Where the keys of a home are.
pub(super) fn sources(home: &Home, setup: &Setup, answers: &Answers, settle: Duration) -> Sources {
    Sources {
        dir: home.auths_dir().to_owned(),
        env: setup.env_keys.clone(),
        upstreams: setup.settings.upstreams.clone(),
        variables: Arc::clone(&setup.variables),
        answers: answers.clone(),
        settle,
    }
}

/// The keys of one upstream.
pub(super) fn inventory_of(upstream: &str, keys: &[Arc<Key>]) -> Inventory {
    Inventory::new(keys.iter().filter(|key| &*key.upstream == upstream).cloned().collect())
}

/// Opens the pools of all upstreams, each where an earlier process stopped.
pub(super) fn open_pools(
    ledger: &Ledger,
    recovered: &Recovered,
    settings: &Settings,
    keys: &[Arc<Key>],
    mode: Mode,
    now: Timestamp,
) -> Result<Vec<Arc<Pool>>, RotorError> {
    let open = |upstream: &UpstreamSettings| {
        let inventory = inventory_of(&upstream.name, keys);
        open_pool(ledger, recovered, settings, upstream, inventory, mode, now)
    };
    settings.upstreams.iter().map(open).collect()
}

/// Opens the pool of one upstream with what is remembered of it.
pub(super) fn open_pool(
    ledger: &Ledger,
    recovered: &Recovered,
    settings: &Settings,
    upstream: &UpstreamSettings,
    inventory: Inventory,
    mode: Mode,
    now: Timestamp,
) -> Result<Arc<Pool>, RotorError> {
    let name = Arc::clone(&upstream.name);
    let stored = ledger.settings();
    let disabled: HashSet<KeyId> = stored
        .with_prefix(DISABLED)
        .iter()
        .filter_map(|(setting, _)| KeyId::parse(setting.strip_prefix(DISABLED)?))
        .collect();
    let start = Start {
        inventory,
        policy: settings.health.clone(),
        resumed: recovered.upstreams.get(&name).cloned(),
        page: ledger.page(&name)?,
        mode,
        failover: settings.rotation.failover,
        active: stored.get(&active_setting(&name)).and_then(|id| KeyId::parse(&id)),
        disabled,
    };
    let way = Upstream::new(upstream)
        .map_err(|source| RotorError::Upstream { upstream: Arc::clone(&name), source })?;
    let journal = Journal::new(Arc::clone(&name), ledger.sink(), stored.clone());
    let pool = Pool::open(way, journal, start, now)
        .map_err(|source| RotorError::Ring { upstream: name, source })?;
    Ok(Arc::new(pool))
}

/// What a reload found for a pool, checked, so that it can be taken over.
pub(super) struct Update {
    pool: Arc<Pool>,
    /// `None` when the upstream's settings are the same.
    way: Option<Upstream>,
    inventory: Inventory,
}

impl Update {
    /// Checks everything that can fail, and changes nothing.
    pub(super) fn prepare(
        pool: &Arc<Pool>,
        upstream: &UpstreamSettings,
        inventory: Inventory,
    ) -> Result<Self, RotorError> {
        let name = || Arc::clone(&upstream.name);
        let changed = pool.upstream().settings() != upstream;
        let way = changed.then(|| Upstream::new(upstream)).transpose();
        let way = way.map_err(|source| RotorError::Upstream { upstream: name(), source })?;
        if !inventory.is_empty() {
            inventory.ring().map_err(|source| RotorError::Ring { upstream: name(), source })?;
        }
        Ok(Self { pool: Arc::clone(pool), way, inventory })
    }

    pub(super) fn apply(
        self,
        settings: &Settings,
        mode: Mode,
        now: Timestamp,
    ) -> Result<(), RotorError> {
        let Self { pool, way, inventory } = self;
        if let Some(way) = way {
            pool.set_upstream(way);
        }
        pool.set_mode(mode);
        pool.set_failover(settings.rotation.failover);
        pool.adopt(inventory, settings.health.clone(), now)
            .map_err(|source| RotorError::Ring { upstream: Arc::clone(pool.name()), source })
    }
}
