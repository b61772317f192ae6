//! What stands under the pool's lock.

mod manual;

use std::{collections::HashSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use kmi_core::{
    eligible::{Eligible, KeySet},
    inventory::{Inventory, Key, Served},
    key::KeyId,
    outcome::Outcome,
    ring::RingError,
    rotation::Rotation,
    snapshot::KeyRow,
    state::Mode,
    trace::{Epoch, HealthChange},
};
use kmi_health::{
    Policy,
    board::{Board, Exhausted, Finished},
    classify::Verdict,
    upstream::Upstream as UpstreamHealth,
};

use super::{
    Affinity, Journal, NoKey, Picked, Place, Seen, Start, Tried, epoch, files, sessions::Sessions,
};
use crate::ledger::{Resumed, TurnPage};

/// Requests that ask at once may come in another order, and clocks are corrected a little; more
/// than this is a clock that was set back.
const SET_BACK: SignedDuration = SignedDuration::from_secs(5);

#[derive(Debug)]
pub(super) struct State {
    pub(super) inventory: Arc<Inventory>,
    pub(super) mode: Mode,
    /// Whether another key serves what the active one cannot; for manual mode.
    pub(super) failover: bool,
    active: Option<KeyId>,
    disabled: HashSet<KeyId>,
    pub(super) board: Board,
    /// How the upstream itself fares: an outage is no key's fault.
    pub(super) upstream: UpstreamHealth,
    /// `None` without keys: a ring has at least one.
    wheel: Option<Wheel>,
    /// Where the rotation stood when the last key went away.
    resting: Option<Resumed>,
    sessions: Sessions,
    page: TurnPage,
    /// The newest time that was seen.
    newest: Timestamp,
    /// Turns that were given out and whose lines are not with the trace yet.
    pub(super) open_turns: u64,
}

/// The rotation with what it needs at every turn.
#[derive(Debug)]
struct Wheel {
    rotation: Rotation,
    /// Its epoch as the trace has it.
    epoch: Epoch,
    /// Who served the last turn before its ring was taken, and that turn's number.
    before: (Option<Served>, u64),
    eligible: Eligible,
    /// The ids as the trace has them, by key number.
    ids: Vec<Arc<str>>,
}

impl State {
    pub(super) fn open(start: Start, journal: &Journal, now: Timestamp) -> Result<Self, RingError> {
        let board = Board::new(&start.inventory, start.policy.clone());
        let mut state = Self {
            upstream: UpstreamHealth::new(start.policy.clone()),
            inventory: Arc::default(),
            mode: start.mode,
            failover: start.failover,
            active: start.active,
            disabled: start.disabled,
            board,
            wheel: None,
            resting: start.resumed,
            sessions: Sessions::default(),
            page: start.page,
            newest: now,
            open_turns: 0,
        };
        state.adopt(start.inventory, start.policy, now, journal)?;
        let changes = state.board.import(&journal.blocks(&state.inventory), now);
        state.settle(changes, journal);
        Ok(state)
    }

    /// Takes a new set of keys; nothing is changed when it makes no ring.
    pub(super) fn adopt(
        &mut self,
        inventory: Inventory,
        policy: Policy,
        now: Timestamp,
        journal: &Journal,
    ) -> Result<(), RingError> {
        let before = self.resumed();
        let rotation = if inventory.is_empty() {
            None
        } else {
            Some(epoch::begin(&inventory, before.as_ref(), journal, now)?)
        };
        self.upstream.set_policy(policy.clone());
        let mut board = Board::new(&inventory, policy);
        let mut changes = board.adopt(&self.board, now);
        for id in &self.disabled {
            if let Some(key) = board.position(*id) {
                changes.extend(board.disable(key, now));
            }
        }
        self.board = board;
        self.wheel = rotation.map(|(rotation, epoch)| Wheel {
            eligible: Eligible::of(self.board.usable(), Arc::clone(rotation.ring())),
            ids: inventory.keys().iter().map(|key| key.id.to_string().into()).collect(),
            before: (before.as_ref().and_then(Resumed::served), rotation.last_turn()),
            rotation,
            epoch,
        });
        self.forget_blocks(&inventory, journal);
        self.resting = before;
        self.inventory = Arc::new(inventory);
        journal.health(changes);
        Ok(())
    }

    /// What blocks a key ends when it goes: one that comes back is read anew.
    fn forget_blocks(&self, inventory: &Inventory, journal: &Journal) {
        let gone = self.inventory.keys().iter().filter(|key| inventory.position(key.id).is_none());
        gone.for_each(|key| journal.forget_block(key.id));
    }

    /// Where the rotation stands, in the form that a new one continues from.
    fn resumed(&self) -> Option<Resumed> {
        let Some(Wheel { rotation, epoch, before: (served, turn), .. }) = &self.wheel else {
            return self.resting.clone();
        };
        Some(Resumed {
            served_before: served.clone().filter(|_| *turn == rotation.last_turn()),
            epoch: Some(epoch.clone()),
            epoch_number: rotation.epoch(),
            cursor: rotation.cursor(),
            last_turn: rotation.last_turn(),
        })
    }

    /// Lets time pass for the keys' health: two comparisons when nothing is due.
    pub(super) fn refresh(&mut self, now: Timestamp, journal: &Journal) {
        if now < self.newest {
            if self.newest.duration_since(now) > SET_BACK {
                let changes = self.board.clock_set_back(now);
                self.settle(changes, journal);
                self.newest = now;
            }
        } else {
            self.newest = now;
        }
        if self.board.next_change().is_some_and(|due| due <= now) {
            let changes = self.board.refresh(now);
            self.settle(changes, journal);
        }
    }

    pub(super) fn pick(
        &mut self,
        tried: &Tried,
        model: Option<&str>,
        affinity: &Affinity,
        now: Timestamp,
    ) -> Result<Picked, NoKey> {
        self.keep_an_active_key();
        let alone = self.alone();
        let Some(wheel) = &mut self.wheel else {
            let why = Exhausted::NoneWorking { at: None };
            return Err(NoKey { why, next: None, model_rests: false });
        };
        let epoch = wheel.rotation.epoch();
        let tried = tried.mask(epoch, &self.inventory);
        // Keys whose plan lacks the model stand aside for this request; that is rare.
        let usable = model.and_then(|model| self.board.usable_for(model, now));
        let model_rests = usable.as_ref().is_some_and(KeySet::is_empty);
        let narrowed =
            usable.map(|usable| Eligible::of(&usable, Arc::clone(wheel.rotation.ring())));
        let eligible = narrowed.as_ref().unwrap_or(&wheel.eligible);
        let kept = match (affinity, self.mode) {
            (Affinity::Session(session), Mode::Auto) => self.sessions.key(session),
            _ => None,
        };
        let serves = |key: &usize| eligible.is_usable(*key) && !tried.contains(*key);
        let kept = kept.and_then(|id| self.inventory.position(id)).filter(serves);
        let (key, turn, mask) = match (affinity, self.mode) {
            (Affinity::File(owner), _) => {
                let key = files::serving(owner, &self.inventory, &self.board, serves);
                (key, None, Arc::clone(eligible.mask()))
            }
            (_, Mode::Auto) if kept.is_some() => (kept, None, Arc::clone(eligible.mask())),
            (_, Mode::Auto) => match wheel.rotation.next(eligible, &tried) {
                Some(turn) => {
                    self.page.record(turn.number, turn.epoch, turn.slot);
                    self.open_turns += 1;
                    if let Affinity::Session(session) = affinity {
                        self.sessions.keep(session, self.inventory.keys()[turn.key].id);
                    }
                    let (number, prev_slot, slot) = (turn.number, turn.prev_slot, turn.slot);
                    (Some(turn.key), Some(Place { number, prev_slot, slot }), turn.eligible)
                }
                None => (None, None, Arc::default()),
            },
            (_, Mode::Manual) => {
                let key = if alone.is_some() {
                    // Whatever model it lacks: it says so itself.
                    alone.filter(|key| wheel.eligible.is_usable(*key) && !tried.contains(*key))
                } else {
                    let active = self.active.and_then(|id| self.inventory.position(id));
                    manual::key(&wheel.rotation, eligible, active, &tried)
                };
                (key, None, Arc::clone(eligible.mask()))
            }
        };
        let Some(number) = key else {
            if let Affinity::File(owner) = affinity {
                return Err(self.no_key_of(owner, &tried, now));
            }
            let mut others = tried;
            if let Some(key) = alone {
                others = KeySet::full(self.inventory.keys().len());
                others.remove(key);
            }
            if let Some(model) = model.filter(|_| model_rests) {
                let may_have_it = self.board.keys_for(model);
                let all = 0..self.inventory.keys().len();
                for key in all.filter(|key| !may_have_it.contains(*key)) {
                    others.insert(key);
                }
            }
            // A key that is usable now and was not chosen lacks the model: time mends that not.
            let next = self.board.next_usable(&others, now).filter(|next| *next > now);
            return Err(NoKey { why: self.exhausted(model, now), next, model_rests });
        };
        let id = Arc::clone(&wheel.ids[number]);
        self.upstream.begin();
        let attempt = self.board.start(number, now);
        if !self.board.usable().contains(number) {
            // A probe: one request at a time.
            self.settle_eligible();
        }
        Ok(Picked {
            key: Arc::clone(&self.inventory.keys()[number]),
            key_id: id,
            turn,
            epoch,
            eligible: mask,
            tried,
            index: number,
            mode: self.mode,
            is_probe: self.board.is_probe(number, attempt),
            attempt,
        })
    }

    /// Why no key can be chosen for a model. With usable keys left (all of them tried), a moment's
    /// wait.
    pub(super) fn exhausted(&self, model: Option<&str>, now: Timestamp) -> Exhausted {
        if let Some(key) = self.alone() {
            let why = self.board.soonest_among(&KeySet::from_iter([key]), now);
            return why.unwrap_or(Exhausted::ShortWait { at: now });
        }
        let rests = model.and_then(|model| self.model_rests(model, now));
        rests.or_else(|| self.board.soonest(now)).unwrap_or(Exhausted::ShortWait { at: now })
    }

    /// For how long the keys that may have a model rest; `None` when one of them is usable, or none
    /// will be soon.
    pub(super) fn model_rests(&self, model: &str, now: Timestamp) -> Option<Exhausted> {
        self.board.usable_for(model, now).filter(KeySet::is_empty)?;
        self.board.soonest_among(&self.board.keys_for(model), now)
    }

    pub(super) fn observe(
        &mut self,
        picked: &Picked,
        seen: &Seen<'_>,
        now: Timestamp,
        journal: &Journal,
    ) -> bool {
        // A reload may have given the key another number, or taken it away.
        let key = self.number_of(picked);
        let finished = Finished { model: seen.model, latency: seen.latency, tokens: seen.tokens };
        let mut changes = self.board.finish(key, picked.attempt, seen.verdict, &finished, now);
        if let Some(account) = seen.account {
            changes.extend(self.board.learn(key, account, now));
        }
        let everybodys = self.board.is_everybodys(seen.verdict);
        let shared = everybodys.then(|| Verdict::of(Outcome::UpstreamError));
        self.upstream.end(shared.as_ref().unwrap_or(seen.verdict), now);
        self.settle(changes, journal);
        everybodys
    }

    pub(super) fn has_another(&self, tried: &Tried, by: Timestamp, now: Timestamp) -> bool {
        let epoch = self.wheel.as_ref().map_or(0, |wheel| wheel.rotation.epoch());
        let next = self.board.next_usable(&tried.mask(epoch, &self.inventory), now);
        next.is_some_and(|next| next <= by)
    }

    pub(super) fn answered(&mut self, picked: &Picked, now: Timestamp, journal: &Journal) {
        let changes = self.board.answered(self.number_of(picked), picked.attempt, now);
        self.settle(changes, journal);
    }

    fn number_of(&self, picked: &Picked) -> usize {
        let unchanged = self.inventory.keys().get(picked.index).map(|key| key.id);
        if unchanged == Some(picked.key.id) {
            return picked.index;
        }
        self.inventory.position(picked.key.id).unwrap_or(usize::MAX)
    }

    pub(super) fn set_disabled(
        &mut self,
        name: &str,
        disabled: bool,
        now: Timestamp,
        journal: &Journal,
    ) -> Option<Arc<Key>> {
        let number = self.inventory.find(name)?;
        let key = Arc::clone(&self.inventory.keys()[number]);
        let changes = if disabled {
            self.disabled.insert(key.id);
            self.board.disable(number, now)
        } else {
            self.disabled.remove(&key.id);
            // What its file switches off only its file switches on.
            if key.disabled { Vec::new() } else { self.board.enable(number, now) }
        };
        self.settle(changes, journal);
        Some(key)
    }

    pub(super) fn reset(
        &mut self,
        name: &str,
        now: Timestamp,
        journal: &Journal,
    ) -> Option<Arc<Key>> {
        let number = self.inventory.find(name)?;
        let changes = self.board.clear(number, now);
        self.settle(changes, journal);
        Some(Arc::clone(&self.inventory.keys()[number]))
    }

    pub(super) fn rows(&self) -> Vec<KeyRow> {
        (0..self.inventory.keys().len()).filter_map(|key| self.board.row(key)).collect()
    }

    pub(super) fn last_turn(&self) -> u64 {
        let resting = || self.resting.as_ref().map_or(0, |resting| resting.last_turn);
        self.wheel.as_ref().map_or_else(resting, |wheel| wheel.rotation.last_turn())
    }

    pub(super) fn settle(&mut self, changes: Vec<HealthChange>, journal: &Journal) {
        self.settle_eligible();
        journal.health(changes);
    }

    fn settle_eligible(&mut self) {
        if let Some(wheel) = &mut self.wheel
            && wheel.eligible.usable() != self.board.usable()
        {
            wheel.eligible = Eligible::of(self.board.usable(), Arc::clone(wheel.rotation.ring()));
        }
    }
}
