//! A stand-in for Kimi: an upstream on loopback that speaks Kimi's API as clients see it (WIRE.md
//! sections 1 and 3), fails where its [`Scenario`] says so, and remembers what it was asked.
//!
//! Tests, benches, `kmi demo` and the example `stand_in` all run the same one. It knows nothing
//! of the proxy: only hyper, tokio and JSON, so that a mistake there cannot hide a mistake here.
//! [`Visitors`] are the clients of the demonstration.
//!
//! * [`scenario`] — the keys, what goes wrong with them and when, and how answers look.
//! * [`errors`] — Kimi's refusals, word for word.
//! * [`StandIn`] — the running server; [`Record`] — what one request looked like on the wire.
//!
//! Over HTTP, without a key: `GET /__requests` lists the records, `POST /__reset` forgets them.

mod account;
mod answer;
mod chat;
pub mod errors;
mod live;
mod messages;
mod playback;
mod record;
mod responses;
mod route;
pub mod scenario;
mod server;
mod state;
mod tool_call;
mod visitors;
mod wire_tap;

pub use errors::ErrorAnswer;
pub use record::{End, Record};
pub use scenario::{Act, Asked, Decide, Fault, Only, Reply, Scenario, Shape, StandInKey, When};
pub use server::StandIn;
pub use visitors::{Visit, Visitors};

#[cfg(test)]
mod tests;
