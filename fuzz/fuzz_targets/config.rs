//! What has to hold is in `kmi-cli/src/config/fuzzing.rs`. The `kmi` program is no library: its
//! configuration, which needs nothing else of it, becomes a module of this target.
#![no_main]

#[path = "../../kmi-cli/src"]
mod kmi {
    #[allow(dead_code, unused_imports)] // The rest of the program would use it.
    pub(crate) mod config;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kmi::config::fuzzing::config(data);
});
