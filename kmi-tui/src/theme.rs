//! Colours of the terminal views.
//!
//! Each key has a colour of its own, out of a palette that colour-blind people can tell apart
//! (after Okabe and Ito); it is chosen by the key's id, so it stays the same over restarts. A
//! colour never says something alone: the label or a word always stands beside it.

use std::collections::HashMap;

use kmi_core::snapshot::Snapshot;
use tuirealm::ratatui::style::{Color, Modifier, Style};

use crate::paint::Tone;

/// Orange, sky blue, green, yellow, blue, vermillion, purple, grey; legible on dark and light.
const KEYS: [Color; 8] = [
    Color::Indexed(172),
    Color::Indexed(74),
    Color::Indexed(36),
    Color::Indexed(178),
    Color::Indexed(32),
    Color::Indexed(166),
    Color::Indexed(175),
    Color::Indexed(246),
];

/// How things look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Theme {
    /// Whether colours are used; without them there are bold, dim and reversed text.
    pub colors: bool,
}

impl Theme {
    /// The style of a tone.
    pub fn tone(self, tone: Tone) -> Style {
        let plain = Style::new();
        match (tone, self.colors) {
            (Tone::Plain, _) | (Tone::Dim | Tone::Good, false) => plain,
            (Tone::Strong, _) | (Tone::Bad | Tone::Warn, false) => {
                plain.add_modifier(Modifier::BOLD)
            }
            (Tone::Dim, true) => plain.fg(Color::Indexed(244)),
            (Tone::Bad, true) => plain.fg(Color::Indexed(203)).add_modifier(Modifier::BOLD),
            (Tone::Good, true) => plain.fg(Color::Indexed(71)),
            (Tone::Warn, true) => plain.fg(Color::Indexed(178)),
        }
    }

    /// A line across the screen that sets parts apart.
    pub fn bar(self) -> Style {
        if self.colors {
            Style::new().fg(Color::Indexed(252)).bg(Color::Indexed(238))
        } else {
            Style::new().add_modifier(Modifier::REVERSED)
        }
    }

    /// The selected line.
    pub fn selected(self) -> Style {
        if self.colors {
            Style::new().bg(Color::Indexed(238)).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::REVERSED)
        }
    }

    /// A key's own colour.
    pub fn key(self, colors: &KeyColors, key: &str) -> Style {
        if self.colors { Style::new().fg(KEYS[colors.of(key)]) } else { Style::new() }
    }
}

/// Which key has which colour of the palette.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyColors(HashMap<String, usize>);

impl KeyColors {
    /// Each key gets the colour that its id asks for, or the next free one; with more keys than
    /// colours some share one.
    pub fn of_keys(snapshot: &Snapshot) -> Self {
        let mut ids: Vec<&String> = snapshot.keys.iter().map(|row| &row.key).collect();
        ids.sort_unstable();
        let mut taken = [false; KEYS.len()];
        let mut colors = HashMap::new();
        for id in ids {
            if taken.iter().all(|taken| *taken) {
                taken = [false; KEYS.len()];
            }
            let wanted = wanted(id);
            let free = (wanted..wanted + KEYS.len()).map(|n| n % KEYS.len());
            let color = free.into_iter().find(|n| !taken[*n]).unwrap_or(wanted);
            taken[color] = true;
            colors.insert(id.clone(), color);
        }
        Self(colors)
    }

    fn of(&self, key: &str) -> usize {
        self.0.get(key).copied().unwrap_or_else(|| wanted(key))
    }
}

/// The colour that an id asks for (ids are hashes, so a sum spreads them well enough).
fn wanted(id: &str) -> usize {
    id.bytes().map(usize::from).sum::<usize>() % KEYS.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::status;

    #[test]
    fn every_key_has_its_own_colour_and_keeps_it() {
        let status = status();
        let colors = KeyColors::of_keys(&status.snapshot);
        let mut used: Vec<usize> =
            status.snapshot.keys.iter().map(|it| colors.of(&it.key)).collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), status.snapshot.keys.len());
        let mut turned = status.snapshot;
        turned.keys.reverse();
        assert_eq!(KeyColors::of_keys(&turned), colors, "the order of the files does not matter");
    }

    #[test]
    fn no_color_means_none() {
        let theme = Theme::default();
        for tone in [Tone::Bad, Tone::Dim, Tone::Good, Tone::Plain, Tone::Strong, Tone::Warn] {
            let style = theme.tone(tone);
            assert_eq!((style.fg, style.bg), (None, None));
        }
        assert_eq!(theme.key(&KeyColors::default(), "k-1").fg, None);
        assert_eq!((theme.bar().bg, theme.selected().bg), (None, None));
    }
}
