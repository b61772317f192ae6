//! The body of an answer: prepared pieces, played at a pace, broken off where the scenario says.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::{record::End, state::Serving};

/// The pieces of a body.
#[derive(Debug, Clone)]
pub(super) enum Pieces {
    /// One piece: the answer has a `Content-Length`.
    One(Bytes),
    /// Events of a stream.
    Many(Arc<[Bytes]>),
}

impl Pieces {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(pieces) => pieces.len(),
        }
    }

    fn get(&self, index: usize) -> Option<Bytes> {
        match self {
            Self::One(piece) => (index == 0).then(|| piece.clone()),
            Self::Many(pieces) => pieces.get(index).cloned(),
        }
    }
}

/// Where and how a body is held up or broken off.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Course {
    pub(super) pace: Duration,
    pub(super) cut_after: Option<usize>,
    pub(super) stall: Option<(usize, Duration)>,
}

/// A body that plays [`Pieces`].
#[derive(Debug)]
pub(super) struct Playback {
    pieces: Pieces,
    course: Course,
    next: usize,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Whether the wait before piece `next` is over.
    waited: bool,
    /// Whether hyper had a chance to write what was played before the body breaks off.
    flushed: bool,
    serving: Option<Serving>,
}

impl Playback {
    pub(super) fn new(pieces: Pieces, course: Course, serving: Option<Serving>) -> Self {
        let mut playback =
            Self { pieces, course, next: 0, waiting: None, waited: false, flushed: false, serving };
        // hyper does not ask for the pieces of an empty body.
        if playback.is_end_stream() {
            playback.finish(End::Answered);
        }
        playback
    }

    fn finish(&mut self, end: End) {
        if let Some(serving) = self.serving.take() {
            serving.finish(end);
        }
    }

    fn pause(&self) -> Duration {
        let stalled = self.course.stall.filter(|(at, _)| *at == self.next);
        let pace = if self.next == 0 { Duration::ZERO } else { self.course.pace };
        pace + stalled.map_or(Duration::ZERO, |(_, lasts)| lasts)
    }

    /// Half of the one piece: a body with a length breaks off in its middle.
    fn piece(&self) -> Option<Bytes> {
        match (&self.pieces, self.course.cut_after) {
            (Pieces::One(piece), Some(_)) if self.next == 0 => Some(piece.slice(..piece.len() / 2)),
            _ => self.pieces.get(self.next),
        }
    }

    fn cut_at(&self) -> Option<usize> {
        self.course.cut_after.map(|at| at.min(self.pieces.len()))
    }
}

impl Body for Playback {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.cut_at() == Some(self.next) {
            if !self.flushed {
                self.flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.finish(End::Broken);
            return Poll::Ready(Some(Err(io::Error::other("broken off by the scenario"))));
        }
        if self.next == self.pieces.len() {
            return Poll::Ready(None);
        }
        let pause = self.pause();
        if !self.waited && !pause.is_zero() {
            let sleep = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.waiting = None;
            self.waited = true;
        }
        let Some(piece) = self.piece() else { return Poll::Ready(None) };
        self.next += 1;
        self.waited = false;
        if self.is_end_stream() {
            self.finish(End::Answered);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let empty = matches!(&self.pieces, Pieces::One(piece) if piece.is_empty());
        self.cut_at().is_none() && (self.next == self.pieces.len() || empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.pieces {
            Pieces::One(piece) if self.next == 0 => SizeHint::with_exact(piece.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// What a service needs when it breaks off before a head: an error that hyper only closes on.
#[derive(Debug, thiserror::Error)]
#[error("broken off by the scenario")]
pub(super) struct BrokenOff;
