//! Putting a data block together.

use super::{BUCKET_EMPTY, BUCKET_SEVERAL, INDEXED_RESTARTS_MAX, bucket_of};
use crate::bytes::common_prefix;
use crate::key::InternalKey;
use crate::sstable::format::len_u32;

/// Bytes of entries after which there is a restart point, however few they are.
const RESTART_LEN: usize = 1024;

/// A data block in the making. Keys come in order; its user sees to that.
pub(in crate::sstable) struct DataBlockBuilder {
    restart_interval: usize,
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    /// Of each entry: the hash of its key, and its restart point.
    hashes: Vec<(u64, u8)>,
    last_user: Vec<u8>,
    since_restart: usize,
}

impl DataBlockBuilder {
    pub(in crate::sstable) fn new(restart_interval: usize) -> Self {
        Self {
            restart_interval,
            bytes: Vec::new(),
            restarts: Vec::new(),
            hashes: Vec::new(),
            last_user: Vec::new(),
            since_restart: 0,
        }
    }

    pub(in crate::sstable) fn add(&mut self, key: InternalKey<'_>, value: &[u8], hash: u64) {
        let shared = if self.is_restart_due() {
            self.restarts.push(len_u32(self.bytes.len()));
            self.since_restart = 0;
            0
        } else {
            common_prefix(&self.last_user, key.user)
        };
        self.since_restart += 1;
        append_varint(&mut self.bytes, shared);
        append_varint(&mut self.bytes, key.user.len() - shared);
        append_varint(&mut self.bytes, value.len());
        self.bytes.extend_from_slice(&key.user[shared..]);
        self.bytes.extend_from_slice(&key.trailer().to_le_bytes());
        self.bytes.extend_from_slice(value);
        self.last_user.truncate(shared);
        self.last_user.extend_from_slice(&key.user[shared..]);
        if self.restarts.len() <= INDEXED_RESTARTS_MAX {
            let restart = u8::try_from(self.restarts.len() - 1).expect("at most 253 are numbered");
            self.hashes.push((hash, restart));
        }
    }

    fn is_restart_due(&self) -> bool {
        self.restarts.last().is_none_or(|&last| {
            self.since_restart >= self.restart_interval
                || self.bytes.len() - last as usize >= RESTART_LEN
        })
    }

    pub(in crate::sstable) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes so far, without what [`DataBlockBuilder::finish`] adds.
    pub(in crate::sstable) fn len(&self) -> usize {
        self.bytes.len() + 4 * self.restarts.len()
    }

    /// The payload. [`DataBlockBuilder::clear`] makes room for the next.
    pub(in crate::sstable) fn finish(&mut self) -> &[u8] {
        for restart in &self.restarts {
            self.bytes.extend_from_slice(&restart.to_le_bytes());
        }
        let buckets = if (2..=INDEXED_RESTARTS_MAX).contains(&self.restarts.len()) {
            self.append_hash_index()
        } else {
            0
        };
        self.bytes
            .extend_from_slice(&len_u32(self.restarts.len()).to_le_bytes());
        self.bytes
            .extend_from_slice(&len_u32(buckets).to_le_bytes());
        &self.bytes
    }

    /// Four buckets to three entries.
    fn append_hash_index(&mut self) -> usize {
        let buckets = self.hashes.len() * 4 / 3 + 1;
        let first = self.bytes.len();
        self.bytes.resize(first + buckets, BUCKET_EMPTY);
        for &(hash, restart) in &self.hashes {
            let bucket = &mut self.bytes[first + bucket_of(hash, buckets)];
            *bucket = match *bucket {
                BUCKET_EMPTY => restart,
                same if same == restart => restart,
                _ => BUCKET_SEVERAL,
            };
        }
        buckets
    }

    pub(in crate::sstable) fn clear(&mut self) {
        self.bytes.clear();
        self.restarts.clear();
        self.hashes.clear();
        self.last_user.clear();
        self.since_restart = 0;
    }
}

fn append_varint(out: &mut Vec<u8>, value: usize) {
    let mut value = len_u32(value);
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
