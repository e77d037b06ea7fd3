//! The tables of one keyspace at one time: what a reader holds while it reads.
//!
//! # Invariants
//! - `version-1`: the tables of a level below L0, and of a sublevel, are in key order and share no
//!   user key.
//! - `version-2`: of two tables in L0 that overlap, the one with the newer changes is in the higher
//!   sublevel. So the newest change to a key is in the first table of [`Version::tables_for`] that
//!   has one.

use std::array;
use std::ops::Bound;
use std::sync::Arc;

use crate::files::FileNumber;
use crate::manifest::run::{Overlap, SortedRun};
use crate::manifest::table::Table;
use crate::manifest::{BOTTOM, LEVELS};

/// The tables of one keyspace at one time. Never changes; a change makes another version, which
/// shares the levels it did not touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    /// L0 from its oldest sublevel to its newest.
    sublevels: Vec<Arc<SortedRun>>,
    /// L1 to L6.
    levels: [Arc<SortedRun>; BOTTOM],
}

impl Version {
    /// The version that consists of these tables, each with its level.
    ///
    /// # Errors
    /// [`Overlap`] where tables break an invariant.
    pub(crate) fn load(
        tables: impl IntoIterator<Item = (usize, Arc<Table>)>,
    ) -> Result<Self, Overlap> {
        let mut by_level: [Vec<_>; LEVELS] = array::from_fn(|_| Vec::new());
        for (level, table) in tables {
            by_level[level].push(table);
        }
        let [l0, lower @ ..] = by_level;
        let mut levels = Vec::with_capacity(lower.len());
        for tables in lower {
            levels.push(Arc::new(SortedRun::new(tables)?));
        }
        Ok(Self {
            sublevels: sublevels(l0)?,
            levels: array::from_fn(|i| Arc::clone(&levels[i])),
        })
    }

    /// This version with tables added and removed, each with its level.
    ///
    /// # Panics
    /// When that breaks an invariant: compactions are planned so that it does not.
    #[must_use]
    pub(crate) fn with(
        &self,
        added: &[(usize, Arc<Table>)],
        removed: &[(usize, FileNumber)],
    ) -> Self {
        self.try_with(added, removed)
            .expect("a change keeps levels in order")
    }

    fn try_with(
        &self,
        added: &[(usize, Arc<Table>)],
        removed: &[(usize, FileNumber)],
    ) -> Result<Self, Overlap> {
        let mut version = self.clone();
        for level in 0..LEVELS {
            let mut new: Vec<_> = at_level(added, level).map(Arc::clone).collect();
            let mut gone: Vec<_> = at_level(removed, level).copied().collect();
            if new.is_empty() && gone.is_empty() {
                continue;
            }
            gone.sort_unstable();
            let goes = |table: &Table| gone.binary_search(&table.number).is_ok();
            if level == 0 {
                new.extend(self.l0().filter(|table| !goes(table)).map(Arc::clone));
                version.sublevels = sublevels(new)?;
            } else {
                new.sort_unstable_by(|a, b| a.smallest().cmp(&b.smallest()));
                version.levels[level - 1] = Arc::new(self.level(level).with(new, goes)?);
            }
        }
        Ok(version)
    }

    /// L0 from its oldest sublevel to its newest.
    pub(crate) fn sublevels(&self) -> &[Arc<SortedRun>] {
        &self.sublevels
    }

    /// A level below L0.
    ///
    /// # Panics
    /// For L0, which is many runs.
    pub(crate) fn level(&self, level: usize) -> &Arc<SortedRun> {
        &self.levels[level - 1]
    }

    /// Every run from the newest changes to the oldest: L0 from above, then L1 to L6.
    pub(crate) fn runs(&self) -> impl DoubleEndedIterator<Item = &Arc<SortedRun>> {
        self.sublevels.iter().rev().chain(&self.levels)
    }

    /// Every table that may hold a change to `user`, its newest first.
    pub(crate) fn tables_for<'a>(&'a self, user: &[u8]) -> impl Iterator<Item = &'a Arc<Table>> {
        self.runs().filter_map(move |run| run.table_for(user))
    }

    /// Tables with range deletes that may reach between `start` and `end`: the only ones a scan has
    /// to ask for them.
    pub(crate) fn range_delete_tables<'a>(
        &'a self,
        start: &'a [u8],
        end: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = &'a Arc<Table>> {
        self.runs()
            .flat_map(move |run| run.range_deletes(start, end))
    }

    /// Tables of a level that may hold user keys from `start` up to `end`.
    pub(crate) fn overlapping<'a>(
        &'a self,
        level: usize,
        start: &'a [u8],
        end: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = &'a Arc<Table>> {
        self.runs_of(level)
            .iter()
            .flat_map(move |run| run.overlapping(start, end))
    }

    /// Whether a level below `level` may hold a change to `user`.
    #[cfg(test)]
    pub(crate) fn has_below(&self, level: usize, user: &[u8]) -> bool {
        self.levels[level..]
            .iter()
            .any(|run| run.table_for(user).is_some())
    }

    /// Every table with its level.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (usize, &Arc<Table>)> {
        (0..LEVELS).flat_map(|level| {
            let runs = self.runs_of(level).iter();
            runs.flat_map(move |run| run.tables().iter().map(move |table| (level, table)))
        })
    }

    /// The tables of L0, those of one sublevel together.
    pub(crate) fn l0(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.sublevels.iter().flat_map(|run| run.tables())
    }

    /// Bytes of a level's files.
    pub(crate) fn level_len(&self, level: usize) -> u64 {
        self.runs_of(level).iter().map(|run| run.len()).sum()
    }

    fn runs_of(&self, level: usize) -> &[Arc<SortedRun>] {
        match level {
            0 => &self.sublevels,
            _ => &self.levels[level - 1..level],
        }
    }
}

fn at_level<T>(items: &[(usize, T)], level: usize) -> impl Iterator<Item = &T> {
    items
        .iter()
        .filter(move |(at, _)| *at == level)
        .map(|(_, item)| item)
}

/// INVARIANT version-2: puts every table just above the highest older one that it overlaps.
fn sublevels(mut tables: Vec<Arc<Table>>) -> Result<Vec<Arc<SortedRun>>, Overlap> {
    tables.sort_unstable_by_key(|table| (table.last_seq, table.number));
    let mut runs: Vec<SortedRun> = Vec::new();
    for table in tables {
        let end = end_of(&table);
        let start = table.smallest().user;
        let mut above = 0;
        for (i, run) in runs.iter().enumerate() {
            let older = run.overlapping(start, end);
            // What overlaps must be older as a whole, or no order would be right.
            if older.iter().any(|older| older.last_seq >= table.first_seq) {
                return Err(Overlap);
            }
            if !older.is_empty() {
                above = i + 1;
            }
        }
        if above == runs.len() {
            runs.push(SortedRun::default());
        }
        runs[above].insert(table)?;
    }
    Ok(runs.into_iter().map(Arc::new).collect())
}

/// Where a table's keys end.
pub(crate) fn end_of(table: &Table) -> Bound<&[u8]> {
    let user = table.largest().user;
    if table.largest_is_excluded() {
        Bound::Excluded(user)
    } else {
        Bound::Included(user)
    }
}

#[cfg(test)]
mod tests;
