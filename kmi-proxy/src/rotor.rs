//! The rotor of one home: its keys, its ledger, its pools, and everything that can be done with
//! them, whether a proxy runs or not.
//!
//! [`engine`](crate::engine) puts a listener and a control socket around it; a command that finds
//! no running proxy opens it alone.

mod address;
mod error;
mod pools;
mod setup;
mod stored;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kmi_core::{
    inventory::Key,
    key::{HomeSecret, KeyId},
    snapshot::{FleetRow, ProxyRow, Snapshot},
    state::Mode,
    trace::{ModeChange, Record},
};
use parking_lot::Mutex;

pub(crate) use self::address::reachable;
pub use self::{
    address::{base_url, root_url},
    error::RotorError,
    setup::Setup,
};
use self::{
    pools::{Prepared, inventory_of, open_pools, sources},
    stored::{DISABLED, MODE, active_setting, parse_mode},
};
use crate::{
    control::{Outage, Tested},
    home::Home,
    keys::{self, Answers, Loaded, Problem, SETTLE},
    ledger::{Ledger, LedgerError, Reader, Recovered, Subscription},
    pool::{Pool, RotateError},
    proxy::{Live, Proxy},
    quota_poll,
    settings::{Settings, UpstreamSettings},
};

/// The rotor of one home.
#[derive(Debug)]
pub struct Rotor {
    home: Home,
    secret: HomeSecret,
    /// What `api_key_cmd` programs said.
    answers: Answers,
    ledger: Ledger,
    proxy: Arc<Proxy>,
    /// Where rotations stood at the start: for upstreams that a reload adds.
    recovered: Recovered,
    /// What it was opened with: some settings stay as they were then.
    started_with: Settings,
    /// What is in force.
    setup: Mutex<Setup>,
    /// Pools of upstreams that a reload took away. Their running requests still take turns, and an
    /// upstream that comes back goes on with its own: a turn's number is never used twice.
    parked: Mutex<Vec<Arc<Pool>>>,
    mode: Mutex<Mode>,
    problems: Mutex<Vec<Problem>>,
    targets: Mutex<Vec<std::path::PathBuf>>,
    listening: OnceLock<SocketAddr>,
    opened: Instant,
    opened_at: Timestamp,
    notes: Vec<String>,
}

/// Turns of one upstream that are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InFlight {
    /// How many.
    pub turns: u64,
    /// The newest turn that was given out.
    pub newest: u64,
}

impl Rotor {
    /// Opens a home: makes what is missing, recovers the ledger, reads the keys.
    ///
    /// Blocks on files (and on `api_key_cmd` programs), so it is not for async code.
    pub fn open(home: Home, setup: Setup, now: Timestamp) -> Result<Self, RotorError> {
        home.create()?;
        let (token, secret) = (home.token()?, home.secret()?);
        let (ledger, recovered) = Ledger::open(home.state_dir(), &setup.settings.trace, now)?;
        ledger.sign_with(home.signer()?);
        let answers = Answers::default();
        let loaded = keys::load(&sources(&home, &setup, &answers, Duration::ZERO), &secret);
        let stored = ledger.settings();
        let mode = stored.get(MODE).and_then(|mode| parse_mode(&mode));
        let mode = mode.unwrap_or(setup.settings.rotation.mode);
        let pools = open_pools(&ledger, &recovered, &setup.settings, &loaded.keys, mode, now)?;
        // The lines of new epochs are on the disk before the first turn refers to them.
        ledger.flush()?;
        let started_with = setup.settings.clone();
        let live = Live { settings: setup.settings.clone(), pools };
        let proxy = Arc::new(Proxy::new(live, token, ledger.sink()));
        Ok(Self {
            home,
            secret,
            answers,
            ledger,
            proxy,
            notes: notes(&recovered),
            recovered,
            started_with,
            setup: Mutex::new(setup),
            parked: Mutex::default(),
            mode: Mutex::new(mode),
            problems: Mutex::new(loaded.problems),
            targets: Mutex::new(loaded.targets),
            listening: OnceLock::new(),
            opened: Instant::now(),
            opened_at: now,
        })
    }

    /// What the user should hear of what was found at the opening, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// When it was opened.
    pub fn opened_at(&self) -> Timestamp {
        self.opened_at
    }

    /// The home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What requests see.
    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// What is wrong with key files, as of the last reading.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().clone()
    }

    /// Whether there is something about keys that could not be read just now.
    pub fn has_unread(&self) -> bool {
        self.problems.lock().iter().any(Problem::is_passing)
    }

    /// Files outside the key directory that keys come from.
    pub fn key_targets(&self) -> Vec<std::path::PathBuf> {
        self.targets.lock().clone()
    }

    /// Committed trace lines from now on.
    pub fn subscribe(&self) -> Subscription {
        self.ledger.subscribe()
    }

    /// The last lines before number `before`, or of all; oldest first, and at most
    /// [`Reader::PAGE_LINES`] and [`Reader::PAGE_BYTES`]. Blocks.
    pub fn past(&self, before: Option<u64>, limit: u64) -> Result<Vec<String>, LedgerError> {
        let lines = Reader::open(self.home.state_dir())?.page(before, limit)?;
        Ok(lines.into_iter().map(|line| line.text).collect())
    }

    /// Says where the proxy listens, once it does.
    pub fn set_listening(&self, address: SocketAddr) {
        // A second listener on one rotor would be a mistake of the caller; the first one stands.
        let _ = self.listening.set(address);
    }

    /// The mode in force.
    pub fn mode(&self) -> Mode {
        *self.mode.lock()
    }

    /// Everything that `kmi status` shows.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let live = self.proxy.live();
        let mut keys = Vec::new();
        let mut active_key = None;
        for (at, pool) in live.pools.iter().enumerate() {
            let (active, rows) = pool.rows(now);
            if at == 0 {
                active_key = active.map(|label| label.to_string());
            }
            keys.extend(rows);
        }
        let listen = self.listening.get();
        let settings = &live.settings;
        let proxy = ProxyRow {
            running: listen.is_some(),
            pid: listen.map(|_| std::process::id()),
            listen: listen.map(ToString::to_string),
            base_url: listen.map(|listen| base_url(*listen, &settings.proxy.base_path)),
            uptime_s: listen.map(|_| self.opened.elapsed().as_secs()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (mode, policy) = (self.mode(), settings.rotation.policy);
        Snapshot { proxy, mode, policy, active_key, keys, fleet: FleetRow::default() }
    }

    /// Sets the mode; it outlives restarts.
    pub fn set_mode(&self, mode: Mode, now: Timestamp) {
        let key = self.proxy.live().pools.first().and_then(|pool| pool.active());
        self.enter(mode, key, now);
    }

    /// Makes a key the active one of its upstream: the named one, or the next usable one of the
    /// default upstream. That is a choice by hand, so the mode becomes manual.
    pub fn rotate(&self, name: Option<&str>, now: Timestamp) -> Result<Arc<Key>, RotateError> {
        let live = self.proxy.live();
        let found =
            |pool: &&Arc<Pool>| name.is_none_or(|name| pool.inventory().find(name).is_some());
        let unknown = || name.map_or(RotateError::NoKeys, |name| RotateError::Unknown(name.into()));
        let pool = live.pools.iter().find(found).ok_or_else(unknown)?;
        let key = pool.rotate(name, now)?;
        self.ledger.settings().set(&active_setting(pool.name()), &key.id.to_string());
        self.enter(Mode::Manual, Some(key.id), now);
        Ok(key)
    }

    /// Switches a key off, or on again (which also ends whatever blocked it); `None` when no key
    /// has this label or id.
    pub fn set_disabled(&self, name: &str, disabled: bool, now: Timestamp) -> Option<Arc<Key>> {
        let live = self.proxy.live();
        let key = live.pools.iter().find_map(|pool| pool.set_disabled(name, disabled, now))?;
        let setting = format!("{DISABLED}{}", key.id);
        if disabled {
            self.ledger.settings().set(&setting, &now.to_string());
        } else {
            self.ledger.settings().remove(&setting);
        }
        Some(key)
    }

    /// Ends whatever blocks a key, and its account; one that is switched off stays so. `None` when
    /// no key has this label or id.
    pub fn reset(&self, name: &str, now: Timestamp) -> Option<Arc<Key>> {
        self.proxy.live().pools.iter().find_map(|pool| pool.reset(name, now))
    }

    /// Reads keys again, and nothing else: where no good configuration can be had, a key that is
    /// gone must not go on serving.
    ///
    /// As [`Self::reload`] in everything else.
    pub fn reload_keys(&self, now: Timestamp) -> Result<usize, RotorError> {
        let setup = self.setup.lock().clone();
        self.reload(setup, now)
    }

    /// Reads keys again and takes over the settings that can change while running: upstreams,
    /// rotation, health. Returns the number of keys.
    ///
    /// Blocks as [`Rotor::open`] does. On an error everything stays as it was.
    pub fn reload(&self, setup: Setup, now: Timestamp) -> Result<usize, RotorError> {
        let mut loaded =
            keys::load(&sources(&self.home, &setup, &self.answers, SETTLE), &self.secret);
        let before = self.proxy.live();
        let mut parked = self.parked.lock();
        // Held to the end, so that nobody chooses another one for pools that are to be replaced.
        let mode = self.mode.lock();
        let inventories: Vec<_> = before.pools.iter().map(|pool| pool.inventory()).collect();
        loaded.keep_unread(inventories.iter().flat_map(|it| it.keys()));
        let Loaded { keys, problems, targets } = loaded;
        let prepare = |upstream: &UpstreamSettings| {
            let name = &upstream.name;
            let inventory = inventory_of(name, &keys);
            match before.pool(Some(name)).or(parked.iter().find(|pool| pool.name() == name)) {
                Some(pool) => Prepared::update(pool, upstream, inventory),
                None => Prepared::new(&self.ledger, &self.recovered, upstream, inventory),
            }
        };
        let prepared: Result<Vec<_>, _> = setup.settings.upstreams.iter().map(prepare).collect();
        // Only now, when nothing can fail any more, does anything change.
        let settings = &setup.settings;
        let pools: Result<Vec<_>, _> =
            prepared?.into_iter().map(|it| it.take_over(settings, *mode, now)).collect();
        let pools = pools?;
        let gone = |pool: &&Arc<Pool>| pools.iter().all(|kept| kept.name() != pool.name());
        *parked = before.pools.iter().chain(&*parked).filter(gone).cloned().collect();
        self.proxy.set_live(Live { settings: setup.settings.clone(), pools });
        *self.setup.lock() = setup;
        *self.problems.lock() = problems;
        *self.targets.lock() = targets;
        Ok(keys.len())
    }

    /// The settings that have changed since the start and are in force only from the next one on.
    pub fn waiting_for_start(&self) -> Vec<&'static str> {
        let mut keys = self.started_with.only_at_start(&self.proxy.live().settings);
        // Once the user has chosen a mode, that one outlives every start.
        let chosen = self.ledger.settings().get(MODE).is_some();
        keys.retain(|key| *key != "rotation.mode" || !chosen);
        keys
    }

    /// Asks the provider about the named key, or about all of them.
    pub async fn test(&self, name: Option<&str>) -> Result<Vec<Tested>, RotateError> {
        let live = self.proxy.live();
        let mut keys = Vec::new();
        for pool in &live.pools {
            let inventory = pool.inventory();
            let of_pool = match name {
                Some(name) => inventory.find(name).map_or(&[][..], |at| &inventory.keys()[at..=at]),
                None => inventory.keys(),
            };
            keys.extend(of_pool.iter().map(|key| (Arc::clone(pool), Arc::clone(key))));
        }
        let tested = quota_poll::test(keys, live.settings.health.quota_timeout).await;
        match name {
            Some(name) if tested.is_empty() => Err(RotateError::Unknown(name.to_owned())),
            _ => Ok(tested),
        }
    }

    /// Keys that turned out to be of one account though their files do not say so, by label.
    pub fn siblings(&self) -> Vec<Vec<String>> {
        self.proxy.live().pools.iter().flat_map(|pool| pool.undeclared_siblings()).collect()
    }

    /// The upstreams that fail over and over.
    pub fn outages(&self) -> Vec<Outage> {
        let outage = |pool: &Arc<Pool>| {
            Some(Outage { upstream: pool.name().to_string(), since: pool.outage()? })
        };
        self.proxy.live().pools.iter().filter_map(outage).collect()
    }

    /// Forgets what `api_key_cmd` programs said, so that the next reload asks them again.
    pub fn forget_answers(&self) {
        self.answers.forget();
    }

    /// The turns under way, by upstream; then waits until everything that ended before is on the
    /// disk. Blocks.
    pub fn settle(&self) -> Result<HashMap<Arc<str>, InFlight>, LedgerError> {
        let in_flight = self.in_flight();
        self.ledger.flush()?;
        Ok(in_flight)
    }

    /// The turns under way, by upstream. Of those that have ended some may not be on the disk yet.
    pub fn in_flight(&self) -> HashMap<Arc<str>, InFlight> {
        let (live, parked) = (self.proxy.live(), self.parked.lock().clone());
        let pools = live.pools.iter().chain(&parked);
        let in_flight = pools.map(|pool| {
            let (turns, newest) = pool.turns_in_flight();
            (Arc::clone(pool.name()), InFlight { turns, newest })
        });
        in_flight.collect()
    }

    /// Writes what waits and closes the ledger. Blocks.
    pub fn close(self) -> Result<(), LedgerError> {
        self.ledger.close()
    }

    /// Sets the mode; `key` is the active one that the trace names.
    fn enter(&self, mode: Mode, key: Option<KeyId>, now: Timestamp) {
        {
            let mut current = self.mode.lock();
            *current = mode;
            self.proxy.live().pools.iter().for_each(|pool| pool.set_mode(mode));
            self.ledger.settings().set(MODE, mode.as_str());
        }
        self.ledger.sink().push(Record::Mode(ModeChange {
            ts: now,
            mode,
            key: key.map(|key| key.to_string().into()),
            by: "user".into(),
        }));
    }
}

fn notes(recovered: &Recovered) -> Vec<String> {
    let mut notes = recovered.notes.clone();
    if recovered.gaps > 0 {
        let text = "kmi ended in the middle of work: the turns whose end is not known are declared \
                    in the trace as gaps";
        notes.push(text.to_owned());
    }
    notes
}
