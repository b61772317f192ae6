//! The simulator: kmi's own rotation, health and proof, with a described population around them
//! and a clock that costs nothing.
//!
//! Who serves is decided by kmi-core, what an answer says of a key by kmi-health, and what it all
//! proves by kmi-stats: the code that the proxy runs. What is made up here is the world: clients
//! ([`clients`]) and a provider ([`provider`]) as a scenario ([`scenario`]) describes them. There
//! is no network and no waiting; [`engine`] goes from event to event, and the same seed gives the
//! same schedule.

mod clients;
mod engine;
mod population;
mod provider;
mod queue;
mod recorder;
mod scenario;
mod span;
mod summary;
#[cfg(test)]
mod tests;
mod trouble;

pub(crate) use self::{
    engine::{Engine, Simulated, SimulationError},
    recorder::{Change, Row},
    scenario::{Fail, KeyGroup, MAX_KEYS, Scenario},
    span::{Rate, Span, Time},
    summary::Summary,
    trouble::Trouble,
};
