//! Arbitrary bytes as a stored record: refused, or one that is written as it was read.
#![no_main]

use ringwood_types::{Record, RecordHead};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(head) = RecordHead::decode(bytes) else {
        return;
    };
    let content_type = std::str::from_utf8(&bytes[head.content_type()]).expect("it was checked");
    let record = Record {
        version: head.version,
        content_type,
        value: &bytes[head.value_start()..],
    };
    assert_eq!(record.to_vec(), bytes);
});
