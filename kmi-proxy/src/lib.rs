//! The rotating proxy: everything of kmi that has a socket or a file.

mod body;
pub mod demo;
mod forward;
mod gate;
pub mod home;
pub mod pool;
pub mod proxy;
pub mod reply;
mod route;
pub mod server;
mod service;
pub mod settings;
pub mod upstream;
