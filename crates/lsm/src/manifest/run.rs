//! Tables in key order that do not overlap: a level, or a sublevel of L0.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use crate::bytes::{common_prefix, head, starts_with};
use crate::manifest::table::Table;

/// Tables in key order that do not overlap. No user key lies in two of them.
#[derive(Debug, Default)]
pub(crate) struct SortedRun {
    tables: Vec<Arc<Table>>,
    fences: Fences,
    /// Those with range deletes, in the same order: mostly none.
    range_deletes: Vec<Arc<Table>>,
    len: u64,
}

/// Tables that overlap where they must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlap;

impl SortedRun {
    /// A run of tables in any order.
    pub(crate) fn new(mut tables: Vec<Arc<Table>>) -> Result<Self, Overlap> {
        tables.sort_unstable_by(|a, b| a.smallest().cmp(&b.smallest()));
        Self::of_sorted(tables)
    }

    fn of_sorted(tables: Vec<Arc<Table>>) -> Result<Self, Overlap> {
        let apart = |pair: &[Arc<Table>]| !pair[0].reaches(pair[1].smallest().user);
        if !tables.windows(2).all(apart) {
            return Err(Overlap);
        }
        Ok(Self {
            fences: Fences::new(&tables),
            range_deletes: tables
                .iter()
                .filter(|table| table.range_deletes > 0)
                .map(Arc::clone)
                .collect(),
            len: tables.iter().map(|table| table.len).sum(),
            tables,
        })
    }

    /// This run without the tables for which `goes` holds and with `added`, which are sorted.
    pub(crate) fn with(
        &self,
        added: Vec<Arc<Table>>,
        goes: impl Fn(&Table) -> bool,
    ) -> Result<Self, Overlap> {
        let mut tables = Vec::with_capacity(self.tables.len() + added.len());
        let mut added = added.into_iter().peekable();
        for table in self.tables.iter().filter(|table| !goes(table)) {
            while let Some(new) = added.next_if(|new| new.smallest() < table.smallest()) {
                tables.push(new);
            }
            tables.push(Arc::clone(table));
        }
        tables.extend(added);
        Self::of_sorted(tables)
    }

    /// Puts a table in its place, where it overlaps no other.
    pub(crate) fn insert(&mut self, table: Arc<Table>) -> Result<(), Overlap> {
        *self = self.with(vec![table], |_| false)?;
        Ok(())
    }

    pub(crate) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    /// Bytes of all files.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The table that `user` would be in.
    #[inline]
    pub(crate) fn table_for(&self, user: &[u8]) -> Option<&Arc<Table>> {
        let index = self.fences.first_reaching(user, &self.tables);
        let table = self.tables.get(index)?;
        self.fences.begins_by(index, user, table).then_some(table)
    }

    /// The tables that may hold user keys from `start` up to `end`.
    pub(crate) fn overlapping(&self, start: &[u8], end: Bound<&[u8]>) -> &[Arc<Table>] {
        let first = self.fences.first_reaching(start, &self.tables);
        overlapping_from(&self.tables[first..], end)
    }

    /// As [`SortedRun::overlapping`], only those with range deletes.
    pub(crate) fn range_deletes(&self, start: &[u8], end: Bound<&[u8]>) -> &[Arc<Table>] {
        let tables = &self.range_deletes;
        let first = tables.partition_point(|table| !table.reaches(start));
        overlapping_from(&tables[first..], end)
    }
}

fn overlapping_from<'a>(tables: &'a [Arc<Table>], end: Bound<&[u8]>) -> &'a [Arc<Table>] {
    let len = tables.partition_point(|table| {
        let smallest = table.smallest().user;
        match end {
            Bound::Included(end) => smallest <= end,
            Bound::Excluded(end) => smallest < end,
            Bound::Unbounded => true,
        }
    });
    &tables[..len]
}

/// Eight bytes of each table's first and last key, side by side, so that a search among thousands of
/// tables touches few cache lines: whole keys lie three pointers away, each.
///
/// The eight bytes are those behind what all keys of the run have in common.
#[derive(Debug, Default)]
struct Fences {
    common: Vec<u8>,
    firsts: Vec<u64>,
    lasts: Vec<u64>,
}

impl Fences {
    fn new(tables: &[Arc<Table>]) -> Self {
        let (Some(first), Some(last)) = (tables.first(), tables.last()) else {
            return Self::default();
        };
        let (first, last) = (first.smallest().user, last.largest().user);
        let common = common_prefix(first, last);
        let firsts = tables
            .iter()
            .map(|table| head(table.smallest().user, common));
        let lasts = tables
            .iter()
            .map(|table| head(table.largest().user, common));
        Self {
            common: first[..common].to_vec(),
            firsts: firsts.collect(),
            lasts: lasts.collect(),
        }
    }

    /// Index of the first table whose keys go as far as `user`; the number of tables where none does.
    #[inline]
    fn first_reaching(&self, user: &[u8], tables: &[Arc<Table>]) -> usize {
        if !starts_with(user, &self.common) {
            let before_all = user < &*self.common;
            return if before_all { 0 } else { tables.len() };
        }
        let wanted = head(user, self.common.len());
        let begin = self.lasts.partition_point(|last| *last < wanted);
        let same = self.lasts[begin..].partition_point(|last| *last == wanted);
        let undecided = &tables[begin..begin + same];
        begin + undecided.partition_point(|table| !table.reaches(user))
    }

    /// Whether `table`, which is number `index`, has its first key at or before `user`.
    #[inline]
    fn begins_by(&self, index: usize, user: &[u8], table: &Table) -> bool {
        if starts_with(user, &self.common) {
            match self.firsts[index].cmp(&head(user, self.common.len())) {
                Ordering::Less => return true,
                Ordering::Greater => return false,
                Ordering::Equal => {}
            }
        }
        table.smallest().user <= user
    }
}
