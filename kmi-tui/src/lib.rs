//! Text and terminal views on plain data.
//!
//! The text views are plain functions from data to text, without a trailing newline; the caller
//! says how wide the place is and whether it shows colours.
//!
//! * [`status_table`] — the keys and how they fare.
//! * [`verify_text`] — what a verification found, for people.
//! * [`trace_row`] — one line per attempt.
//! * [`explain_text`] — why a key served an attempt.
//! * [`bars`] — shares as bars.
//! * [`usage_text`] — what was used, and what the rotation cost.
//! * [`paint`], [`quantity`] — colours; durations, counts and shares as people write them.
#![forbid(unsafe_code)]

pub mod bars;
pub mod explain_text;
pub mod paint;
pub mod quantity;
pub mod status_table;
pub mod trace_row;
pub mod usage_text;
pub mod verify_text;
