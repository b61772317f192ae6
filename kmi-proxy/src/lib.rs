//! The rotating proxy: everything of kmi that has a socket or a file.

mod byte_search;
pub mod demo;
pub mod peek;
pub mod settings;
pub mod usage_scan;
