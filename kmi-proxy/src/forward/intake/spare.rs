//! The memory of the last long body, kept for the next one: an agent sends its whole conversation
//! with every request, and fresh memory costs more than reading it (a page fault for every 4 KiB,
//! each of which the kernel fills with zeros).

use std::cell::Cell;

use bytes::{Bytes, BytesMut};

/// Memory for shorter bodies is cheap.
const SHORTEST: usize = 64 << 10;
/// What a thread keeps at most.
const LONGEST: usize = 2 << 20;

thread_local!(static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) });

/// Empty memory for so many bytes.
pub(super) fn take(capacity: usize) -> BytesMut {
    if capacity < SHORTEST {
        return BytesMut::with_capacity(capacity);
    }
    match SPARE.take() {
        Some(spare) if spare.capacity() >= capacity => spare,
        // Conversations grow. What is not used is not there either.
        _ if capacity <= LONGEST => BytesMut::with_capacity(capacity.next_power_of_two()),
        _ => BytesMut::with_capacity(capacity),
    }
}

/// Keeps the memory of a body that nobody needs any more, if it is worth it.
pub(super) fn keep(body: Bytes) {
    if !(SHORTEST..=LONGEST).contains(&body.len()) {
        return;
    }
    if let Ok(mut memory) = body.try_into_mut()
        && memory.capacity() <= LONGEST
    {
        memory.clear();
        SPARE.set(Some(memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the memory of a body of so many bytes is.
    fn filled(bytes: usize) -> (Bytes, *const u8) {
        let mut memory = take(bytes);
        memory.resize(bytes, b'x');
        let body = memory.freeze();
        let at = body.as_ptr();
        (body, at)
    }

    #[test]
    fn a_longer_conversation_comes_to_lie_where_the_last_one_lay() {
        let (body, first) = filled(300_000);
        keep(body);
        let (body, second) = filled(400_000);
        assert_eq!(first, second);
        let (_, meanwhile) = filled(400_000);
        assert_ne!(second, meanwhile, "one at a time");
        keep(body.clone());
        assert!(SPARE.take().is_none(), "somebody still reads it");
        drop(body);
    }

    #[test]
    fn neither_short_nor_very_long_bodies_are_kept() {
        for bytes in [0, SHORTEST - 1, LONGEST + 1] {
            keep(filled(bytes).0);
            assert!(SPARE.take().is_none(), "{bytes}");
        }
        keep(filled(LONGEST).0);
        assert!(SPARE.take().is_some());
    }
}
