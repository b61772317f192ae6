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
    ledger::{Ledger, Recovered, Resumed, TurnPage},
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
    let prepare = |upstream: &UpstreamSettings| {
        Prepared::new(ledger, recovered, upstream, inventory_of(&upstream.name, keys))
    };
    let prepared: Result<Vec<_>, _> = settings.upstreams.iter().map(prepare).collect();
    prepared?.into_iter().map(|it| it.take_over(settings, mode, now)).collect()
}

/// What is to become of an upstream: everything that can fail was checked, and nothing is changed
/// yet. A line of a new epoch, once it is out, cannot be taken back.
pub(super) enum Prepared {
    /// Opened where an earlier process stopped.
    New(Box<New>),
    /// Taken over into the pool that there is.
    Update(Box<Update>),
}

/// What a pool is opened with.
pub(super) struct New {
    way: Upstream,
    journal: Journal,
    inventory: Inventory,
    resumed: Option<Resumed>,
    page: TurnPage,
    active: Option<KeyId>,
    disabled: HashSet<KeyId>,
}

/// What a reload has found for a pool.
pub(super) struct Update {
    pool: Arc<Pool>,
    /// `None` when the upstream's settings are the same.
    way: Option<Upstream>,
    inventory: Inventory,
}

impl Prepared {
    /// For an upstream without a pool.
    pub(super) fn new(
        ledger: &Ledger,
        recovered: &Recovered,
        upstream: &UpstreamSettings,
        inventory: Inventory,
    ) -> Result<Self, RotorError> {
        check_ring(upstream, &inventory)?;
        let (name, stored) = (&upstream.name, ledger.settings());
        let disabled = stored.with_prefix(DISABLED);
        let disabled = disabled
            .iter()
            .filter_map(|(setting, _)| KeyId::parse(setting.strip_prefix(DISABLED)?));
        Ok(Self::New(Box::new(New {
            way: way(upstream)?,
            inventory,
            resumed: recovered.upstreams.get(name).cloned(),
            page: ledger.page(name)?,
            active: stored.get(&active_setting(name)).and_then(|id| KeyId::parse(&id)),
            disabled: disabled.collect(),
            journal: Journal::new(Arc::clone(name), ledger.sink(), stored.clone()),
        })))
    }

    /// For an upstream whose pool there is.
    pub(super) fn update(
        pool: &Arc<Pool>,
        upstream: &UpstreamSettings,
        inventory: Inventory,
    ) -> Result<Self, RotorError> {
        check_ring(upstream, &inventory)?;
        let changed = pool.upstream().settings() != upstream;
        let way = changed.then(|| way(upstream)).transpose()?;
        Ok(Self::Update(Box::new(Update { pool: Arc::clone(pool), way, inventory })))
    }

    /// The upstream's pool, which is as was prepared from now on.
    pub(super) fn take_over(
        self,
        settings: &Settings,
        mode: Mode,
        now: Timestamp,
    ) -> Result<Arc<Pool>, RotorError> {
        let (policy, failover) = (settings.health.clone(), settings.rotation.failover);
        match self {
            Self::New(new) => {
                let New { way, journal, inventory, resumed, page, active, disabled } = *new;
                let name = Arc::clone(&way.settings().name);
                let start =
                    Start { inventory, policy, resumed, page, mode, failover, active, disabled };
                let pool = Pool::open(way, journal, start, now);
                pool.map(Arc::new).map_err(|source| RotorError::Ring { upstream: name, source })
            }
            Self::Update(update) => {
                let Update { pool, way, inventory } = *update;
                if let Some(way) = way {
                    pool.set_upstream(way);
                }
                pool.set_mode(mode);
                pool.set_failover(failover);
                let upstream = || Arc::clone(pool.name());
                pool.adopt(inventory, policy, now)
                    .map_err(|source| RotorError::Ring { upstream: upstream(), source })?;
                Ok(pool)
            }
        }
    }
}

fn way(upstream: &UpstreamSettings) -> Result<Upstream, RotorError> {
    let name = || Arc::clone(&upstream.name);
    Upstream::new(upstream).map_err(|source| RotorError::Upstream { upstream: name(), source })
}

fn check_ring(upstream: &UpstreamSettings, inventory: &Inventory) -> Result<(), RotorError> {
    if inventory.is_empty() {
        return Ok(());
    }
    let name = || Arc::clone(&upstream.name);
    inventory.ring().map(drop).map_err(|source| RotorError::Ring { upstream: name(), source })
}
