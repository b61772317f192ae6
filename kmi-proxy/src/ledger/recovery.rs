//! What a start finds: where every rotation stood, and which turns never reached the ledger.
//!
//! A turn is given out on the [page](super::page) before anything else happens to it, and a page
//! outlives the death of its process. So after a SIGKILL every turn is either in a line or
//! becomes part of a `gap` with its slot, and the rotation goes on in place. Where the page cannot
//! be trusted (the machine went down, the page is missing, torn or behind the ledger) nobody knows
//! how many turns were given out after the last line that was saved: [`SKIP`] numbers are left
//! out, as a declared gap without slots, so that no number is ever used twice.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use kmi_core::{
    inventory::Served,
    key::KeyId,
    trace::{Epoch, Gap, Record},
};

use super::{
    error::LedgerError,
    lost::MAX_SLOTS_PER_GAP,
    page::{self, ENTRIES, PageError, TurnPage},
    progress::Progress,
    store::Store,
};

/// Turn numbers that are left out when the newest one is not known: more than can have been given
/// out between two synced commits, the full queue and all requests in flight included.
pub(super) const SKIP: u64 = 131_072;

/// What an opened ledger knows of the time before.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Where the rotation of each upstream that ever had a turn or an epoch stood.
    pub upstreams: HashMap<Arc<str>, Resumed>,
    /// How many `gap` lines were written for turns whose end is not known.
    pub gaps: usize,
    /// What the user should hear of: pages that had to be built anew, numbers left out.
    pub notes: Vec<String>,
}

/// Where one upstream's rotation stood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resumed {
    /// The newest epoch that has a line.
    pub epoch: Option<Epoch>,
    /// The highest epoch number that was ever used; 0 for none. A new epoch is one above it.
    /// Where it is above `epoch`'s own, the line of that epoch was lost and a new one must begin.
    pub epoch_number: u64,
    /// The slot of the last turn in `epoch`'s ring; `None` before slot 0.
    pub cursor: Option<usize>,
    /// The newest turn that was given out or left out; 0 for none.
    pub last_turn: u64,
    /// Who served the last turn, where that was in an epoch before `epoch`.
    pub served_before: Option<Served>,
}

impl Resumed {
    /// Who served the last turn. Not always who stands at the cursor: that is another key where
    /// the one that served has gone since.
    pub fn served(&self) -> Option<Served> {
        self.served_before.clone().or_else(|| standing(self.epoch.as_ref()?, self.cursor?))
    }

    /// The newest epoch, if its ring may be gone on with.
    pub fn epoch_in_force(&self) -> Option<&Epoch> {
        self.epoch.as_ref().filter(|epoch| epoch.epoch == self.epoch_number)
    }
}

/// The key that stands in a slot of an epoch's ring.
fn standing(epoch: &Epoch, slot: usize) -> Option<Served> {
    let key = epoch.keys.get(*epoch.ring.get(slot)? as usize)?;
    Some(Served { id: KeyId::parse(&key.key)?, label: Arc::clone(&key.label), tier: key.tier })
}

/// The pages of a state directory, and the names of those that cannot be used.
#[derive(Debug, Default)]
struct Pages {
    whole: BTreeMap<Arc<str>, TurnPage>,
    damaged: BTreeMap<Arc<str>, &'static str>,
}

/// Declares the turns that are in no line, brings pages and ledger together, and tells where
/// every rotation goes on.
pub(super) fn recover(
    store: &mut Store,
    state_dir: &Path,
    boot: Option<&str>,
    now: Timestamp,
) -> Result<Recovered, LedgerError> {
    let before = store.before()?;
    // Without a name for the boot every death may have been an outage that set the pages back.
    let same_boot = boot.is_some() && (before.boot.is_none() || before.boot.as_deref() == boot);
    let mut pages = Pages::open(state_dir, store.books.upstreams.keys())?;
    let mut recovered = Recovered::default();
    let mut gaps = Vec::new();
    for upstream in pages.upstreams(store.books.upstreams.keys()) {
        let progress = store.books.upstreams.get(&upstream).cloned().unwrap_or_default();
        let page = pages.whole.get(&upstream);
        let declared = Declaration { upstream: &upstream, progress: &progress, page, now };
        let given_out = page.map_or(0, TurnPage::last_turn);
        let newest = given_out.max(progress.last_turn);
        let reason = if same_boot { "process_died" } else { "power_lost" };
        let mut lost = declared.gaps(newest, reason);
        declared.date(&mut lost, store)?;

        let trusted = same_boot && page.is_some() && given_out >= progress.last_turn;
        let in_use = newest > 0 || pages.damaged.contains_key(&upstream);
        if !before.clean && !trusted && in_use {
            let reason = if same_boot { "page_lost" } else { "power_lost" };
            lost.push(declared.gap((newest + 1, newest + SKIP), None, reason));
            recovered.notes.push(format!(
                "upstream {upstream}: turns {} to {} are left out, because after an outage nobody \
                 knows which of them were given out",
                newest + 1,
                newest + SKIP
            ));
        }
        gaps.extend(lost.into_iter().map(Record::Gap));
    }
    recovered.gaps = gaps.len();
    store.append(gaps.iter(), &BTreeMap::new(), true)?;
    store.close_old_epochs()?;
    pages.settle(store, state_dir, &mut recovered)?;
    store.mark(false, boot)?;
    store.append(std::iter::empty::<&Record>(), &BTreeMap::new(), true)?;
    for (upstream, progress) in &store.books.upstreams {
        let page = pages.whole.get(upstream);
        let resumed = Resumed {
            epoch: store.newest_epoch(upstream)?,
            epoch_number: progress.top_epoch,
            cursor: progress.cursor,
            last_turn: progress.last_turn,
            served_before: served_before(store, upstream, progress, page)?,
        };
        recovered.upstreams.insert(Arc::clone(upstream), resumed);
    }
    Ok(recovered)
}

/// See [`Resumed::served_before`]; `None` as well where the page, or the epoch's line, is lost.
fn served_before(
    store: &Store,
    upstream: &str,
    progress: &Progress,
    page: Option<&TurnPage>,
) -> Result<Option<Served>, LedgerError> {
    let last = page.and_then(|page| page.lookup(progress.last_turn));
    let Some((epoch, slot)) = last.filter(|(epoch, _)| *epoch < progress.epoch) else {
        return Ok(None);
    };
    Ok(store.epoch(upstream, epoch)?.and_then(|epoch| standing(&epoch, slot)))
}

/// What is known of the turns of one upstream.
#[derive(Debug)]
struct Declaration<'a> {
    upstream: &'a Arc<str>,
    progress: &'a Progress,
    page: Option<&'a TurnPage>,
    now: Timestamp,
}

impl Declaration<'_> {
    /// Gaps for all turns up to `newest` that are in no line. None of them spans two epochs, or
    /// mixes turns whose slots are known with others.
    fn gaps(&self, newest: u64, reason: &str) -> Vec<Gap> {
        let mut gaps = Vec::new();
        for (from, to) in self.progress.missing(newest) {
            // What fell out of the page's ring need not be looked up turn by turn.
            let oldest_known = (newest + 1).saturating_sub(ENTRIES).max(from);
            if from < oldest_known {
                gaps.push(self.gap((from, to.min(oldest_known - 1)), None, reason));
            }
            self.known_gaps(oldest_known, to, reason, &mut gaps);
        }
        gaps
    }

    fn known_gaps(&self, from: u64, to: u64, reason: &str, gaps: &mut Vec<Gap>) {
        let lookup = |turn| self.page.and_then(|page| page.lookup(turn));
        let mut start = from;
        while start <= to {
            let first = lookup(start);
            let epoch = first.map(|(epoch, _)| epoch);
            let mut slots: Vec<usize> = first.into_iter().map(|(_, slot)| slot).collect();
            let mut end = start;
            while end < to {
                let next = lookup(end + 1);
                if next.map(|(epoch, _)| epoch) != epoch || slots.len() >= MAX_SLOTS_PER_GAP {
                    break;
                }
                slots.extend(next.map(|(_, slot)| slot));
                end += 1;
            }
            gaps.push(self.gap((start, end), epoch.map(|epoch| (epoch, slots)), reason));
            start = end + 1;
        }
    }

    fn gap(
        &self,
        (from_turn, to_turn): (u64, u64),
        known: Option<(u64, Vec<usize>)>,
        reason: &str,
    ) -> Gap {
        let (epoch, slots) = match known {
            Some((epoch, slots)) => (epoch, Some(slots)),
            None => (self.progress.epoch, None),
        };
        let upstream = Arc::clone(self.upstream);
        Gap { ts: self.now, upstream, epoch, from_turn, to_turn, slots, reason: reason.into() }
    }

    /// Gives gaps without slots the epoch of the next turn that is known: a turn of an older ring
    /// may follow them. Only what is above every known turn is of the newest one.
    ///
    /// Costs a look at every line, so it is done where there are such gaps only.
    fn date(&self, gaps: &mut [Gap], store: &Store) -> Result<(), LedgerError> {
        let unknown = |gap: &&mut Gap| gap.slots.is_none();
        let Some(first) = gaps.iter_mut().find(unknown).map(|gap| gap.from_turn) else {
            return Ok(());
        };
        // Epochs grow with the turns, so the newest turn of each says it of all before it.
        let mut newest = store.newest_turns(self.upstream, first)?;
        for gap in gaps.iter().filter(|gap| gap.slots.is_some()) {
            let turn = newest.entry(gap.epoch).or_default();
            *turn = gap.to_turn.max(*turn);
        }
        for gap in gaps.iter_mut().filter(unknown) {
            let next = newest.iter().find(|(_, turn)| **turn > gap.to_turn);
            gap.epoch = next.map_or(gap.epoch, |(epoch, _)| *epoch);
        }
        Ok(())
    }
}

impl Pages {
    fn open<'a>(
        state_dir: &Path,
        known: impl Iterator<Item = &'a Arc<str>>,
    ) -> Result<Self, LedgerError> {
        let names: HashMap<_, _> =
            known.map(|name| (page::path_for(state_dir, name), Arc::clone(name))).collect();
        let mut pages = Self::default();
        for path in page::all_paths(state_dir)? {
            let what = match TurnPage::open(&path) {
                Ok(page) => match page.upstream() {
                    Some(name) if page::path_for(state_dir, name) == path => {
                        pages.whole.insert(name.into(), page);
                        continue;
                    }
                    _ => "it belongs to another upstream",
                },
                Err(PageError::Damaged(what)) => what,
                Err(PageError::Fatal(error)) => return Err(error),
            };
            // A name that cannot be told is nobody's: no upstream can have that file.
            let known = names.get(&path).cloned().or_else(|| page::upstream_of(&path));
            pages.damaged.extend(known.map(|name| (name, what)));
        }
        Ok(pages)
    }

    /// Every upstream that has a page or stands in the ledger.
    fn upstreams<'a>(&self, ledger: impl Iterator<Item = &'a Arc<str>>) -> Vec<Arc<str>> {
        let mut names: Vec<_> = ledger.cloned().collect();
        names.extend(self.whole.keys().chain(self.damaged.keys()).cloned());
        names.sort();
        names.dedup();
        names
    }

    /// Brings the pages to where the ledger now is.
    fn settle(
        &mut self,
        store: &Store,
        state_dir: &Path,
        recovered: &mut Recovered,
    ) -> Result<(), LedgerError> {
        for upstream in self.upstreams(store.books.upstreams.keys()) {
            let last = store.books.upstreams.get(&upstream).map_or(0, |it| it.last_turn);
            if let Some(what) = self.damaged.get(&upstream) {
                recovered
                    .notes
                    .push(format!("upstream {upstream}: its turn page was built anew: {what}"));
            }
            match self.whole.get_mut(&upstream) {
                Some(page) if page.last_turn() == last => {}
                Some(page) => page.go_on_after(last),
                None => {
                    let path = page::path_for(state_dir, &upstream);
                    drop(TurnPage::create(&path, &upstream, last)?);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
