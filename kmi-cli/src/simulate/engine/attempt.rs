//! One attempt: a key is chosen as the proxy's pool does it, and what became of it is learnt.

use std::{io, sync::Arc, time::Duration};

use jiff::Timestamp;
use kmi_core::{
    eligible::{Eligible, KeySet},
    inventory::Inventory,
    outcome::Outcome,
    ring::RingError,
    rotation::{Rotation, Turn},
    state::{KeyState, Policy},
    trace::HealthChange,
};
use kmi_health::{
    Board,
    board::{Exhausted, Finished},
    breaker::AttemptId,
    classify::{Action, Verdict},
    upstream::Upstream,
};

use super::{Engine, Event};
use crate::simulate::{
    clients::Tokens,
    recorder::{Ended, since_beginning},
    trouble::Ending,
};

/// Rotation and health of the keys, held together as in the proxy's pool.
#[derive(Debug)]
pub(super) struct Keys {
    rotation: Rotation,
    eligible: Eligible,
    board: Board,
    upstream: Upstream,
}

/// How long no key is usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dry {
    /// One is.
    No,
    Until(i64),
    /// Only the user can help.
    ForGood,
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Running {
    n: u64,
    turn: Option<Turn>,
    key: usize,
    eligible: Arc<KeySet>,
    id: AttemptId,
    begun: i64,
    ending: Ending,
    tokens: Tokens,
}

impl Keys {
    pub(super) fn new(inventory: &Inventory) -> Result<Self, RingError> {
        let ring = Arc::new(inventory.ring()?);
        let policy = kmi_health::Policy::default();
        let board = Board::new(inventory, policy.clone());
        Ok(Self {
            eligible: Eligible::of(board.usable(), Arc::clone(&ring)),
            rotation: Rotation::new(ring),
            upstream: Upstream::new(policy),
            board,
        })
    }

    pub(super) fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// When a key outside of `tried` may serve.
    pub(super) fn next_usable(&self, tried: &KeySet, now: Timestamp) -> Option<i64> {
        self.board.next_usable(tried, now).map(since_beginning)
    }

    /// Whether, and for how long, the pool is exhausted.
    pub(super) fn exhausted(&self, now: Timestamp) -> Dry {
        let end = match self.board.soonest(now) {
            None => return Dry::No,
            Some(Exhausted::ShortWait { at }) => Some(at),
            Some(Exhausted::QuotaSpent { at } | Exhausted::NoneWorking { at }) => at,
        };
        end.map_or(Dry::ForGood, |end| Dry::Until(since_beginning(end)))
    }

    /// Lets time pass.
    fn refresh(&mut self, now: Timestamp) -> Vec<HealthChange> {
        if self.board.next_change().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let changes = self.board.refresh(now);
        self.settle();
        changes
    }

    /// The kept key where there is one that may serve, the next one in turn otherwise.
    fn choose(&mut self, kept: Option<usize>, tried: &KeySet) -> Option<(usize, Option<Turn>)> {
        let serves = |key: &usize| self.eligible.is_usable(*key) && !tried.contains(*key);
        if let Some(key) = kept.filter(serves) {
            return Some((key, None));
        }
        let turn = self.rotation.next(&self.eligible, tried)?;
        Some((turn.key, Some(turn)))
    }

    fn begin(&mut self, key: usize, now: Timestamp) -> AttemptId {
        self.upstream.begin();
        let id = self.board.start(key, now);
        self.settle();
        id
    }

    /// An attempt has ended, `took` milliseconds after it began.
    fn end(
        &mut self,
        it: &Running,
        verdict: &Verdict,
        took: i64,
        now: Timestamp,
    ) -> Vec<HealthChange> {
        let took = Duration::from_millis(u64::try_from(took).unwrap_or(0));
        let tokens = match it.ending {
            Ending::Good => it.tokens.prompt + it.tokens.completion,
            Ending::Bad(..) => 0,
        };
        let finished = Finished { model: None, latency: took, tokens };
        let changes = self.board.finish(it.key, it.id, verdict, &finished, now);
        let everybodys = self.board.is_everybodys(verdict);
        let shared = everybodys.then(|| Verdict::of(Outcome::UpstreamError));
        self.upstream.end(shared.as_ref().unwrap_or(verdict), now);
        self.settle();
        changes
    }

    fn settle(&mut self) {
        if self.eligible.usable() != self.board.usable() {
            let ring = Arc::clone(self.rotation.ring());
            self.eligible = Eligible::of(self.board.usable(), ring);
        }
    }
}

impl Engine<'_> {
    /// Looks for a key and sends the request with it.
    pub(super) fn tries(&mut self, client: usize) -> io::Result<()> {
        let changes = self.keys.refresh(self.moment);
        self.note(changes)?;
        let kept = match self.scenario.rotation.policy {
            Policy::Session => self.clients.get(client).key,
            Policy::RoundRobin => None,
        };
        let chosen = self.keys.choose(kept, &self.requests[client].tried);
        let Some((key, turn)) = chosen else {
            self.none_left(client);
            return Ok(());
        };
        self.some_usable(self.now);
        if self.requests[client].waited && self.requests[client].attempt == 1 {
            self.asked.waited_ms += self.now - self.requests[client].came;
        }
        self.clients.get_mut(client).key = Some(key);
        self.attempts += 1;
        let eligible = match &turn {
            Some(turn) => Arc::clone(&turn.eligible),
            None => Arc::clone(self.keys.eligible.mask()),
        };
        let id = self.keys.begin(key, self.moment);
        let tokens = self.clients.tokens(client, self.provider.account(key), self.now);
        let (n, now) = (self.attempts, self.now);
        let all = tokens.prompt + tokens.completion;
        let answer = self.provider.answer(key, n, all, now, &mut self.dice);
        let ends = now + answer.latency;
        if answer.ending == Ending::Good && !self.keys.board.usable().contains(key) {
            // Others may wait for what this probe finds: its answer's head will tell.
            self.queue.plan(now + answer.latency / 4, Event::Answers(client));
        }
        self.queue.plan(ends, Event::Ends(client));
        let ending = answer.ending;
        let running = Running { n, turn, key, eligible, id, begun: now, ending, tokens };
        self.requests[client].running = Some(running);
        Ok(())
    }

    /// The head of a good answer has come.
    pub(super) fn answers(&mut self, client: usize) -> io::Result<()> {
        let Some(running) = &self.requests[client].running else { return Ok(()) };
        let changes = self.keys.board.answered(running.key, running.id, self.moment);
        self.keys.settle();
        self.note(changes)
    }

    /// An attempt has ended; what it says decides what comes next.
    pub(super) fn ends(&mut self, client: usize) -> io::Result<()> {
        let Some(running) = self.requests[client].running.take() else { return Ok(()) };
        let verdict = self.words.judge(running.ending, self.moment);
        let changes = self.keys.end(&running, &verdict, self.now - running.begun, self.moment);
        self.provider.ended(running.key);
        self.record(client, &running, &verdict)?;
        self.note(changes)?;
        if std::mem::take(&mut self.requests[client].retries) {
            self.keys.upstream.retry_ended();
        }
        if verdict.outcome == Outcome::Ok {
            self.asked.good += 1;
            self.asked.moved += u64::from(!self.requests[client].tried.is_empty());
            self.tokens.add(running.tokens);
            let account = self.provider.account(running.key);
            self.clients.answered(client, account, running.tokens, self.now);
            self.done(client, 0);
            return Ok(());
        }
        if self.goes_on(client, running.key, verdict.action) {
            return Ok(());
        }
        self.asked.failed += 1;
        self.done(client, 0);
        Ok(())
    }

    /// Plans the next attempt of a request, where it may have one.
    fn goes_on(&mut self, client: usize, key: usize, action: Action) -> bool {
        let rules = &self.scenario.rotation;
        let request = &mut self.requests[client];
        if self.over.is_some() || request.attempt >= rules.max_attempts {
            return false;
        }
        let pause = match action {
            Action::NextKey if rules.failover => {
                request.tried.insert(key);
                Some(0)
            }
            Action::RetryOnce if !request.repeated => {
                request.repeated = true;
                let pause = self.keys.upstream.retry(self.dice.f64());
                request.retries = pause.is_some();
                pause.and_then(|pause| i64::try_from(pause.as_millis()).ok())
            }
            _ => None,
        };
        let Some(pause) = pause else { return false };
        request.attempt += 1;
        self.queue.plan(self.now + pause, Event::Tries(client));
        true
    }

    fn record(&mut self, client: usize, it: &Running, verdict: &Verdict) -> io::Result<()> {
        let (request, clients) = (&self.requests[client], &self.clients);
        self.recorder.session(|| clients.get(client).session());
        let ended = Ended {
            n: it.n,
            turn: it.turn.as_ref(),
            key: it.key,
            eligible: &it.eligible,
            tried: &request.tried,
            client,
            request: request.number,
            attempt: request.attempt,
            came: request.came,
            begun: it.begun,
            over: self.now,
            moment: self.moment,
            status: self.words.status(it.ending),
            outcome: verdict.outcome,
            error: verdict.message.clone(),
            tokens: it.tokens,
        };
        self.recorder.attempt(&ended)
    }

    fn note(&mut self, changes: Vec<HealthChange>) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let blocked = changes.iter().filter(|change| change.to == KeyState::Blocked);
        self.blocks += blocked.count() as u64;
        self.recorder.health(changes)
    }
}
