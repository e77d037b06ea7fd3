//! What the manifest knows of a table, so that a table need not be opened to be passed over.

use std::sync::Arc;

use crate::batch::KeyspaceNumber;
use crate::files::FileNumber;
use crate::key::{InternalKey, SeqNo};
use crate::sstable::spread::Spread;

/// Whose entries a table holds: what a repair goes by where the manifest is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableOwner {
    pub(crate) id: KeyspaceNumber,
    pub(crate) name: Arc<str>,
}

/// A table, as the manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    pub(crate) number: FileNumber,
    /// Length of the file in bytes.
    pub(crate) len: u64,
    /// First encoded internal key, range tombstones' starts included.
    pub(crate) smallest: Vec<u8>,
    /// Last encoded internal key. Where a range tombstone reaches furthest, it is the tombstone's
    /// excluded end with [`SeqNo::MAX`], which sorts before every change of that key.
    pub(crate) largest: Vec<u8>,
    pub(crate) first_seq: SeqNo,
    pub(crate) last_seq: SeqNo,
    /// Entries of all kinds but range tombstones.
    pub(crate) entries: u64,
    pub(crate) deletes: u64,
    pub(crate) range_deletes: u64,
    /// Least and greatest deadline of expiring entries, if there are any.
    pub(crate) deadlines: Option<(u64, u64)>,
    /// How their bytes spread over these.
    pub(crate) spread: Spread,
    /// Bytes of keys and values before compression.
    pub(crate) raw_key_len: u64,
    pub(crate) raw_value_len: u64,
    pub(crate) created_at_ms: u64,
}

impl TableMeta {
    /// A table without entries.
    pub(crate) fn empty(number: FileNumber, created_at_ms: u64) -> Self {
        Self {
            number,
            len: 0,
            smallest: Vec::new(),
            largest: Vec::new(),
            first_seq: SeqNo::MAX,
            last_seq: SeqNo::ZERO,
            entries: 0,
            deletes: 0,
            range_deletes: 0,
            deadlines: None,
            spread: Spread::default(),
            raw_key_len: 0,
            raw_value_len: 0,
            created_at_ms,
        }
    }

    pub(crate) fn smallest(&self) -> InternalKey<'_> {
        InternalKey::decode(&self.smallest).expect("bounds are checked when they are read")
    }

    pub(crate) fn largest(&self) -> InternalKey<'_> {
        InternalKey::decode(&self.largest).expect("bounds are checked when they are read")
    }

    /// Whether `largest` is the excluded end of a range tombstone.
    pub(crate) fn largest_is_excluded(&self) -> bool {
        self.largest().seq() == SeqNo::MAX
    }

    /// Whether any change to a user key from `start` to `end` (both included) may be in the table.
    #[cfg(test)]
    pub(crate) fn overlaps(&self, start: &[u8], end: &[u8]) -> bool {
        self.smallest().user <= end && self.reaches(start)
    }

    /// Whether the table's keys go as far as `user`.
    pub(crate) fn reaches(&self, user: &[u8]) -> bool {
        let largest = self.largest();
        if self.largest_is_excluded() {
            user < largest.user
        } else {
            user <= largest.user
        }
    }
}
