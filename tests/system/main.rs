//! System tests: a module per promise.

mod failover;
mod gate;
mod hostile;
mod key_changes;
mod leaks;
mod modes;
mod reload;
mod rotation;
mod stopping;
mod streaming;
mod tls;
mod wire;
