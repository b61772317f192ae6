//! What outlives restarts, by the names under which the ledger keeps it.

use kmi_core::state::Mode;

/// The mode.
pub(super) const MODE: &str = "mode";
/// Before a key's id: it was switched off.
pub(super) const DISABLED: &str = "disabled.";

const ACTIVE: &str = "active.";

/// The active key of an upstream.
pub(super) fn active_setting(upstream: &str) -> String {
    format!("{ACTIVE}{upstream}")
}

/// A mode as it is kept.
pub(super) fn parse_mode(word: &str) -> Option<Mode> {
    [Mode::Auto, Mode::Manual].into_iter().find(|mode| mode.as_str() == word)
}
