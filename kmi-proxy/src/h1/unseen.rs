//! Bytes of messages, which may hold keys, tokens and prompts.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

/// Its `Debug` says how many bytes there are and nothing of what they are.
#[derive(Clone, Default)]
pub(super) struct Unseen<T>(pub(super) T);

impl<T: AsRef<[u8]>> fmt::Debug for Unseen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.as_ref().len())
    }
}

impl<T> Deref for Unseen<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Unseen<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
