//! The harness of the system tests: a stand-in for Kimi, a home with keys, a running proxy and a
//! client, each real.

mod canary;
mod client;
mod fault_proxy;
mod home;
mod patience;
mod proxy;
mod raw;
mod scripted;
mod tls;

pub use self::{
    canary::Canaries,
    client::{Answer, Client, chat_body},
    fault_proxy::{Fault, FaultProxy, Trouble},
    home::TestHome,
    patience::{PATIENCE, eventually, in_time},
    proxy::TestProxy,
    raw::Raw,
    scripted::{Scripted, at_once, then_close, then_keep},
    tls::TlsFront,
};
