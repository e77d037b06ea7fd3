//! What a block's bytes are before anybody knows its kind.

use super::format::BLOCK_HEADER_LEN;
use crate::budget::allocated_len;

/// A decompressed payload. One that was stored raw keeps its header before it, which saves a copy.
pub(crate) struct Payload {
    bytes: Vec<u8>,
    start: usize,
}

impl Payload {
    pub(super) fn behind_header(block: Vec<u8>) -> Self {
        debug_assert!(block.len() >= BLOCK_HEADER_LEN);
        Self {
            bytes: block,
            start: BLOCK_HEADER_LEN,
        }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn memory_used(&self) -> usize {
        allocated_len(self.bytes.capacity())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }
}
