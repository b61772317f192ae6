//! From event to event: requests come, a key is chosen, the attempt ends, kmi learns from it.

mod attempt;

use std::{fmt, io};

use fastrand::Rng;
use jiff::Timestamp;
use kmi_core::eligible::KeySet;
use kmi_proxy::settings::OnExhausted;
use kmi_stats::report::Report;

use self::attempt::{Dry, Keys, Running};
use super::{
    clients::Clients,
    population::Population,
    provider::Provider,
    queue::{Event, Queue},
    recorder::{Change, Recorder, Row, at},
    scenario::Scenario,
    summary::{Exhaustion, Requests, Summary, Sums},
    trouble::Words,
};

/// Attempts where the scenario names no end.
const DEFAULT_TURNS: u64 = 1_000;

/// A simulation under way.
pub(crate) struct Engine<'o> {
    scenario: Scenario,
    dice: Rng,
    queue: Queue,
    now: i64,
    /// The same as a time of day.
    moment: Timestamp,
    population: Population,
    keys: Keys,
    provider: Provider,
    words: Words,
    clients: Clients,
    /// The request of each client, by its number.
    requests: Vec<Request>,
    /// Clients without a request, where requests come at a rate.
    idle: Vec<usize>,
    recorder: Recorder<'o>,
    attempts: u64,
    /// When nothing new began any more; what is under way may end.
    over: Option<i64>,
    asked: Requests,
    tokens: Sums,
    blocks: u64,
    /// Since when no key was usable.
    dry_since: Option<i64>,
    exhausted: Option<Exhaustion>,
}

/// What a client has asked.
#[derive(Debug, Default)]
struct Request {
    number: u64,
    came: i64,
    /// Whether it has waited for a key.
    waited: bool,
    attempt: u32,
    tried: KeySet,
    /// It has had its one more try after a failure of the upstream.
    repeated: bool,
    /// It holds a leave to retry.
    retries: bool,
    running: Option<Running>,
}

/// What a simulation gives: numbers, proof, and the beginning of the schedule.
#[derive(Debug)]
pub(crate) struct Simulated {
    pub(crate) summary: Summary,
    pub(crate) proof: Report,
    pub(crate) rows: Vec<Row>,
    pub(crate) changes: Vec<Change>,
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum SimulationError {
    /// The scenario cannot be simulated.
    Scenario(String),
    /// The trace cannot be written.
    Trace(io::Error),
}

impl fmt::Display for SimulationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scenario(what) => f.write_str(what),
            Self::Trace(error) => write!(f, "the trace cannot be written: {error}"),
        }
    }
}

impl From<io::Error> for SimulationError {
    fn from(error: io::Error) -> Self {
        Self::Trace(error)
    }
}

impl<'o> Engine<'o> {
    /// The first `rows` attempts and changes are kept; the trace goes to `out`, where there is one.
    pub(crate) fn new(
        scenario: &Scenario,
        rows: u64,
        out: Option<&'o mut dyn io::Write>,
    ) -> Result<Self, SimulationError> {
        scenario.check().map_err(SimulationError::Scenario)?;
        let population = Population::new(scenario).map_err(SimulationError::Scenario)?;
        let keys = Keys::new(&population.inventory)
            .map_err(|error| SimulationError::Scenario(error.to_string()))?;
        let mut recorder = Recorder::new(scenario.rotation.policy, &population, rows, out);
        recorder.epoch(&population, keys.rotation())?;
        let mut engine = Self {
            scenario: scenario.clone(),
            dice: Rng::with_seed(scenario.seed),
            queue: Queue::default(),
            now: 0,
            moment: at(0),
            keys,
            provider: Provider::new(&population),
            words: Words::new(),
            clients: Clients::new(&scenario.load, population.accounts.len()),
            population,
            requests: Vec::new(),
            idle: Vec::new(),
            recorder,
            attempts: 0,
            over: None,
            asked: Requests::default(),
            tokens: Sums::default(),
            blocks: 0,
            dry_since: None,
            exhausted: None,
        };
        engine.open();
        Ok(engine)
    }

    /// How many attempts there will be at most, where the scenario says so.
    pub(crate) fn most_attempts(&self) -> Option<u64> {
        self.scenario.turns.or_else(|| self.scenario.time.is_none().then_some(DEFAULT_TURNS))
    }

    /// Runs to the end. `tick` is told the attempts so far, now and then.
    pub(crate) fn run(mut self, mut tick: impl FnMut(u64)) -> Result<Simulated, SimulationError> {
        const TICK: u64 = 1 << 16;
        let (until, most) = (self.scenario.time, self.most_attempts());
        let mut told = 0;
        while let Some((time, event)) = self.queue.next() {
            if until.is_some_and(|until| time > until.0) {
                self.close(until.map_or(time, |until| until.0));
            } else if most.is_some_and(|most| self.attempts >= most) {
                self.close(self.now);
            }
            if self.over.is_some() && !matches!(event, Event::Ends(_) | Event::Answers(_)) {
                continue;
            }
            self.now = time;
            self.moment = at(time);
            self.happens(event)?;
            if self.attempts >= told + TICK {
                told = self.attempts;
                tick(told);
            }
        }
        self.end()
    }

    /// The first requests.
    fn open(&mut self) {
        if self.scenario.load.rate.is_some() {
            self.queue.plan(0, Event::Comes);
            return;
        }
        for _ in 0..self.scenario.load.clients {
            let client = self.join();
            // Not all at once, as people do not begin at once.
            let at = self.scenario.load.think.draw(&mut self.dice);
            self.queue.plan(at, Event::Asks(client));
        }
    }

    fn join(&mut self) -> usize {
        self.requests.push(Request::default());
        self.clients.join()
    }

    fn happens(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Comes => {
                self.next_comes();
                let client = self.idle.pop().unwrap_or_else(|| self.join());
                self.asks(client)
            }
            Event::Asks(client) => self.asks(client),
            Event::Tries(client) => self.tries(client),
            Event::Answers(client) => self.answers(client),
            Event::Ends(client) => self.ends(client),
        }
    }

    /// Plans the next request from outside: the time between two is exponential.
    fn next_comes(&mut self) {
        if let Some(rate) = self.scenario.load.rate {
            let wait = -rate.every_ms * (1.0 - self.dice.f64()).ln();
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds, at most 1e14")]
            self.queue.plan(self.now + wait.round() as i64, Event::Comes);
        }
    }

    fn asks(&mut self, client: usize) -> io::Result<()> {
        self.asked.asked += 1;
        self.requests[client] =
            Request { number: self.asked.asked, came: self.now, attempt: 1, ..Request::default() };
        self.tries(client)
    }

    /// The client has its answer, or none; `wait` is what it was told to wait.
    fn done(&mut self, client: usize, wait: i64) {
        if self.scenario.load.rate.is_some() {
            self.idle.push(client);
            return;
        }
        let think = self.scenario.load.think.draw(&mut self.dice);
        self.queue.plan(self.now + think.max(wait).max(1), Event::Asks(client));
    }

    /// No key is left that could serve: the request waits, or the client is told so.
    fn none_left(&mut self, client: usize) {
        let request = &self.requests[client];
        let next = self.keys.next_usable(&request.tried, self.moment);
        let rules = &self.scenario.rotation;
        if rules.on_exhausted == OnExhausted::Wait
            && let Some(next) = next.map(|next| next.max(self.now + 1))
            && next <= request.came + rules.max_wait.0
        {
            self.asked.waited += u64::from(!request.waited);
            self.requests[client].waited = true;
            self.queue.plan(next, Event::Tries(client));
            return;
        }
        self.asked.refused += 1;
        let dry = self.keys.exhausted(self.moment);
        // While a key is usable that this request has tried, the pool is not exhausted.
        if dry == Dry::No {
            return self.done(client, 0);
        }
        let first = Exhaustion { first_ms: self.now, total_ms: 0, for_good: false };
        let exhausted = self.exhausted.get_or_insert(first);
        self.dry_since.get_or_insert(self.now);
        if let Dry::Until(end) = dry {
            self.done(client, end - self.now);
        } else {
            exhausted.for_good = true;
            self.close(self.now);
        }
    }

    /// Nothing new begins any more.
    fn close(&mut self, at: i64) {
        if self.over.is_none() {
            self.over = Some(at);
            self.some_usable(at);
        }
    }

    fn end(mut self) -> Result<Simulated, SimulationError> {
        self.close(self.now);
        let summary = Summary {
            seed: self.scenario.seed,
            policy: self.scenario.rotation.policy,
            keys: self.population.inventory.keys().len(),
            simulated_ms: self.over.unwrap_or(self.now),
            turns: self.keys.rotation().last_turn(),
            attempts: self.attempts,
            sessions: self.clients.sessions(),
            requests: self.asked,
            tokens: self.tokens,
            blocks: self.blocks,
            exhausted: self.exhausted,
        };
        let (proof, rows, changes) = self.recorder.end()?;
        Ok(Simulated { summary, proof, rows, changes })
    }

    /// A key is usable (again), or nobody asks any more.
    fn some_usable(&mut self, now: i64) {
        if let (Some(since), Some(exhausted)) = (self.dry_since.take(), &mut self.exhausted) {
            exhausted.total_ms += now - since;
        }
    }
}
