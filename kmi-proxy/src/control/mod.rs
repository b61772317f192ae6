//! Control over a running proxy: a unix socket in the home, for processes of the same user.
//!
//! One connection carries one call: a line of JSON with the request, then a line with the answer;
//! [`Request::Feed`] and [`Request::Follow`] are answered by a stream of lines until one side ends it.

mod answer;
mod client;
mod protocol;
mod server;
mod stream;

pub(crate) use self::server::{Control, Handler};
pub use self::{
    client::{CallError, call},
    protocol::{Failure, KeyName, Outage, Problem, Reloaded, Reply, Request, Status, Tested},
    stream::{Feed, FeedItem, Follow, feed, follow},
};
pub use crate::feed::Overview;
