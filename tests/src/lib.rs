//! The harness of the system tests: a stand-in for Kimi, a home with keys, a running proxy and a
//! client, each real.

mod client;
mod home;
mod proxy;

pub use self::{
    client::{Answer, Client, chat_body},
    home::TestHome,
    proxy::TestProxy,
};
