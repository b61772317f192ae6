//! The trace: what happened, one JSON object a line, each line chained to the one before it
//! (FAIRNESS section 5).
//!
//! [`record`] says what a line tells, [`chain`] how lines hang together. Times are RFC 3339 UTC
//! with milliseconds.

pub mod chain;
pub mod record;

pub use chain::{ChainHash, Line, LineError, seal};
pub use record::{Attempt, Epoch, EpochKey, Gap, HealthChange, ModeChange, Record};
