//! What a running stand-in knows: its keys with the counts of their faults, the requests under
//! way, the prepared answers and the log.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{
    chat, messages,
    playback::Pieces,
    record::{End, Log, Place},
    responses,
    route::Endpoint,
    scenario::{Act, Only, Scenario, Shape, StandInKey, When},
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) scenario: Scenario,
    pub(super) prepared: Prepared,
    pub(super) log: Log,
    pub(super) started: Timestamp,
    /// Uploaded files so far; their ids name the account.
    pub(super) files: AtomicU64,
    keys: HashMap<Arc<str>, usize>,
    states: Vec<KeyState>,
    /// Requests under way, per account.
    in_flight: Vec<AtomicUsize>,
}

#[derive(Debug)]
struct KeyState {
    account: usize,
    requests: AtomicU64,
    faults: Vec<FaultState>,
}

#[derive(Debug, Default)]
struct FaultState {
    matched: AtomicU64,
    since: OnceLock<Instant>,
}

/// A shape's answers on every surface, made once.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) chat_stream: Pieces,
    pub(super) chat: Pieces,
    pub(super) messages_stream: Pieces,
    pub(super) messages: Pieces,
    pub(super) responses_stream: Pieces,
    pub(super) responses: Pieces,
    pub(super) pace: Duration,
}

impl Prepared {
    pub(super) fn new(shape: &Shape) -> Self {
        let said = chat::Said::Text(Arc::clone(&shape.text));
        Self {
            chat_stream: chat::stream(shape, &said),
            chat: chat::whole(shape, &said),
            messages_stream: messages::stream(shape, &said),
            messages: messages::whole(shape, &said),
            responses_stream: responses::stream(shape),
            responses: responses::whole(shape),
            pace: shape.delay,
        }
    }
}

impl Shared {
    pub(super) fn new(scenario: Scenario) -> Self {
        let mut accounts: HashMap<Arc<str>, usize> = HashMap::new();
        let mut state = |key: &StandInKey| {
            let next = accounts.len();
            KeyState {
                account: *accounts.entry(Arc::clone(&key.account)).or_insert(next),
                requests: AtomicU64::new(0),
                faults: key.faults.iter().map(|_| FaultState::default()).collect(),
            }
        };
        let states: Vec<_> = scenario.keys.iter().map(&mut state).collect();
        let keys = scenario.keys.iter().enumerate();
        Self {
            prepared: Prepared::new(&scenario.shape),
            log: Log::new(scenario.remembered),
            started: Timestamp::now(),
            files: AtomicU64::new(0),
            keys: keys.map(|(index, key)| (Arc::clone(&key.secret), index)).collect(),
            states,
            in_flight: accounts.iter().map(|_| AtomicUsize::new(0)).collect(),
            scenario,
        }
    }

    pub(super) fn key(&self, secret: &str) -> Option<usize> {
        self.keys.get(secret).copied()
    }

    /// Counts a request of a key; the number includes it.
    pub(super) fn count(&self, key: usize) -> u64 {
        self.states[key].requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Requests of a key so far.
    pub(super) fn requests(&self, key: usize) -> u64 {
        self.states[key].requests.load(Ordering::Relaxed)
    }

    /// Counts the request for all faults of its key and gives the act of the first active one.
    pub(super) fn fault(&self, key: usize, request: &Matched<'_>) -> Option<&Act> {
        let state = &self.states[key];
        let in_flight = self.in_flight[state.account].load(Ordering::Relaxed);
        let mut active = None;
        for (fault, counts) in self.scenario.keys[key].faults.iter().zip(&state.faults) {
            if !request.is(&fault.only) {
                continue;
            }
            let n = counts.matched.fetch_add(1, Ordering::Relaxed) + 1;
            if counts.active(&fault.when, n, in_flight) && active.is_none() {
                active = Some(&fault.act);
            }
        }
        active
    }

    /// Whether a key's account has a quota error in force.
    pub(super) fn spent(&self, key: usize) -> Option<Spent> {
        let account = self.states[key].account;
        let of_account = self.scenario.keys.iter().zip(&self.states);
        of_account
            .filter(|(_, state)| state.account == account)
            .flat_map(|(key, state)| key.faults.iter().zip(&state.faults))
            .filter(|(fault, _)| matches!(&fault.act, Act::Error(error) if error.is_quota()))
            .find_map(|(fault, counts)| counts.in_force(&fault.when))
    }

    /// Begins a request's life in the log and in its account's count.
    pub(super) fn serve(self: &Arc<Self>, key: Option<usize>, place: Place) -> Serving {
        let account = key.map(|key| self.states[key].account);
        if let Some(account) = account {
            self.in_flight[account].fetch_add(1, Ordering::Relaxed);
        }
        Serving { shared: Arc::clone(self), place, account, end: End::ClientGone }
    }

    /// Forgets all requests and starts every count anew, but for time spans that have begun.
    pub(super) fn reset(&self) {
        self.log.reset();
        for state in &self.states {
            state.requests.store(0, Ordering::Relaxed);
            for fault in &state.faults {
                fault.matched.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl FaultState {
    fn active(&self, when: &When, n: u64, in_flight: usize) -> bool {
        match when {
            When::Always => true,
            When::Busy(most) => in_flight > *most,
            When::Requests(which) => which.contains(&n),
            When::Span { from, lasts } => {
                n >= *from && self.since.get_or_init(Instant::now).elapsed() < *lasts
            }
        }
    }

    /// As [`Self::active`] for somebody who only asks how things are.
    fn in_force(&self, when: &When) -> Option<Spent> {
        let next = self.matched.load(Ordering::Relaxed) + 1;
        match when {
            When::Always => Some(Spent { until: None }),
            When::Busy(_) => None,
            // Spent once the first request was refused, until the last one was.
            When::Requests(which) => {
                (which.contains(&next) && next > which.start).then_some(Spent { until: None })
            }
            When::Span { lasts, .. } => {
                let left = lasts.checked_sub(self.since.get()?.elapsed())?;
                let left = SignedDuration::try_from(left).ok()?;
                Some(Spent { until: Timestamp::now().checked_add(left).ok() })
            }
        }
    }
}

/// A quota error is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    /// When it ends, where that is a matter of time.
    pub(super) until: Option<Timestamp>,
}

/// What faults look at in a request.
#[derive(Debug)]
pub(super) struct Matched<'a> {
    pub(super) endpoint: Endpoint<'a>,
    pub(super) path: &'a str,
    pub(super) model: Option<&'a str>,
}

impl Matched<'_> {
    fn is(&self, only: &Only) -> bool {
        match only {
            Only::All => true,
            Only::Inference => self.endpoint.is_inference(),
            Only::Model(model) => self.endpoint.is_inference() && self.model == Some(model),
            Only::Path(end) => self.path.ends_with(end.as_str()),
        }
    }
}

/// A request that is being answered; dropped unfinished, its client has gone away.
#[derive(Debug)]
pub(super) struct Serving {
    shared: Arc<Shared>,
    place: Place,
    account: Option<usize>,
    end: End,
}

impl Serving {
    pub(super) fn status(&self, status: u16) {
        self.shared.log.update(self.place, |record| record.status = Some(status));
    }

    pub(super) fn finish(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(account) = self.account {
            self.shared.in_flight[account].fetch_sub(1, Ordering::Relaxed);
        }
        let end = self.end;
        self.shared.log.update(self.place, |record| record.end = end);
    }
}
