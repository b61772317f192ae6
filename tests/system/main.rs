//! System tests: a module per promise.

mod rotation;
