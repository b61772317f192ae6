//! The trace: what happened, one JSON object a line, each line chained to the one before it
//! (FAIRNESS section 5).
//!
//! [`record`] says what a line tells, [`chain`] how lines hang together, and [`evidence`] reads
//! no more of a line than the proof needs. Times are RFC 3339 UTC with milliseconds.

pub mod chain;
pub mod evidence;
pub mod record;
mod scan;

pub use chain::{ChainHash, Line, LineError, Place, seal};
pub use evidence::{Evidence, Familiar};
pub use record::{Attempt, Checkpoint, Epoch, EpochKey, Gap, HealthChange, ModeChange, Record};
