//! The body of an upstream request.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{Idle, IdleError};
use crate::h1::Incoming;

/// The body of an upstream request: held whole, so that it can be sent again, or passed on as it
/// comes.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// The whole body; empty once it was taken.
    Whole(Bytes),
    /// What was read of a large body, and the rest of it.
    Streamed {
        /// What was read; empty once it was taken.
        head: Bytes,
        /// What still comes.
        rest: Idle<Incoming>,
        /// Bytes passed on so far, for the trace.
        passed: Arc<AtomicU64>,
    },
}

impl Outgoing {
    /// The same body once more, where it is held.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Streamed { .. } => None,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = IdleError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IdleError>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(take(bytes)),
            Self::Streamed { head, rest, passed } => {
                let frame = match take(head) {
                    Some(frame) => Poll::Ready(Some(frame)),
                    None => Pin::new(rest).poll_frame(cx),
                };
                if let Poll::Ready(Some(Ok(frame))) = &frame {
                    // Trailers are dropped: they could carry what a header may not.
                    let Some(data) = frame.data_ref() else { return Poll::Ready(None) };
                    passed.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Streamed { head, rest, .. } => head.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed { head, rest, .. } => match rest.size_hint().exact() {
                Some(rest) => SizeHint::with_exact(rest + head.len() as u64),
                None => SizeHint::default(),
            },
        }
    }
}

fn take(bytes: &mut Bytes) -> Option<Result<Frame<Bytes>, IdleError>> {
    (!bytes.is_empty()).then(|| Ok(Frame::data(std::mem::take(bytes))))
}
