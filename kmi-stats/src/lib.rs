//! The mathematics of a fair rotation's proof. Pure: no clock, no I/O.
#![forbid(unsafe_code)]

pub mod chi_square;
pub mod confidence;
