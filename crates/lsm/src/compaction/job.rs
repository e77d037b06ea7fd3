//! Runs a compaction: entries in, tables out.
//!
//! *Invariants*
//! - `job-1`: it makes all of its tables or none: on any failure, and when cancelled, it removes them.
//!   Its inputs stay as they are.
//!
//! *Durability on return*: the tables' bytes are synced; syncing the directory and the manifest edit
//! that puts them in place of the inputs are the caller's.
//!
//! *Not here*: what to compact (`policy`), what to keep ([`retain`](super::retain)), and where tables
//! end ([`output`](super::output)).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ringwood_env::UnixMillis;

use super::output::{Cuts, NewTables, Outputs, Paying};
use super::retain::{Dropped, Fate, Retention, Sieve};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::key::{InternalKey, Kind};
use crate::range_tombstone::RangeTombstones;
use crate::rate::{RateLimiter, Urgency};
use crate::sstable::TableMeta;

/// Bytes read between two looks at the rate limit and the cancel flag.
const BREATH_LEN: u64 = 256 << 10;

/// A compaction, ready to run.
pub(crate) struct Compaction<'a, C, T> {
    /// Entries of all inputs; read so that they do not fill the cache.
    pub(crate) inputs: C,
    /// Range deletes of all inputs.
    pub(crate) tombstones: Arc<RangeTombstones>,
    pub(crate) retention: Retention<'a>,
    pub(crate) cuts: Cuts,
    pub(crate) tables: T,
    pub(crate) rate: &'a RateLimiter,
    pub(crate) urgency: Urgency,
    pub(crate) cancelled: &'a AtomicBool,
}

/// What a compaction made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// In key order.
    pub(crate) tables: Vec<TableMeta>,
    pub(crate) statistics: CompactionStatistics,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompactionStatistics {
    pub(crate) entries_read: u64,
    pub(crate) entries_written: u64,
    /// Keys and values, before compression.
    pub(crate) bytes_read: u64,
    /// Of the tables' files.
    pub(crate) bytes_written: u64,
    pub(crate) dropped: Dropped,
}

impl<C: Cursor, T: NewTables> Compaction<'_, C, T> {
    /// Does it; `None` when it was cancelled.
    ///
    /// # Errors
    /// Those of the inputs, and of writing tables. Inputs stay as they are.
    pub(crate) fn run(mut self) -> Result<Option<Compacted>> {
        let kept = self.retention.kept_ranges(&self.tombstones);
        let paying = Paying {
            rate: self.rate,
            urgency: self.urgency,
            cancelled: self.cancelled,
        };
        let outputs = Outputs::new(&mut self.tables, &self.cuts, kept, paying);
        let sieve = Sieve::new(&self.retention, self.tombstones);
        let outcome = sift(&mut self.inputs, sieve, outputs);
        if !matches!(outcome, Ok(Some(_))) {
            self.tables.abandon();
        }
        outcome
    }
}

/// Passes every input entry that is kept on to the outputs; `None` when it was cancelled.
fn sift<T: NewTables>(
    inputs: &mut impl Cursor,
    mut sieve: Sieve<'_>,
    mut outputs: Outputs<'_, T>,
) -> Result<Option<Compacted>> {
    let mut read = CompactionStatistics::default();
    let mut next_breath = 0;
    inputs.seek_to_first()?;
    while inputs.valid() {
        if read.bytes_read >= next_breath {
            if outputs.pay().is_break() {
                return Ok(None);
            }
            next_breath = read.bytes_read + BREATH_LEN;
        }
        let (key, value) = (inputs.key(), inputs.value());
        read.entries_read += 1;
        read.bytes_read += (key.user.len() + value.len()) as u64;
        let (is_new_key, fate) = sieve.take(key, || value)?;
        if is_new_key {
            outputs.cut_before(key.user)?;
        }
        match fate {
            Fate::Keep => outputs.add(key, value)?,
            Fate::KeepAsDelete(deadline) => {
                let key = InternalKey::new(key.user, key.seq(), Kind::Delete);
                let deadline = deadline.map(UnixMillis::to_le_bytes);
                outputs.add(key, deadline.as_ref().map_or(&[], |bytes| bytes))?;
            }
            Fate::Drop(reason) => read.dropped.count(reason),
        }
        inputs.next()?;
    }
    let tables = outputs.finish()?;
    read.entries_written = read.entries_read - read.dropped.total();
    read.bytes_written = tables.iter().map(|table| table.len).sum();
    Ok(Some(Compacted {
        tables,
        statistics: read,
    }))
}

#[cfg(test)]
mod tests;
