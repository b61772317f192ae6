//! The breaker of a key or of an account.
//!
//! # States
//!
//! * **Closed**: requests pass. (The field's word: a closed circuit conducts.)
//! * **Open**: no request passes until a time that is known, or until the user acts.
//! * **Half-open**: one request at a time passes, as a probe.
//!
//! # Transitions
//!
//! * Closed or half-open -> open: a refusal that blocks, see [`crate::classify`].
//! * Open -> open: a further refusal may move the end further away, never nearer. A block that
//!   only the user can end swallows every other one. Only who knows the end may bring it nearer
//!   ([`Breaker::ends_at`]).
//! * Open -> half-open: its end has passed ([`Breaker::tick`]).
//! * Half-open -> closed: the probe succeeded.
//! * Half-open -> half-open: the probe ended without telling anything about the key (the client
//!   left, the upstream failed, the request itself was wrong), or it was lost. The next request
//!   is a probe again.
//! * Open -> half-open: the clock was set back, so that an end which is a time would come late by as
//!   much ([`Breaker::clock_set_back`]); a probe that is under way is given up.
//! * Any -> closed: the user says so ([`Breaker::close`]).
//!
//! Only the probe's own success closes a half-open breaker: an answer to a request that was sent
//! before the trouble proves nothing.
//!
//! # Failures
//!
//! A refusal says itself how long it lasts. Failures do not, and two signals catch two kinds of
//! them: a run of [`Policy::failure_run`] in a row finds a key that has died; a rate of
//! [`Policy::failure_rate`] over [`Policy::failure_window`] finds one that is flaky. Either trips
//! ([`Breaker::failed`]) and asks for a block as `failing`.
//!
//! * Failures are what the upstream gives as its own fault, and refusals that nobody can explain.
//! * 429 and the other refusals of the table are no failures: they block by themselves, for as
//!   long as they say. They do fail a probe.
//! * Cold start: a rate over fewer than [`Policy::failure_sample`] attempts says nothing; an idle
//!   window empties itself. A success ends a run.
//! * A trip only counts while other keys succeed: what all keys suffer is the upstream's, and
//!   blocks none. The board knows the other keys, so the board decides that.
//! * A failure in the half-open state is no proof against the key either, unless it trips.
//!
//! # Strikes
//!
//! A strike is a block without a success since the one before; cooldowns grow with them. Refusals
//! that arrive while the breaker is open (requests that were under way together) are no further
//! strikes.

use jiff::Timestamp;
use kmi_core::state::Reason;

use crate::{Policy, cooldown::later, window::Window};

/// The number of an attempt, by which a probe is known from the requests around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub(crate) u64);

/// Whether requests may pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// They may.
    #[default]
    Closed,
    /// They may not.
    Open {
        /// Why.
        reason: Reason,
        /// Until when; `None` until the user acts.
        until: Option<Timestamp>,
    },
    /// One at a time may.
    HalfOpen {
        /// Why it was open.
        reason: Reason,
        /// The one that is under way, and since when.
        probe: Option<(AttemptId, Timestamp)>,
    },
}

/// The module's documentation is its specification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    strikes: u32,
    run: u32,
    window: Window,
}

impl Breaker {
    /// Whether the next request may pass.
    pub fn admits(&self) -> bool {
        matches!(self.state, State::Closed | State::HalfOpen { probe: None, .. })
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why the breaker is open, if it is.
    pub fn blocked_for(&self) -> Option<Reason> {
        match self.state {
            State::Open { reason, .. } => Some(reason),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// Whether the breaker is open or half-open for this reason.
    pub fn is_about(&self, reason: Reason) -> bool {
        match self.state {
            State::Open { reason: its, .. } | State::HalfOpen { reason: its, .. } => its == reason,
            State::Closed => false,
        }
    }

    /// Blocks since the last success, the one in force left out.
    pub fn strikes(&self) -> u32 {
        self.strikes - u32::from(matches!(self.state, State::Open { .. }))
    }

    /// Whether a success would change nothing.
    pub(crate) fn is_calm(&self) -> bool {
        self.state == State::Closed && self.strikes == 0
    }

    /// A request begins; in the half-open state it is the probe, if there is none.
    pub fn begin(&mut self, attempt: AttemptId, now: Timestamp) {
        if let State::HalfOpen { probe: probe @ None, .. } = &mut self.state {
            *probe = Some((attempt, now));
        }
    }

    /// A request failed; `true` when the breaker trips, if other keys fare better.
    pub fn failed(&mut self, policy: &Policy, now: Timestamp) -> bool {
        self.run = self.run.saturating_add(1);
        self.window.record(true, policy.failure_window, now);
        let (sample, rate) = self.window.rate(policy.failure_window, now);
        self.run >= policy.failure_run
            || (sample >= u64::from(policy.failure_sample) && rate >= policy.failure_rate)
    }

    /// A request succeeded, whatever it proves about the state.
    pub(crate) fn fared_well(&mut self, policy: &Policy, now: Timestamp) {
        self.run = 0;
        self.window.record(false, policy.failure_window, now);
    }

    /// A request succeeded.
    pub fn succeeded(&mut self, attempt: AttemptId) {
        if self.is_probe(attempt) {
            self.state = State::Closed;
        }
        if self.state == State::Closed {
            self.strikes = 0;
        }
    }

    /// A request ended without telling anything.
    pub fn says_nothing(&mut self, attempt: AttemptId) {
        if self.is_probe(attempt)
            && let State::HalfOpen { probe, .. } = &mut self.state
        {
            *probe = None;
        }
    }

    /// A refusal blocks until a time, or until the user acts.
    pub fn block(&mut self, reason: Reason, until: Option<Timestamp>) {
        self.state = match self.state {
            State::Open { until: None, .. } => return,
            State::Open { until: Some(old), .. } if until.is_some_and(|new| new <= old) => return,
            State::Open { .. } => State::Open { reason, until },
            State::Closed | State::HalfOpen { .. } => {
                self.strikes = self.strikes.saturating_add(1);
                // A trip has had its effect; after the rest the count begins anew.
                (self.run, self.window) = (0, Window::default());
                State::Open { reason, until }
            }
        };
    }

    /// The provider says when an open breaker's block ends. One that only the user can end stays.
    pub fn ends_at(&mut self, end: Timestamp) {
        if let State::Open { until: Some(until), .. } = &mut self.state {
            *until = end;
        }
    }

    /// The user says that all is well.
    pub fn close(&mut self) {
        *self = Self::default();
    }

    /// A block for one of these reasons is over before its time; requests may probe.
    pub fn relieve(&mut self, reasons: &[Reason]) {
        if let State::Open { reason, .. } = self.state
            && reasons.contains(&reason)
        {
            self.state = State::HalfOpen { reason, probe: None };
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, policy: &Policy, now: Timestamp) {
        if self.next_change(policy).is_none_or(|at| at > now) {
            return;
        }
        if let State::Open { reason, .. } | State::HalfOpen { reason, .. } = self.state {
            self.state = State::HalfOpen { reason, probe: None };
        }
    }

    /// The clock was set back: what ends at a time is tried anew. What only the user can end stays.
    pub fn clock_set_back(&mut self) {
        if let State::Open { reason, until: Some(_) } | State::HalfOpen { reason, .. } = self.state
        {
            self.state = State::HalfOpen { reason, probe: None };
        }
    }

    /// When [`Self::tick`] would change something.
    pub fn next_change(&self, policy: &Policy) -> Option<Timestamp> {
        match self.state {
            State::Open { until, .. } => until,
            State::HalfOpen { probe, .. } => {
                probe.map(|(_, since)| later(since, policy.probe_timeout))
            }
            State::Closed => None,
        }
    }

    /// Takes over what another breaker knows; the later end counts.
    pub fn merge(&mut self, other: &Self) {
        let strikes = self.strikes.max(other.strikes);
        // Every open breaker has a strike, whichever of the two states is taken.
        match (self.state, other.state) {
            (_, State::Open { reason, until }) => self.block(reason, until),
            (State::Closed, state @ State::HalfOpen { .. }) => self.state = state,
            _ => {}
        }
        self.strikes = strikes;
    }

    /// Whether an attempt is the probe that is under way.
    pub(crate) fn is_probe(&self, attempt: AttemptId) -> bool {
        matches!(self.state, State::HalfOpen { probe: Some((probe, _)), .. } if probe == attempt)
    }
}

#[cfg(test)]
mod tests;
