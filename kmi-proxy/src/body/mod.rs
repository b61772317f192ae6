//! Bodies on their way through: what is sent on, and what is relayed and observed.

mod idle;
mod outgoing;
mod relay;

pub(crate) use self::{
    idle::{Idle, IdleError},
    outgoing::Outgoing,
    relay::{Relay, RelayEnd},
};
