//! Arbitrary bytes as a context token, as they came and with the checksum they should have: refused,
//! or versions that a token gives back.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringwood_types::{NamespaceId, PartitionId, context};
use xxhash_rust::xxh3::xxh3_64;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text, NamespaceId::new(1), PartitionId::new(0));
    }
    let field = |at: usize, i: usize| bytes.get(at + i).copied().unwrap_or(0);
    let namespace = u32::from_le_bytes(std::array::from_fn(|i| field(1, i)));
    let partition = u16::from_le_bytes(std::array::from_fn(|i| field(5, i)));
    let checksum = xxh3_64(bytes).to_le_bytes();
    let token = URL_SAFE_NO_PAD.encode([bytes, &checksum[..4]].concat());
    read(
        &token,
        NamespaceId::new(namespace),
        PartitionId::new(partition),
    );
});

fn read(token: &str, namespace: NamespaceId, partition: PartitionId) {
    if let Ok(vector) = context::decode(token, namespace, partition) {
        let again = context::encode(namespace, partition, &vector);
        assert_eq!(context::decode(&again, namespace, partition), Ok(vector));
    }
}
