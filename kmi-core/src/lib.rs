//! Fair, replayable rotation over several API keys, and the trace that proves it.
//!
//! This crate is the pure heart of `kmi`: it knows no clock, no file, no socket and no async
//! runtime, so that it can be embedded anywhere and tested exhaustively. Time, where it matters,
//! is an argument.
//!
//! * [`key`] — an API key that cannot be printed, and the stable id it is known by.
//! * [`inventory`] — the keys of one upstream in their fixed order.
//! * [`ring`] — the cyclic list of slots that the keys stand in.
//! * [`eligible`] — which keys may serve now, as a bit set.
//! * [`rotation`] — the cursor over the ring: who serves the next turn.
//! * [`state`], [`outcome`] — the words for a key's health and an attempt's end.
//! * [`trace`] — the records of what happened, chained line by line.
//! * [`snapshot`] — plain rows for whoever draws a table.
//! * [`display`] — the one filter that makes foreign strings safe to show.
//!
//! # Example
//!
//! Three keys take turns; while `b` is blocked, the others go on evenly:
//!
//! ```
//! use std::sync::Arc;
//! use kmi_core::{eligible::{Eligible, KeySet}, ring::{Ring, Seat}, rotation::Rotation};
//!
//! let ring = Arc::new(Ring::new(&[Seat::default(); 3])?);
//! let mut eligible = Eligible::all(Arc::clone(&ring));
//! let mut rotation = Rotation::new(ring);
//! let mut serve = |eligible: &Eligible| rotation.next(eligible, &KeySet::default()).map(|t| t.key);
//!
//! assert_eq!(serve(&eligible), Some(0));
//! assert_eq!(serve(&eligible), Some(1));
//! eligible.set(1, false);
//! assert_eq!(serve(&eligible), Some(2));
//! assert_eq!(serve(&eligible), Some(0));
//! assert_eq!(serve(&eligible), Some(2));
//! # Ok::<(), kmi_core::ring::RingError>(())
//! ```
//!
//! `cargo run -p kmi-core --example rotate` shows a whole program with keys, retries and a trace.
#![forbid(unsafe_code)]

pub mod display;
pub mod eligible;
pub mod inventory;
pub mod key;
pub mod outcome;
pub mod ring;
pub mod rotation;
pub mod snapshot;
pub mod state;
pub mod trace;
