//! What the benches share: keys by the thousand, and records of a true rotation without end.
//!
//! ```text
//! cargo bench -p kmi-benches --bench rotation
//! ```
//!
//! Figures are printed, not asserted: they belong to a machine. `docs/performance.md` has a set.
#![forbid(unsafe_code)]

mod delay;
mod keys;
mod turns;

pub use self::{delay::DelayRelay, keys::inventory, turns::Turns};
