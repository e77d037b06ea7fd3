#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| ringwood_server::fuzz::target(text));
