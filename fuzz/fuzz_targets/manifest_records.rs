#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringwood_lsm::fuzz::manifest_records(bytes));
