//! What one upstream's turns come to, all of them and the last ones.

use kmi_core::display::visible;

use super::Upstream;
use crate::{
    report::{GapReport, Numbers, UpstreamReport, Window},
    verify::{
        Flight,
        tally::{Row, Tally},
    },
};

impl Upstream {
    pub(in crate::verify) fn report(
        &self,
        flight: Option<Flight>,
        chain_ok: bool,
    ) -> UpstreamReport {
        let mut all = self.all(flight);
        let mut recent = self.numbers_of(self.recent.iter(), flight);
        all.judge(chain_ok);
        recent.judge(chain_ok);
        UpstreamReport {
            all,
            window: Window { size: self.window as u64, numbers: recent },
            epoch: self.newest_epoch,
            newest_turn: self.spans.newest(),
        }
    }

    fn all(&self, flight: Option<Flight>) -> Numbers {
        let newest = flight.map_or(self.spans.newest(), |flight| flight.newest);
        let missing = self.whole_from.map_or(0, |from| self.spans.missing(from, newest));
        let open = missing.saturating_add(self.spans.closed());
        Numbers {
            violations: self.tally.violations + self.loose_violations,
            max_pair_gap: self.order.widest(),
            gaps: self.gaps.iter().cloned().collect(),
            gap_count: self.gap_count,
            gap_turns: self.gap_turns,
            gaps_without_slots: self.gaps_without_slots,
            ..self.numbers(&self.tally, open, flight)
        }
    }

    /// The numbers of some of the last turns, which are in the order of their numbers; to be
    /// judged afterwards.
    pub(in crate::verify) fn numbers_of<'a>(
        &self,
        rows: impl Iterator<Item = &'a Row> + Clone,
        flight: Option<Flight>,
    ) -> Numbers {
        let (tally, widest) = Tally::of_window(rows.clone());
        let (mut rows, last) = (rows.clone(), rows.last());
        let (Some(first), Some(last)) = (rows.next(), last) else { return Numbers::default() };
        let newest = flight.map_or(last.turn, |flight| flight.newest.min(last.turn));
        let from = self.whole_from.map_or(u64::MAX, |whole| whole.max(first.turn));
        let open = self.spans.missing(from, newest);
        let within = |gap: &&GapReport| gap.to_turn >= first.turn && gap.from_turn <= last.turn;
        let gaps: Vec<GapReport> = self.gaps.iter().filter(within).cloned().collect();
        let turns_of = |gap: &GapReport| gap.to_turn - gap.from_turn + 1;
        Numbers {
            max_pair_gap: widest,
            gap_count: gaps.len() as u64,
            gap_turns: gaps.iter().map(turns_of).fold(0, u64::saturating_add),
            gaps_without_slots: gaps.iter().filter(|gap| !gap.slots_known).count() as u64,
            gaps,
            ..self.numbers(&tally, open, flight)
        }
    }

    fn numbers(&self, tally: &Tally, open: u64, flight: Option<Flight>) -> Numbers {
        Numbers {
            turns: tally.turns,
            conforming: tally.conforming,
            violations: tally.violations,
            unverifiable: tally.unverifiable,
            unlinked: tally.unlinked,
            open,
            unexplained: open.saturating_sub(flight.map_or(0, |flight| flight.turns)),
            repeats: tally.repeats,
            chi_square: tally.chi_square(),
            shares: tally.shares(&visible(&self.name), &self.keys),
            ..Numbers::default()
        }
    }
}
