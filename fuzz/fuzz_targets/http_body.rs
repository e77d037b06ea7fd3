#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringwood_server::fuzz::body(bytes));
