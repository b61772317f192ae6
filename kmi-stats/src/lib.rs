//! The mathematics of a fair rotation's proof. Pure: no clock, no I/O.
//!
//! * [`verify`] — reads a trace line by line and says whether it proves a fair rotation.
//! * [`recent`] — the same for the last turns of a trace that goes on, for those who watch.
//! * [`report`] — what it says, with the field names of `kmi verify --json`.
//! * [`checkpoint`] — signed statements of how long a trace was, and what its head was.
//! * [`conformity`] — the replay of one turn.
//! * [`explain`] — why a key served an attempt.
//! * [`usage`] — what was used, and what the rotation cost in lost cache.
//! * [`confidence`], [`chi_square`], [`pair_gap`] — the numbers.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod chi_square;
pub mod confidence;
pub mod conformity;
pub mod explain;
pub mod pair_gap;
pub mod recent;
pub mod report;
pub mod usage;
pub mod verify;

#[cfg(test)]
mod trace_builder;
