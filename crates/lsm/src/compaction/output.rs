//! The tables that a flush or compaction makes, and where each ends.
//!
//! *Invariants*
//! - `output-1`: tables do not overlap. Each covers the user keys from where the one before ended, so
//!   all changes of a user key lie in one table, and range deletes are clipped to it.
//! - `output-2`: a table has an entry or a range delete.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::key::InternalKey;
use crate::range_tombstone::{Fragment, RangeTombstone, RangeTombstones};
use crate::rate::{RateLimiter, Urgency};
use crate::sstable::TableMeta;

/// Where output tables end.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    /// Bytes at which a table is full.
    pub(crate) target_len: u64,
    /// Where tables of the level below the output begin, in order.
    pub(crate) boundaries: Vec<Boundary>,
    /// Bytes of that level that one table may overlap, so that moving it on stays cheap.
    pub(crate) overlap_max: u64,
}

/// A user key at which it is good to end a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boundary {
    pub(crate) key: Vec<u8>,
    /// Bytes that lie between the boundary before and this one.
    pub(crate) len: u64,
}

/// How many tables' worth of the level below one table may overlap.
const OVERLAP_RATIO: u64 = 10;

impl Cuts {
    /// Tables of `target_len` that end where those of the level below do, if they are half full, and
    /// that overlap few of them.
    pub(crate) fn beside<'t>(
        target_len: u64,
        below: impl IntoIterator<Item = &'t TableMeta>,
    ) -> Self {
        let mut len_before = 0;
        let boundary = |table: &TableMeta| Boundary {
            key: table.smallest().user.to_vec(),
            len: std::mem::replace(&mut len_before, table.len),
        };
        Self {
            target_len,
            boundaries: below.into_iter().map(boundary).collect(),
            overlap_max: OVERLAP_RATIO.saturating_mul(target_len),
        }
    }

    /// Tables that end before each of `keys`, which are in order, and when they reach `target_len`.
    pub(crate) fn at(target_len: u64, keys: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let boundary = |key| Boundary { key, len: 1 };
        Self {
            target_len,
            boundaries: keys.into_iter().map(boundary).collect(),
            overlap_max: 0,
        }
    }
}

/// A table being written; `sstable::TableWriter`, but for tests.
pub(crate) trait NewTable {
    fn add(&mut self, key: InternalKey<'_>, value: &[u8]) -> Result<()>;

    fn add_range_tombstone(&mut self, tombstone: &RangeTombstone) -> Result<()>;

    /// Bytes the file would have if it was finished now, about.
    fn estimated_len(&self) -> u64;

    /// Writes the rest and syncs.
    fn finish(self) -> Result<TableMeta>;
}

/// Makes tables, and unmakes them.
pub(crate) trait NewTables {
    type Table: NewTable;

    fn create(&mut self) -> Result<Self::Table>;

    /// Removes every table made so far.
    fn abandon(&mut self);
}

/// On whose account bytes are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paying<'a> {
    pub(crate) rate: &'a RateLimiter,
    pub(crate) urgency: Urgency,
    pub(crate) cancelled: &'a AtomicBool,
}

impl Paying<'_> {
    fn take(&self, bytes: u64) {
        self.rate.take(bytes, self.urgency, self.cancelled);
    }
}

/// The tables being made, one at a time.
pub(crate) struct Outputs<'a, T: NewTables> {
    tables: &'a mut T,
    cuts: &'a Cuts,
    /// Range deletes, for the outputs to share.
    kept: RangeTombstones,
    paying: Paying<'a>,
    /// How many boundaries lie behind.
    passed: usize,
    /// Bytes of the level below that lie beside the present table.
    overlapped: u64,
    /// Where the present table begins.
    lower: Vec<u8>,
    /// `None`: it has no entries yet.
    table: Option<T::Table>,
    /// Bytes of it that the rate limiter has allowed.
    paid: u64,
    made: Vec<TableMeta>,
}

impl<'a, T: NewTables> Outputs<'a, T> {
    /// `kept` are the range deletes to be shared out.
    pub(crate) fn new(
        tables: &'a mut T,
        cuts: &'a Cuts,
        kept: RangeTombstones,
        paying: Paying<'a>,
    ) -> Self {
        Self {
            tables,
            cuts,
            kept,
            paying,
            passed: 0,
            overlapped: 0,
            lower: Vec::new(),
            table: None,
            paid: 0,
            made: Vec::new(),
        }
    }

    /// Adds an entry behind all others.
    pub(crate) fn add(&mut self, key: InternalKey<'_>, value: &[u8]) -> Result<()> {
        let table = match &mut self.table {
            Some(table) => table,
            none => none.insert(self.tables.create()?),
        };
        table.add(key, value)
    }

    /// Before the first change of a user key: ends the present table where it is good to.
    pub(crate) fn cut_before(&mut self, user: &[u8]) -> Result<()> {
        self.pass_boundaries(Some(user))?;
        if self.present_len() >= self.cuts.target_len {
            self.cut(user)?;
        }
        Ok(())
    }

    /// Passes the boundaries up to `user`, cutting at some. Any key will do that lies behind the last
    /// entry; so a range delete is shared out even where there are no entries.
    fn pass_boundaries(&mut self, user: Option<&[u8]>) -> Result<()> {
        let cuts = self.cuts;
        while let Some(boundary) = cuts.boundaries.get(self.passed)
            && user.is_none_or(|user| &boundary.key[..] <= user)
        {
            self.passed += 1;
            self.overlapped += boundary.len;
            // A table half full that ends with one of the level below saves moving that one for
            // the sake of a few keys.
            if self.overlapped > cuts.overlap_max || self.present_len() >= cuts.target_len / 2 {
                self.cut(&boundary.key)?;
            }
        }
        Ok(())
    }

    fn present_len(&self) -> u64 {
        self.table.as_ref().map_or(0, NewTable::estimated_len)
    }

    fn cut(&mut self, at: &[u8]) -> Result<()> {
        self.finish_table(Some(at))?;
        self.overlapped = 0;
        self.lower.clear();
        self.lower.extend_from_slice(at);
        Ok(())
    }

    /// Finishes the present table, which ends before `upper`, if there is anything in it.
    fn finish_table(&mut self, upper: Option<&[u8]>) -> Result<()> {
        let mut ranges = self.kept.clip(&self.lower, upper).peekable();
        let mut table = match self.table.take() {
            Some(table) => table,
            None if ranges.peek().is_none() => return Ok(()),
            None => self.tables.create()?,
        };
        for tombstone in ranges.flat_map(Fragment::tombstones) {
            table.add_range_tombstone(&tombstone)?;
        }
        let meta = table.finish()?;
        let unpaid = meta.len.saturating_sub(std::mem::take(&mut self.paid));
        self.paying.take(unpaid);
        self.made.push(meta);
        Ok(())
    }

    /// Waits until what was written since the last time may be; breaks off when cancelled.
    pub(crate) fn pay(&mut self) -> ControlFlow<()> {
        let len = self.present_len();
        self.paying.take(len.saturating_sub(self.paid));
        self.paid = len;
        match self.paying.cancelled.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Finishes the last table; all of them, in key order.
    pub(crate) fn finish(mut self) -> Result<Vec<TableMeta>> {
        self.pass_boundaries(None)?;
        self.finish_table(None)?;
        Ok(self.made)
    }
}
