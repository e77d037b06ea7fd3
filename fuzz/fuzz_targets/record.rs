//! Arbitrary bytes as a stored record: refused, or one that is written as it was read.
#![no_main]

use bytes::Bytes;
use ringwood_types::{Object, Record, RecordHead};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let object = Object::decode(&Bytes::copy_from_slice(bytes), None);
    let Ok(head) = RecordHead::decode(bytes) else {
        if let Ok(object) = object {
            assert_eq!(object.to_vec(), bytes);
        }
        return;
    };
    let content_type = std::str::from_utf8(&bytes[head.content_type()]).expect("it was checked");
    let record = Record {
        version: head.version,
        content_type,
        value: &bytes[head.value_start()..],
    };
    let again = match head.is_tombstone() {
        true => Record::tombstone(head.version).to_vec(),
        false => record.to_vec(),
    };
    assert_eq!(again, bytes);
    let object = object.expect("a record is an object of one version");
    assert_eq!(Record::of(&object.siblings()[0]), bytes);
});
