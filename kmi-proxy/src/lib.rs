//! The rotating proxy: everything of kmi that has a socket or a file.

pub mod demo;
pub mod home;
pub mod settings;
