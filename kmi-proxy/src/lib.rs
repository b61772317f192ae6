//! The rotating proxy: everything of kmi that has a socket or a file.

pub mod ledger;
pub mod settings;
