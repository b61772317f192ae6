//! Finding a few bytes in many, fast in safe code: blocks are compared in loops that the compiler
//! turns into vector instructions.

const BLOCK: usize = 32;

/// The place of the first `needle` in `haystack`. `N` is 3 or more.
///
/// A block is looked at closely only where the first two bytes and the last one stand at the
/// right distances, which ordinary text rarely does.
#[expect(clippy::needless_bitwise_bool, reason = "branches would undo the vector instructions")]
pub(crate) fn find<const N: usize>(haystack: &[u8], needle: &[u8; N]) -> Option<usize> {
    const { assert!(N >= 3) };
    let starts = (haystack.len() + 1).checked_sub(N)?;
    let (first, second, last) = (needle[0], needle[1], needle[N - 1]);
    let mut at = 0;
    while at + BLOCK <= starts {
        let firsts = &haystack[at..at + BLOCK];
        let seconds = &haystack[at + 1..at + 1 + BLOCK];
        let lasts = &haystack[at + N - 1..at + N - 1 + BLOCK];
        let mut hit = false;
        for i in 0..BLOCK {
            hit |= (firsts[i] == first) & (seconds[i] == second) & (lasts[i] == last);
        }
        if hit && let Some(found) = closely(haystack, needle, at..at + BLOCK) {
            return Some(found);
        }
        at += BLOCK;
    }
    closely(haystack, needle, at..starts)
}

fn closely(haystack: &[u8], needle: &[u8], mut starts: std::ops::Range<usize>) -> Option<usize> {
    starts.find(|at| haystack[*at..].starts_with(needle))
}

/// The place of the first byte that is `a` or `b`; `haystack.len()` when there is none.
#[expect(clippy::needless_bitwise_bool, reason = "branches would undo the vector instructions")]
pub(crate) fn find_either(haystack: &[u8], a: u8, b: u8) -> usize {
    let mut at = 0;
    for block in haystack.chunks_exact(BLOCK) {
        let mut hit = false;
        for byte in block {
            hit |= (*byte == a) | (*byte == b);
        }
        if hit {
            break;
        }
        at += BLOCK;
    }
    let rest = haystack[at..].iter().position(|byte| *byte == a || *byte == b);
    rest.map_or(haystack.len(), |n| at + n)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn find_is_the_first_window_that_matches(haystack in "[ab\"u]{0,120}") {
            let haystack = haystack.as_bytes();
            let expected = haystack.windows(4).position(|w| w == b"\"uab");
            prop_assert_eq!(find(haystack, b"\"uab"), expected);
        }

        #[test]
        fn find_either_is_the_first_of_both(haystack in "[abc]{0,3}c{0,80}[abc]{0,40}") {
            let haystack = haystack.as_bytes();
            let first = haystack.iter().position(|b| matches!(b, b'a' | b'b'));
            prop_assert_eq!(find_either(haystack, b'a', b'b'), first.unwrap_or(haystack.len()));
        }
    }

    #[test]
    fn a_needle_over_the_border_of_blocks_is_found() {
        for at in 0..100 {
            let mut haystack = vec![b'x'; 120];
            haystack[at..at + 7].copy_from_slice(b"\"usage\"");
            assert_eq!(find(&haystack, b"\"usage\""), Some(at));
        }
        assert_eq!(find(b"ab", b"abc"), None);
    }
}
