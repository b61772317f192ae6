//! What has to hold is in `kmi_proxy::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kmi_proxy::fuzzing::upstream(data));
