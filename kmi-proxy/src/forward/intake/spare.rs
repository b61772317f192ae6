//! The memory of the last long bodies, kept for the next ones: an agent sends its whole conversation
//! with every request, and fresh memory costs more than reading it (a page fault for every 4 KiB,
//! each of which the kernel fills with zeros).

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Memory for shorter bodies is cheap: the allocator has it from its heap.
const SHORTEST: usize = 128 << 10;
/// Longer bodies are rare.
const LONGEST: usize = 2 << 20;
/// What a thread keeps at most, in bytes of memory.
const TOTAL: usize = 5 << 20;

thread_local!(static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) });

/// Empty memory for so many bytes.
pub(super) fn take(capacity: usize) -> BytesMut {
    if !(SHORTEST..=LONGEST).contains(&capacity) {
        return BytesMut::with_capacity(capacity);
    }
    let kept = SPARE.with_borrow_mut(|spare| {
        let at = spare.iter().position(|memory| memory.capacity() >= capacity)?;
        Some(spare.remove(at))
    });
    // Conversations grow. What is not used is not there either.
    kept.unwrap_or_else(|| BytesMut::with_capacity(capacity + capacity / 8))
}

/// Keeps the memory of a body that nobody needs any more, if it is worth it.
pub(super) fn keep(body: Bytes) {
    if !(SHORTEST..=LONGEST).contains(&body.len()) {
        return;
    }
    let Ok(mut memory) = body.try_into_mut() else { return };
    // A body of unknown length may have more than it needed.
    if memory.capacity() > TOTAL {
        return;
    }
    memory.clear();
    SPARE.with_borrow_mut(|spare| {
        // The oldest makes room.
        while !spare.is_empty() && total(spare) + memory.capacity() > TOTAL {
            spare.remove(0);
        }
        spare.push(memory);
    });
}

fn total(spare: &[BytesMut]) -> usize {
    spare.iter().map(BytesMut::capacity).sum()
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

    fn kept() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    #[test]
    fn a_longer_conversation_comes_to_lie_where_the_last_one_lay() {
        let (body, first) = filled(300_000);
        keep(body);
        let (body, second) = filled(330_000);
        assert_eq!(first, second);
        let (_, meanwhile) = filled(330_000);
        assert_ne!(second, meanwhile, "one body at a time");
        keep(body.clone());
        assert_eq!(kept(), 0, "somebody still reads it");
        drop(body);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let bodies: Vec<_> = (0..9).map(|_| filled(1 << 20)).collect();
        let newest = bodies[8].1;
        for (body, _) in bodies {
            keep(body);
        }
        assert_eq!(kept(), 4);
        assert!(SPARE.with_borrow(|spare| total(spare) <= TOTAL && spare[3].as_ptr() == newest));
    }

    #[test]
    fn neither_short_nor_very_long_bodies_are_kept() {
        for bytes in [0, SHORTEST - 1, LONGEST + 1] {
            keep(filled(bytes).0);
            assert_eq!(kept(), 0, "{bytes}");
        }
        keep(filled(LONGEST).0);
        assert_eq!(kept(), 1);
    }
}
