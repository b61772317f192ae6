//! Waiting until nobody writes any more.

use std::time::{Duration, Instant};

use super::{SETTLE, picture::Picture};

/// Longest wait: one file that never rests must not keep the others from being read. (It is not
/// read half-written even then: reading waits for each file's own rest.)
const LONGEST: Duration = Duration::from_secs(1);

/// A change that may still be going on.
pub(super) struct Settling {
    picture: Picture,
    begun: Instant,
    still_since: Instant,
}

pub(super) enum Verdict {
    /// Look again after this time.
    Wait(Duration),
    /// This is what it looks like now.
    Settled(Picture),
}

impl Settling {
    pub(super) fn begin(picture: Picture, now: Instant) -> Self {
        Self { picture, begun: now, still_since: now }
    }

    /// Takes another look, if one could be had.
    pub(super) fn next(&mut self, picture: Option<Picture>, now: Instant) -> Verdict {
        if let Some(picture) = picture.filter(|picture| *picture != self.picture) {
            self.picture = picture;
            self.still_since = now;
        }
        let rest = (self.still_since + SETTLE).min(self.begun + LONGEST);
        match rest.checked_duration_since(now) {
            Some(rest) if !rest.is_zero() => Verdict::Wait(rest),
            _ => Verdict::Settled(std::mem::take(&mut self.picture)),
        }
    }
}
