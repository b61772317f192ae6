//! System tests: a module per promise.

mod failover;
mod files;
mod gate;
mod hostile;
mod key_changes;
mod leaks;
mod modes;
mod quota;
mod rotation;
mod sessions;
mod stopping;
mod streaming;
mod wire;
