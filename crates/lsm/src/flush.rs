//! Writes memtables out as tables of L0.
//!
//! A flush is a compaction whose inputs lie in memory: it keeps what a compaction keeps while older
//! data lies below, so every delete stays.
//!
//! *Durability on return*: as for a [`Compaction`]. The log may be given up only after the manifest
//! edit that names the tables is durable.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ringwood_env::UnixMillis;

use crate::compaction::job::{Compacted, Compaction};
use crate::compaction::output::{Cuts, NewTables};
use crate::compaction::retain::Retention;
use crate::error::Result;
use crate::iter::MergeCursor;
use crate::key::SeqNo;
use crate::memtable::Memtable;
use crate::options::ExpiryFilter;
use crate::range_tombstone::{RangeTombstones, Readers};
use crate::rate::{RateLimiter, Urgency};

/// A flush, ready to run.
pub(crate) struct Flush<'a, T> {
    /// Of one keyspace, sealed: nothing is inserted any more.
    pub(crate) memtables: &'a [Arc<Memtable>],
    /// As [`Retention::snapshots`].
    pub(crate) snapshots: Vec<SeqNo>,
    pub(crate) expiry_filter: Option<Arc<dyn ExpiryFilter>>,
    pub(crate) now: UnixMillis,
    /// Where L0 tables end, so that each overlaps little of the level below.
    pub(crate) cuts: Cuts,
    pub(crate) tables: T,
    pub(crate) rate: &'a RateLimiter,
    pub(crate) cancelled: &'a AtomicBool,
}

impl<T: NewTables> Flush<'_, T> {
    /// Does it; `None` when it was cancelled. The tables do not overlap: together they are one
    /// sublevel. Empty memtables make no table.
    ///
    /// # Errors
    /// Those of writing tables. No table is left behind then, and the memtables stay as they are.
    pub(crate) fn run(self) -> Result<Option<Compacted>> {
        let ranges: Vec<_> = self
            .memtables
            .iter()
            .map(|m| m.range_tombstones())
            .collect();
        let compaction = Compaction {
            inputs: MergeCursor::new(self.memtables.iter().map(Memtable::cursor).collect()),
            tombstones: RangeTombstones::merged(&ranges, Readers::At(&self.snapshots)),
            retention: Retention {
                snapshots: self.snapshots,
                older_below: &|_, _| true,
                expiry_filter: self.expiry_filter,
                now: self.now,
            },
            cuts: self.cuts,
            tables: self.tables,
            rate: self.rate,
            urgency: Urgency::Flush,
            cancelled: self.cancelled,
        };
        compaction.run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compaction::testing::{NOT_CANCELLED, Shelf, no_limit};
    use crate::iter::testing::TestTable;
    use crate::key::{InternalKey, Kind};

    fn flush(memtables: &[Arc<Memtable>], snapshots: &[u64], cuts: Cuts) -> Vec<Arc<TestTable>> {
        let shelf = Shelf::default();
        let flush = Flush {
            memtables,
            snapshots: snapshots.iter().copied().map(SeqNo::new).collect(),
            expiry_filter: None,
            now: 50,
            cuts,
            tables: shelf.maker(),
            rate: &no_limit(),
            cancelled: &NOT_CANCELLED,
        };
        let compacted = flush.run().unwrap().expect("nobody cancels");
        compacted
            .tables
            .iter()
            .map(|meta| shelf.get(meta))
            .collect()
    }

    fn uncut() -> Cuts {
        Cuts::at(u64::MAX, [])
    }

    fn memtable(changes: &[(&str, u64, Kind, &[u8])]) -> Arc<Memtable> {
        let memtable = Memtable::new();
        for (user, seq, kind, value) in changes {
            memtable.insert(
                InternalKey::new(user.as_bytes(), SeqNo::new(*seq), *kind),
                value,
            );
        }
        memtable
    }

    fn contents(table: &TestTable) -> Vec<(&str, u64, Kind)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        let entries = table.entries.iter();
        entries
            .map(|entry| (text(&entry.user), entry.seq.get(), entry.kind))
            .collect()
    }

    #[test]
    fn several_memtables_become_one_run_without_what_nobody_sees() {
        let older = memtable(&[
            ("a", 1, Kind::Put, b"v"),
            ("b", 2, Kind::Put, b"v"),
            ("c", 3, Kind::Put, b"v"),
            ("d", 4, Kind::PutExpiring, b"\x32\0\0\0\0\0\0\0v"),
        ]);
        let newer = memtable(&[
            ("a", 5, Kind::Put, b"v"),
            ("b", 6, Kind::Delete, b""),
            ("c", 7, Kind::RangeDelete, b"d"),
        ]);
        let tables = flush(&[newer, older], &[7], uncut());
        let [table] = &tables[..] else {
            panic!("{} tables", tables.len());
        };
        let expected = [
            ("a", 5, Kind::Put),
            ("b", 6, Kind::Delete),
            ("d", 4, Kind::Delete),
        ];
        assert_eq!(
            contents(table),
            expected,
            "deletes stay, as older data may lie below"
        );
        assert_eq!(
            table.ranges.newest_covering(b"c", SeqNo::MAX),
            Some(SeqNo::new(7))
        );
    }

    #[test]
    fn what_a_snapshot_sees_stays() {
        let changes: Vec<_> = (1..=6)
            .map(|seq| ("a", seq, Kind::Put, &b"v"[..]))
            .collect();
        let tables = flush(&[memtable(&changes)], &[2, 4], uncut());
        let seqs: Vec<_> = tables[0]
            .entries
            .iter()
            .map(|entry| entry.seq.get())
            .collect();
        assert_eq!(seqs, [6, 4, 2]);
    }

    #[test]
    fn tables_end_where_the_caller_says() {
        let changes = ["a", "b", "m", "n"].map(|user| (user, 1, Kind::Put, &b"v"[..]));
        let cuts = Cuts::at(
            u64::MAX,
            ["b", "d", "e", "n"].map(|key| key.as_bytes().to_vec()),
        );
        let tables = flush(&[memtable(&changes)], &[], cuts);
        let firsts: Vec<_> = tables.iter().map(|table| contents(table)[0].0).collect();
        assert_eq!(firsts, ["a", "b", "m", "n"]);
    }

    #[test]
    fn empty_memtables_make_no_table() {
        assert!(flush(&[Memtable::new(), Memtable::new()], &[], uncut()).is_empty());
        let only_range = memtable(&[("a", 1, Kind::RangeDelete, b"b")]);
        assert_eq!(flush(&[only_range], &[], uncut()).len(), 1);
    }
}
