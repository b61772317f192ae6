//! System tests: a module per promise.

mod accounts;
mod bad_lines;
mod edge;
mod failover;
mod files;
mod gate;
mod hostile;
mod judging;
mod key_changes;
mod leaks;
mod limits;
mod modes;
mod page;
mod quota;
mod refusals;
mod reload;
mod rotation;
mod sessions;
mod stopping;
mod streaming;
mod tls;
mod waiting;
mod watching;
mod wire;
