//! The client's body: held whole up to a limit, so that it can be sent again, or passed on.

mod spare;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::body::Body as _;

use crate::{
    body::{Idle, IdleError, Outgoing},
    h1::Incoming,
    reply::Refusal,
};

/// A request up to this size can be sent again on another key: a conversation with a dozen pictures.
const REPLAY_LIMIT: usize = 16 << 20;
/// As [`REPLAY_LIMIT`], of a request that does not tell its size.
const UNTOLD_LIMIT: usize = 4 << 20;
/// All requests together that are held to be sent again.
const REPLAY_TOTAL: usize = 256 << 20;
/// How much of a larger request is read before it is sent on, to see its model and session.
const PEEK_LIMIT: usize = 64 << 10;

/// Memory that held bodies take, over all requests.
#[derive(Debug, Default)]
pub(crate) struct ReplayBudget(AtomicUsize);

/// A share of the budget; given back when dropped.
#[derive(Debug)]
struct Share<'a> {
    budget: &'a ReplayBudget,
    bytes: usize,
}

impl ReplayBudget {
    fn take(&self, bytes: usize) -> Option<Share<'_>> {
        let share = Share { budget: self, bytes };
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        // An overdrawn share gives itself back by being dropped here.
        (before + bytes <= REPLAY_TOTAL).then_some(share)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A client's body, read as far as kmi reads it.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    held: Held,
    passed: Arc<AtomicU64>,
    _share: Option<Share<'a>>,
}

#[derive(Debug)]
enum Held {
    Whole(Bytes),
    Large {
        head: Bytes,
        rest: Idle<Incoming>,
    },
    /// A large body that was sent.
    Gone,
}

impl<'a> Intake<'a> {
    /// Reads a body whole, or its beginning when it is too large to be held. A client that sends
    /// nothing of it for longer than `stall` is given up.
    pub(crate) async fn read(
        body: Incoming,
        budget: &'a ReplayBudget,
        stall: Duration,
    ) -> Result<Self, Refusal> {
        let known =
            body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let wanted = known.unwrap_or(UNTOLD_LIMIT);
        let share = if wanted <= REPLAY_LIMIT { budget.take(wanted) } else { None };
        let limit = if share.is_some() { wanted } else { PEEK_LIMIT };
        let mut rest = Idle::new(body, stall);
        let (head, ended) = collect(&mut rest, known.unwrap_or(0).min(limit), limit).await?;
        Ok(Self {
            held: if ended { Held::Whole(head) } else { Held::Large { head, rest } },
            passed: Arc::default(),
            _share: share,
        })
    }

    /// What was read: the whole body, or its beginning.
    pub(crate) fn head(&self) -> &[u8] {
        match &self.held {
            Held::Whole(head) | Held::Large { head, .. } => head,
            Held::Gone => &[],
        }
    }

    /// The body for the next attempt, and the count of its bytes; `None` when it was too large to
    /// be held and is gone.
    pub(crate) fn outgoing(&mut self) -> Option<(Outgoing, SentBytes)> {
        if let Held::Whole(body) = &self.held {
            let sent = SentBytes::Known(body.len() as u64);
            return Some((Outgoing::Whole(body.clone()), sent));
        }
        match std::mem::replace(&mut self.held, Held::Gone) {
            Held::Large { head, rest } => {
                let passed = Arc::clone(&self.passed);
                let sent = SentBytes::Counted(Arc::clone(&passed));
                Some((Outgoing::Streamed { head, rest, passed }, sent))
            }
            Held::Gone | Held::Whole(_) => None,
        }
    }

    /// Whether another attempt could be made.
    pub(crate) fn can_be_sent(&self) -> bool {
        !matches!(self.held, Held::Gone)
    }
}

impl Drop for Intake<'_> {
    fn drop(&mut self) {
        if let Held::Whole(body) = &mut self.held {
            spare::keep(std::mem::take(body));
        }
    }
}

/// How many bytes of a body were sent.
#[derive(Debug, Clone)]
pub(crate) enum SentBytes {
    Known(u64),
    Counted(Arc<AtomicU64>),
}

impl SentBytes {
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::Known(bytes) => *bytes,
            Self::Counted(passed) => passed.load(Ordering::Relaxed),
        }
    }
}

/// Reads up to `limit` bytes (and the rest of the last piece); `true` when that was all.
async fn collect(
    body: &mut Idle<Incoming>,
    capacity: usize,
    limit: usize,
) -> Result<(Bytes, bool), Refusal> {
    if body.is_end_stream() {
        return Ok((Bytes::new(), true));
    }
    // The usual body comes with its head, and is not copied.
    if let Some(whole) = body.take_whole() {
        return Ok((whole, true));
    }
    let mut all = spare::take(capacity);
    while body.read_into(&mut all).await.map_err(|error| refusal(&error))? {
        if body.is_end_stream() {
            return Ok((all.freeze(), true));
        }
        if all.len() >= limit {
            return Ok((all.freeze(), false));
        }
    }
    Ok((all.freeze(), true))
}

fn refusal(error: &IdleError) -> Refusal {
    match error {
        IdleError::StoodStill(_) => Refusal::new(
            http::StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "The request's body did not arrive.",
        )
        .closing(),
        IdleError::Broken(_) => {
            Refusal::bad("body_broken", "The request's body is not valid HTTP.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_given_back() {
        let budget = ReplayBudget::default();
        let first = budget.take(REPLAY_TOTAL).unwrap();
        assert!(budget.take(1).is_none());
        drop(first);
        assert!(budget.take(1).is_some());
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
