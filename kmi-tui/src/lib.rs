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
//!
//! The live views (`kmi trace`, `kmi top`) are a terminal program on tui-realm:
//!
//! * [`screen`] — takes the terminal, runs the program, gives the terminal back.
//! * [`feed`] — where data comes from and where wishes go.
//! * [`model`] — what can happen, what follows, what stands where.
//! * [`keymap`], [`theme`] — keys, colours.
//! * [`row`], [`log`], [`filter`], [`pulse`], [`verdict`] — what is shown, without a terminal.
#![forbid(unsafe_code)]

pub mod bars;
mod cells;
mod components;
pub mod explain_text;
pub mod feed;
pub mod filter;
mod key_words;
pub mod keymap;
pub mod log;
pub mod model;
pub mod paint;
pub mod pulse;
pub mod quantity;
pub mod row;
#[cfg(test)]
mod samples;
pub mod screen;
pub mod status_table;
pub mod theme;
pub mod trace_row;
pub mod usage_text;
pub mod verdict;
pub mod verify_text;
