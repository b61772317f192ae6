//! The rotating proxy: everything of kmi that has a socket or a file.

mod body;
pub mod control;
pub mod demo;
pub mod engine;
mod feed;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate;
mod h1;
pub mod home;
pub mod keys;
pub mod ledger;
mod lock;
mod metrics;
mod page;
mod peek;
pub mod pool;
pub mod probe;
pub mod proxy;
mod quota_poll;
pub mod reply;
pub mod rotor;
mod route;
pub mod server;
mod service;
pub mod settings;
pub mod upstream;
mod usage_scan;
