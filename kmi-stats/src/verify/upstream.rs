//! One upstream's rotation, as its lines come in.

mod numbers;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::SignedDuration;
use kmi_core::{
    display::visible,
    trace::{Epoch, EpochKey, Gap},
};

use super::{
    Findings,
    chain::Beginning,
    order::{InOrder, Step},
    seen::Seen,
    spans::{First, Joint, Met, Spans},
    tally::{Exposure, Keys, NumberedEpoch, Row, Status, Tally},
};
use crate::{
    conformity::{self, Choice, End, EpochRing, Linked, Served, Serving, Start, Violation},
    report::{GapReport, MAX_GAPS},
};

/// Slots of all epochs that are kept together; turns of older epochs are unverifiable.
const MAX_EPOCH_SLOTS: usize = 262_144;

/// Turns end in nearly the order of their numbers: a turn's place in the window is looked for among
/// so many of the last ones first. More would be dear where a trace stands in another order.
const NEAR: usize = 16;

/// The epochs that are kept, by number.
type Epochs = BTreeMap<u64, Arc<NumberedEpoch>>;

/// What a turn has been found to be, before it stands among its neighbours.
struct Part<'a> {
    /// The line's number.
    seq: u64,
    /// Its epoch; `None` where its start cannot be checked.
    ring: Option<&'a Arc<EpochRing>>,
    status: Status,
    serving: Serving<'a>,
    /// Whether another key could have served.
    had_choice: bool,
}

/// Everything that has to be remembered of one upstream.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    name: Arc<str>,
    epochs: Epochs,
    epoch_slots: usize,
    newest_epoch: Option<u64>,
    keys: Keys,
    spans: Spans,
    order: InOrder,
    tally: Tally,
    /// Violations that no ended turn is to blame for.
    loose_violations: u64,
    gaps: VecDeque<GapReport>,
    gap_count: u64,
    gap_turns: u64,
    gaps_without_slots: u64,
    /// The last turns by number, then by line.
    recent: VecDeque<Row>,
    window: usize,
    has_turns: bool,
    /// From which turn on a missing number is open. Where the beginning is cut off that is the
    /// first turn that was certainly chosen later: what is missing before may have been cut off.
    whole_from: Option<u64>,
}

impl Upstream {
    pub(super) fn new(name: Arc<str>, window: usize) -> Self {
        Self {
            name,
            epochs: Epochs::new(),
            epoch_slots: 0,
            newest_epoch: None,
            keys: Keys::default(),
            spans: Spans::default(),
            order: InOrder::default(),
            tally: Tally::default(),
            loose_violations: 0,
            gaps: VecDeque::new(),
            gap_count: 0,
            gap_turns: 0,
            gaps_without_slots: 0,
            recent: VecDeque::new(),
            window,
            has_turns: false,
            whole_from: None,
        }
    }

    pub(super) fn epoch(&mut self, seq: u64, epoch: Epoch, found: &mut Findings) {
        if let Err(violation) = self.begin_epoch(epoch) {
            self.loose(seq, None, &violation, found);
        }
    }

    fn begin_epoch(&mut self, epoch: Epoch) -> Result<(), Violation> {
        let number = epoch.epoch;
        if let Some(newest) = self.newest_epoch.filter(|newest| number <= *newest) {
            return Err(Violation::EpochNotNew(number, newest));
        }
        self.newest_epoch = Some(number);
        let ring = Arc::new(EpochRing::read(epoch)?);
        let mut number_of = |key: &EpochKey| self.keys.number(&key.key, &key.label);
        let numbers: Option<Vec<usize>> = ring.keys.iter().map(&mut number_of).collect();
        let numbers = numbers.ok_or(Violation::TooMany(super::tally::MAX_KEYS, "keys"))?;
        self.epoch_slots += ring.ring.slots();
        self.epochs.insert(number, Arc::new(NumberedEpoch { ring, numbers }));
        while self.epoch_slots > MAX_EPOCH_SLOTS
            && let Some((_, oldest)) = self.epochs.pop_first()
        {
            self.epoch_slots -= oldest.ring.ring.slots();
        }
        Ok(())
    }

    /// An attempt that was no turn must not claim a place in the rotation.
    pub(super) fn no_turn(&mut self, seq: u64, found: &mut Findings) {
        self.loose(seq, None, &Violation::SlotWithoutTurn, found);
    }

    /// Takes an ended turn.
    pub(super) fn turn(
        &mut self,
        seq: u64,
        seen: &Seen<'_>,
        beginning: Beginning,
        found: &mut Findings,
    ) {
        self.begin(beginning);
        self.settle_beginning(seen, beginning);
        let epoch = Self::epoch_of(&self.epochs, seen);
        let replayed = Self::replay(epoch, seen);
        let key = epoch.and_then(|epoch| epoch.position(seen.key, seen.slot));
        let number = match epoch.zip(key) {
            Some((epoch, key)) => Some(epoch.numbers[key]),
            None => self.keys.number(seen.key, seen.label),
        };
        if let Some(number) = number {
            self.keys.label(number, seen.label);
        }
        let choice = epoch.and_then(|epoch| Self::exposure(epoch, seen, key));
        let serving = match epoch.zip(key) {
            Some((epoch, key)) => Serving::Of(&epoch.ring, key),
            None => Serving::Named(seen.key),
        };
        let status = replayed.as_ref().map_or(Status::Violation, |status| *status);
        let had_choice = choice.as_ref().is_some_and(Exposure::had_choice);
        let ring = epoch.filter(|_| seen.masks.is_some()).map(|epoch| &epoch.ring);

        let part = Part { seq, ring, status, serving, had_choice };
        let (linked, later) = Self::place(&mut self.spans, &mut self.tally, seen, &part);
        let unlinked = ring.is_some() && linked == Ok(Linked::No);
        let verdict = replayed.and_then(|status| linked.map(|_| status));
        let row = Row {
            turn: seen.turn,
            seq,
            ts: seen.ts,
            status: verdict.as_ref().map_or(Status::Violation, |status| *status),
            unlinked,
            key: number,
            tokens: seen.tokens,
            choice,
        };
        if let Err(violation) = verdict {
            found.add(seq, &self.name, Some(seen.turn), &violation);
        }
        self.count(row);
        if let Some(joint) = later {
            self.join(&joint, found);
        }
    }

    /// Puts a turn among its neighbours: whether it follows the turn before it, and the turn
    /// after it if that one came first.
    fn place(
        spans: &mut Spans,
        tally: &mut Tally,
        seen: &Seen<'_>,
        part: &Part<'_>,
    ) -> (Result<Linked, Violation>, Option<Joint>) {
        let Part { seq, ring, status, serving, had_choice } = *part;
        let (turn, prev_slot) = (seen.turn, seen.prev_slot);
        if turn == 0 {
            return (Err(Violation::TurnZero), None);
        }
        let end = End { epoch: seen.epoch, slot: seen.slot, served: Some(serving.keep()) };
        let first = || {
            let (epoch, served) = (ring.cloned(), serving.keep());
            Some(First { seq, epoch, prev_slot, status, served, had_choice })
        };
        let Ok(Met { before, later }) = spans.add(turn, turn, end, first) else {
            return (Err(Violation::Reused), None);
        };
        let start = ring.map(|epoch| Start { epoch, prev_slot });
        let linked = match (before, start) {
            (Some(before), start) => {
                let repeats = had_choice && before.served.as_ref().is_some_and(|it| it.is(serving));
                tally.repeats += u64::from(repeats);
                start.map_or(Ok(Linked::No), |start| conformity::follow(&before, &start))
            }
            (None, Some(start)) if turn == 1 => conformity::start(&start).map(|()| Linked::Yes),
            (None, _) => Ok(Linked::No),
        };
        (linked, later)
    }

    /// Before the first turn or gap; epoch lines alone may stand before the true beginning.
    fn begin(&mut self, beginning: Beginning) {
        if !self.has_turns && matches!(beginning, Beginning::Whole) {
            self.whole_from = Some(1);
            self.order = InOrder::starting_at(1);
        }
        self.has_turns = true;
    }

    fn settle_beginning(&mut self, seen: &Seen<'_>, beginning: Beginning) {
        let Beginning::Cut(Some(cut)) = beginning else { return };
        // Times have milliseconds, so two of them may be off by one each.
        if self.whole_from.is_some_and(|from| from <= seen.turn) {
            return;
        }
        let Ok(after) = cut.checked_add(SignedDuration::from_millis(2)) else { return };
        if seen.chosen().is_some_and(|chosen| chosen >= after) {
            self.whole_from = self.whole_from.or(Some(u64::MAX)).min(Some(seen.turn));
        }
    }

    fn epoch_of<'a>(epochs: &'a Epochs, seen: &Seen<'_>) -> Option<&'a Arc<NumberedEpoch>> {
        let number = seen.epoch?;
        let newest = epochs.last_key_value().filter(|(newest, _)| **newest == number);
        newest.map(|(_, epoch)| epoch).or_else(|| epochs.get(&number))
    }

    fn replay(epoch: Option<&Arc<NumberedEpoch>>, seen: &Seen<'_>) -> Result<Status, Violation> {
        let (Some(epoch), Some((eligible, tried))) = (epoch, &seen.masks) else {
            return Ok(Status::Unverifiable);
        };
        let (prev_slot, slot, key) = (seen.prev_slot, seen.slot, seen.key);
        epoch.ring.check(&Choice { prev_slot, slot, key, eligible, tried })?;
        Ok(Status::Conforming)
    }

    /// Who could have served; `None` where a mask is missing or names more keys than there are.
    fn exposure(
        epoch: &Arc<NumberedEpoch>,
        seen: &Seen<'_>,
        key: Option<usize>,
    ) -> Option<Exposure> {
        let (eligible, tried) = seen.masks?;
        if eligible.at_or_after(epoch.numbers.len()).is_some() {
            return None;
        }
        Some(Exposure { key, set: eligible.without(tried), epoch: Arc::clone(epoch) })
    }

    fn count(&mut self, row: Row) {
        self.tally.add(&row);
        row.in_order(&mut self.order);
        let place = (row.turn, row.seq);
        let later = |it: &&Row| (it.turn, it.seq) > place;
        let at = match self.recent.iter().rev().take(NEAR).take_while(later).count() {
            NEAR => self.recent.partition_point(|it| (it.turn, it.seq) < place),
            near => self.recent.len() - near,
        };
        self.recent.insert(at, row);
        if self.recent.len() > self.window {
            self.recent.pop_front();
        }
    }

    /// A turn that was counted meets the turn before it.
    fn join(&mut self, joint: &Joint, found: &mut Findings) {
        self.tally.repeats += u64::from(joint.is_repeat());
        let Some(result) = joint.follow() else { return };
        let place = (joint.turn, joint.first.seq);
        let at = self.recent.binary_search_by_key(&place, |row| (row.turn, row.seq)).ok();
        let row = at.and_then(|at| self.recent.get_mut(at));
        let (linked, violation) = match result {
            Ok(linked) => (linked == Linked::Yes, None),
            Err(violation) => (true, Some(violation)),
        };
        self.tally.unlinked -= u64::from(linked);
        let violation = violation.filter(|_| joint.first.status == Status::Conforming);
        if let Some(row) = row {
            row.unlinked = !linked;
            if violation.is_some() {
                row.status = Status::Violation;
            }
        }
        if let Some(violation) = violation {
            self.tally.correct(Status::Conforming, Status::Violation);
            found.add(joint.first.seq, &self.name, Some(joint.turn), &violation);
        }
    }

    pub(super) fn gap(&mut self, seq: u64, gap: &Gap, beginning: Beginning, found: &mut Findings) {
        self.begin(beginning);
        let (from, to) = (gap.from_turn, gap.to_turn);
        if from == 0 {
            return self.loose(seq, Some(0), &Violation::TurnZero, found);
        }
        let Some(more) = to.checked_sub(from) else {
            return self.loose(seq, Some(from), &Violation::BackwardGap(from, to), found);
        };
        let epoch = self.epochs.get(&gap.epoch).cloned();
        let slots = match Self::gap_slots(epoch.as_deref(), gap, more) {
            Ok(slots) => slots,
            Err(violation) => {
                self.loose(seq, Some(from), &violation, found);
                None
            }
        };
        let slot = slots.and_then(|slots| slots.last().copied());
        let served = epoch.zip(slot).map(|(epoch, slot)| {
            let key = epoch.ring.ring.key_at(slot);
            Served::Of(Arc::clone(&epoch.ring), key)
        });
        // Where the slots are not known, the epoch is not either: it is a guess of whoever declared it.
        let end = End { epoch: slot.map(|_| gap.epoch), slot, served };
        let Ok(Met { later, .. }) = self.spans.add(from, to, end, || None) else {
            return self.loose(seq, Some(from), &Violation::Reused, found);
        };
        self.order.take(from, Step::Unknown { to });
        self.gap_count += 1;
        self.gap_turns = self.gap_turns.saturating_add(more).saturating_add(1);
        self.gaps_without_slots += u64::from(slot.is_none());
        if self.gaps.len() == MAX_GAPS {
            self.gaps.pop_front();
        }
        self.gaps.push_back(GapReport {
            upstream: visible(&self.name).into_owned(),
            from_turn: from,
            to_turn: to,
            reason: visible(&gap.reason).into_owned(),
            slots_known: slot.is_some(),
        });
        if let Some(joint) = later {
            self.join(&joint, found);
        }
    }

    /// The slots of a gap of `more + 1` turns, where they are known and can be right.
    fn gap_slots<'a>(
        epoch: Option<&NumberedEpoch>,
        gap: &'a Gap,
        more: u64,
    ) -> Result<Option<&'a [usize]>, Violation> {
        let Some(slots) = &gap.slots else { return Ok(None) };
        if (slots.len() as u64).checked_sub(1) != Some(more) {
            let turns = more.saturating_add(1);
            return Err(Violation::WrongGapSlots { turns, slots: slots.len() });
        }
        let outside = |slot: &&usize| epoch.is_some_and(|e| **slot >= e.ring.ring.slots());
        match slots.iter().find(outside) {
            Some(slot) => Err(Violation::SlotOutside(*slot)),
            None => Ok(Some(slots)),
        }
    }

    fn loose(&mut self, seq: u64, turn: Option<u64>, violation: &Violation, found: &mut Findings) {
        self.loose_violations += 1;
        found.add(seq, &self.name, turn, violation);
    }

    pub(super) fn newest_turn(&self) -> u64 {
        self.spans.newest()
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The last turns in the order of their numbers.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Row> {
        self.recent.iter()
    }
}

impl Joint {
    /// Holds the later turn against the earlier one; `None` where the later cannot be checked.
    fn follow(&self) -> Option<Result<Linked, Violation>> {
        Some(conformity::follow(&self.before, &self.first.start()?))
    }

    /// Whether the same key served twice though another could have.
    fn is_repeat(&self) -> bool {
        let before = self.before.served.as_ref();
        self.first.had_choice && before.is_some_and(|it| it.is(self.first.served.as_serving()))
    }
}
