//! What will happen, in its order.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Something that happens to a client, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A request comes from outside, from whichever client is free.
    Comes,
    /// The client asks.
    Asks(usize),
    /// Its request is tried once more.
    Tries(usize),
    /// The head of its answer has come.
    Answers(usize),
    /// Its attempt has ended.
    Ends(usize),
}

/// Events by time; those of the same time in the order in which they were planned.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    planned: u64,
}

impl Queue {
    pub(super) fn plan(&mut self, at: i64, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((at, self.planned, event)));
    }

    /// The next event and its time.
    pub(super) fn next(&mut self) -> Option<(i64, Event)> {
        self.events.pop().map(|Reverse((at, _, event))| (at, event))
    }
}
