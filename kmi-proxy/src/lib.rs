//! The rotating proxy: everything of kmi that has a socket or a file.

mod body;
mod byte_search;
pub mod demo;
mod forward;
mod gate;
pub mod home;
pub mod keys;
pub mod ledger;
mod peek;
pub mod pool;
pub mod proxy;
pub mod reply;
mod route;
pub mod server;
mod service;
pub mod settings;
pub mod upstream;
mod usage_scan;
