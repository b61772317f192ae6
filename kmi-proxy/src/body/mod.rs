//! Bodies on their way through: what is sent on, and what is relayed and observed.

mod coding;
mod idle;
mod outgoing;
mod relay;

pub(crate) use self::{
    coding::{Coding, Decoder},
    idle::{Idle, IdleError},
    outgoing::Outgoing,
    relay::{Relay, RelayEnd},
};
