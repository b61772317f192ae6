//! Records for the ledger's tests.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use jiff::Timestamp;
use kmi_core::{
    eligible::KeySet,
    outcome::Outcome,
    state::{Mode, Policy},
    trace::{Attempt, Epoch, EpochKey, ModeChange, Record},
};

use super::{
    Sink, StoredSettings, TurnPage,
    queue::{self, Queue},
};
use crate::lock::scheduled::unscheduled;

/// `n` seconds after some start.
pub(crate) fn at(n: u64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + i64::try_from(n).unwrap()).unwrap()
}

/// A turn of a ring of three keys that are always eligible, ended `turn` seconds after the start.
pub(crate) fn attempt(upstream: &str, turn: u64, epoch: u64) -> Attempt {
    let slot = |turn: u64| usize::try_from((turn - 1) % 3).unwrap();
    Attempt {
        ts: at(turn),
        turn: Some(turn),
        epoch,
        prev_slot: (turn > 1).then(|| slot(turn - 1)),
        slot: Some(slot(turn)),
        key: format!("0000000{}", slot(turn)).into(),
        label: ["alpha", "beta", "gamma"][slot(turn)].into(),
        eligible: Arc::new(KeySet::full(3)),
        tried: KeySet::default(),
        request_id: format!("r{turn}").into(),
        session_id: None,
        attempt: 1,
        mode: Mode::Auto,
        policy: Policy::RoundRobin,
        upstream: upstream.into(),
        method: "POST".into(),
        path: "/chat/completions".into(),
        model: Some("kimi-for-coding".into()),
        stream: Some(true),
        status: Some(200),
        outcome: if turn.is_multiple_of(5) { Outcome::RateLimited } else { Outcome::Ok },
        error: None,
        queue_ms: 0,
        connect_ms: 0,
        ttfb_ms: Some(210),
        latency_ms: 1840,
        prompt_tokens: Some(1200),
        completion_tokens: Some(340),
        cached_tokens: Some(1024),
        request_bytes: 5120,
        response_bytes: 20_480,
    }
}

/// A ring of `keys` keys, before slot 0.
pub(crate) fn epoch(upstream: &str, number: u64, keys: u32) -> Epoch {
    let key = |n: u32| EpochKey {
        key: format!("{n:08x}").into(),
        label: format!("key-{n}").into(),
        weight: 1,
        tier: 0,
    };
    Epoch {
        ts: at(0),
        epoch: number,
        upstream: upstream.into(),
        keys: (0..keys).map(key).collect(),
        ring: (0..keys).collect(),
        cursor: None,
    }
}

/// The ends of a ledger without a writer: a test takes what was recorded.
#[derive(Debug)]
pub(crate) struct Unwritten(Arc<Queue>);

impl Default for Unwritten {
    fn default() -> Self {
        // No lock of it is held over another one, so it need not be scheduled.
        Self(Arc::new(unscheduled(|| Queue::new(queue::CAPACITY))))
    }
}

impl Unwritten {
    pub(crate) fn sink(&self) -> Sink {
        Sink(Arc::clone(&self.0))
    }

    pub(crate) fn settings(&self) -> StoredSettings {
        unscheduled(|| StoredSettings::new(BTreeMap::new(), Arc::clone(&self.0)))
    }

    /// What was recorded since the last time.
    pub(crate) fn take(&self) -> Vec<Record> {
        self.0.take(Vec::new()).records
    }
}

/// The page in a file, which is made when it is not there.
pub(crate) fn page(path: &Path) -> TurnPage {
    if !path.exists() {
        TurnPage::create(path, "kimi", 0).unwrap();
    }
    TurnPage::open(path).map_err(|error| format!("{error:?}")).unwrap()
}

/// The mode was set.
pub(super) fn mode(n: u64) -> Record {
    Record::Mode(ModeChange { ts: at(n), mode: Mode::Auto, key: None, by: "user".into() })
}
