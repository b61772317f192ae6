//! Control over a running proxy: a unix socket in the home, for processes of the same user.
//!
//! One connection carries one call: a line of JSON with the request, then a line with the answer;
//! [`Request::Follow`] is answered by trace lines until one side ends it.

mod answer;
mod client;
mod protocol;
mod server;

pub(crate) use self::server::{Control, Handler};
pub use self::{
    client::{CallError, Follow, call, follow},
    protocol::{Failure, KeyName, Problem, Reloaded, Reply, Request, Status, Tested},
};
