//! Which line of a list is selected, and which part of the list is seen.

use crate::keymap::Go;

/// A place in a list that grows at its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursor {
    /// The selected place; `None` follows the end.
    at: Option<usize>,
    /// On which line of the window it stands.
    line: usize,
    /// The window's height when it was last drawn.
    height: usize,
}

impl Cursor {
    /// Whether a line is selected by hand.
    pub(crate) fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// Follows the end.
    pub(crate) fn follow(&mut self) {
        self.at = None;
    }

    /// The selected place, or the last one; `None` in an empty list.
    pub(crate) fn position(&self, length: usize) -> Option<usize> {
        let last = length.checked_sub(1)?;
        Some(self.at.unwrap_or(last).min(last))
    }

    /// The selected line has moved to another place without moving on the screen; `None` when it
    /// is gone.
    pub(crate) fn stay_at(&mut self, place: Option<usize>, length: usize) {
        self.at = place.or(length.checked_sub(1));
    }

    /// Goes somewhere; returns whether the start of the list is reached.
    pub(crate) fn go(&mut self, go: Go, length: usize) -> bool {
        let Some(position) = self.position(length) else { return true };
        let page = self.height.max(2) - 1;
        if self.at.is_none() {
            self.line = self.height.min(length).saturating_sub(1);
        }
        let to = match go {
            Go::Up => position.saturating_sub(1),
            Go::PageUp => position.saturating_sub(page),
            Go::First => 0,
            Go::Down => position + 1,
            Go::PageDown => position + page,
            Go::Last => length - 1,
        };
        let to = to.min(length - 1);
        self.line = if to < position {
            self.line.saturating_sub(position - to)
        } else {
            (self.line + (to - position)).min(self.height.saturating_sub(1))
        };
        // Whoever goes on at the end follows it.
        self.at =
            if to == position && matches!(go, Go::Down | Go::PageDown) { None } else { Some(to) };
        to == 0
    }

    /// The first place that is seen in a window of this height.
    pub(crate) fn window(&mut self, length: usize, height: usize) -> usize {
        self.height = height;
        let last_first = length.saturating_sub(height);
        let Some(at) = self.at else { return last_first };
        self.line = self.line.min(height.saturating_sub(1));
        let first = at.saturating_sub(self.line).min(last_first);
        self.line = at - first;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_until_it_is_moved() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.window(100, 10), 90);
        assert!(!cursor.go(Go::Up, 100));
        assert_eq!((cursor.position(100), cursor.window(100, 10)), (Some(98), 90));
        assert_eq!(cursor.window(200, 10), 90, "new lines do not move it");
        for _ in 0..20 {
            cursor.go(Go::Up, 200);
        }
        assert_eq!((cursor.position(200), cursor.window(200, 10)), (Some(78), 78));
        assert!(cursor.go(Go::First, 200));
        assert_eq!(cursor.window(200, 10), 0);
        cursor.go(Go::Last, 200);
        cursor.go(Go::Down, 200);
        assert!(!cursor.is_set(), "it follows again");
    }

    #[test]
    fn it_never_leaves_the_list() {
        let all = [Go::Up, Go::Down, Go::PageUp, Go::PageDown, Go::First, Go::Last];
        for length in 0..20 {
            for height in 0..6 {
                let mut cursor = Cursor::default();
                for go in all.iter().cycle().take(40) {
                    cursor.go(*go, length);
                    let first = cursor.window(length, height);
                    assert!(first <= length.saturating_sub(height));
                    if let Some(at) = cursor.position(length).filter(|_| height > 0) {
                        assert!(cursor.at.is_none() || (first..first + height).contains(&at));
                    }
                }
            }
        }
    }
}
