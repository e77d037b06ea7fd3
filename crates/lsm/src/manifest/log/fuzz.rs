//! Arbitrary bytes as a manifest or as `CURRENT`, for the fuzzer.
//!
//! No fuzzer guesses a checksum, so there are ways around each of them.

use std::path::Path;

use super::{encode_checkpoint, replay};
use crate::files::FileNumber;
use crate::manifest::frame::{self, Header};
use crate::manifest::{FORMAT_VERSION, current};

/// Reads arbitrary bytes: an error, or a state that a checkpoint gives back.
///
/// # Panics
/// Where a checkpoint does not.
pub(crate) fn file(path: &Path, bytes: &[u8]) {
    if let Ok(replayed) = replay(path, bytes) {
        let (written, _) = encode_checkpoint(replayed.number, &replayed.state);
        let read = replay(path, &written).expect("a checkpoint is read back");
        assert!(read.damage.is_empty());
        assert_eq!(format!("{:?}", read.state), format!("{:?}", replayed.state));
    }
}

/// Reads arbitrary edits in whole records; each record is a length of two bytes and its edits.
///
/// # Panics
/// As [`file`].
pub(crate) fn records(path: &Path, mut bytes: &[u8]) {
    let header = Header {
        format: FORMAT_VERSION,
        key_id: 0,
        number: FileNumber::new(1),
    };
    let (header, mut chain) = header.encode();
    let mut written = [header, header].concat();
    let mut index = 0;
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (payload, rest) = rest.split_at(len);
        chain = frame::encode_record(&mut written, index, chain, payload);
        index += 1;
        bytes = rest;
    }
    file(path, &written);
}

/// Reads arbitrary bytes as `CURRENT`, and as what a line of it claims.
pub(crate) fn current(path: &Path, bytes: &[u8]) {
    let _ = current::decode(path, bytes);
    let checksum = frame::crc32c(&[bytes]);
    let line = [bytes, format!(" crc32c {checksum:08x}\n").as_bytes()].concat();
    if let Ok(current) = current::decode(path, &line.repeat(2)) {
        let claim = format!(
            "ringwood format {FORMAT_VERSION} manifest {}",
            current.manifest
        );
        assert_eq!(bytes, claim.as_bytes());
        assert!(!current.damaged);
    }
}
