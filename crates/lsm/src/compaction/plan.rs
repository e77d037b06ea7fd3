//! What a compaction is to do, and which are being done.
//!
//! # Invariants
//! - `plan-1`: no table is an input of two compactions at once.
//! - `plan-2`: two compactions at once never write overlapping key ranges to one level.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::error::Corruption;
use crate::files::FileNumber;
use crate::manifest::{LEVELS, Table, Version, end_of};

/// Why tables are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CompactionKind {
    /// A level is larger than it should be.
    Leveled,
    /// The table goes one level down as it is: nothing is read or written.
    TrivialMove,
    /// Many deletes hide data below them.
    Tombstones,
    /// Much of the table has expired, or all that does.
    Expired,
    /// A table of the lowest level is rewritten in place, to drop deletes that nothing needs any more.
    Bottom,
    /// Tables of L0 become one sublevel, since the level below is busy.
    IntraL0,
    /// Somebody asked for it.
    Manual,
}

/// What a compaction is to do.
#[derive(Clone, Debug)]
pub(crate) struct CompactionPlan {
    pub(crate) kind: CompactionKind,
    /// Tables by level. Those of L0 may overlap each other.
    pub(crate) inputs: Vec<(usize, Vec<Arc<Table>>)>,
    pub(crate) output_level: usize,
    /// Bytes at which an output table is full.
    pub(crate) table_len: u64,
    /// Tables of the level below the output, in key order: an output that overlaps many of them is
    /// expensive to compact further.
    pub(crate) grandparents: Vec<Arc<Table>>,
    /// No level below the output holds any key of the range, so deletes that no snapshot needs end
    /// here. Where it does not hold, the levels below may still say so of a single key.
    pub(crate) is_bottom: bool,
    /// Where the inputs' keys begin, and end.
    pub(crate) start: Vec<u8>,
    pub(crate) end: Bound<Vec<u8>>,
}

impl CompactionPlan {
    /// Every input table.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.inputs.iter().flat_map(|(_, tables)| tables)
    }

    /// The input tables for whose sake it is: those of the highest level.
    fn going_down(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.inputs.iter().take(1).flat_map(|(_, tables)| tables)
    }

    /// Bytes of all input tables.
    pub(crate) fn input_len(&self) -> u64 {
        self.tables().map(|table| table.len).sum()
    }

    /// About how many bytes come of it, where each delete meets what it deletes.
    pub(crate) fn expected_len(&self) -> u64 {
        if self.kind == CompactionKind::TrivialMove {
            return 0;
        }
        // What a range delete meets nobody knows before it is read.
        if self.tables().any(|table| table.range_deletes > 0) {
            return 0;
        }
        let entries: u64 = self.tables().map(|table| table.entries).sum();
        let deletes: u64 = self.tables().map(|table| table.deletes).sum();
        let puts = entries.saturating_sub(deletes);
        let left = u128::from(self.input_len()) * u128::from(puts.saturating_sub(deletes))
            / u128::from(puts.max(1));
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// Bytes that leave each level for another.
    fn leaving(&self) -> impl Iterator<Item = (usize, u64)> {
        let leaving = self
            .inputs
            .iter()
            .filter(|(level, _)| *level != self.output_level);
        leaving.map(|(level, tables)| (*level, tables.iter().map(|table| table.len).sum()))
    }

    fn span(&self) -> Span<'_> {
        let end = self.end.as_ref().map(|end| &**end);
        let start = &self.start;
        Span { start, end }
    }
}

/// A range of user keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span<'a> {
    pub(super) start: &'a [u8],
    pub(super) end: Bound<&'a [u8]>,
}

impl<'a> Span<'a> {
    pub(super) fn of(table: &'a Table) -> Self {
        Self {
            start: table.smallest().user,
            end: end_of(table),
        }
    }

    /// From the first table's beginning to where any of them ends.
    pub(super) fn of_all(tables: impl IntoIterator<Item = &'a Arc<Table>>) -> Option<Self> {
        let spans = tables.into_iter().map(|table| Self::of(table));
        spans.reduce(Self::union)
    }

    /// The least range that holds both.
    pub(super) fn union(self, other: Self) -> Self {
        let end = if other.ends_within(self) {
            self.end
        } else {
            other.end
        };
        Self {
            start: self.start.min(other.start),
            end,
        }
    }

    fn ends_within(self, other: Self) -> bool {
        match (self.end, other.end) {
            (_, Bound::Unbounded) => true,
            (Bound::Unbounded, _) => false,
            (Bound::Included(mine), Bound::Excluded(theirs)) => mine < theirs,
            (
                Bound::Included(mine) | Bound::Excluded(mine),
                Bound::Included(theirs) | Bound::Excluded(theirs),
            ) => mine <= theirs,
        }
    }

    pub(super) fn is_within(self, other: Self) -> bool {
        other.start <= self.start && self.ends_within(other)
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        let reaches = |end, start| match end {
            Bound::Included(end) => start <= end,
            Bound::Excluded(end) => start < end,
            Bound::Unbounded => true,
        };
        reaches(self.end, other.start) && reaches(other.end, self.start)
    }
}

/// Names a running compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobId(u64);

/// The compactions of one keyspace that are running.
#[derive(Debug, Default)]
pub(crate) struct InProgress {
    jobs: Vec<(JobId, CompactionPlan)>,
    busy: BTreeSet<FileNumber>,
    /// Tables found damaged: set aside until the store is opened again.
    damaged: BTreeMap<FileNumber, Corruption>,
    /// Tables for which there was less room than expected to be enough, and until when that counts.
    too_large: BTreeMap<FileNumber, u64>,
    issued: u64,
    /// Where the last compaction of each level ended: the next one begins there, all else equal.
    resume: [Vec<u8>; LEVELS],
}

impl InProgress {
    /// Notes that a plan, which was picked with this in view, is being carried out.
    ///
    /// # Panics
    /// When it is in the way of another: plans are picked one at a time.
    pub(crate) fn begin(&mut self, plan: CompactionPlan) -> JobId {
        assert!(self.admits(&plan), "two compactions in each other's way");
        self.busy.extend(plan.tables().map(|table| table.number));
        if let Some((level, tables)) = plan.inputs.first()
            && let Some(last) = tables.last()
        {
            self.resume[*level] = last.largest().user.to_vec();
        }
        self.issued += 1;
        let id = JobId(self.issued);
        self.jobs.push((id, plan));
        id
    }

    /// Notes that a compaction has ended, and its outcome is in the current version if it went well.
    pub(crate) fn end(&mut self, id: JobId) {
        let at = self.jobs.iter().position(|(other, _)| *other == id);
        let (_, plan) = self.jobs.swap_remove(at.expect("a job ends once"));
        for table in plan.tables() {
            self.busy.remove(&table.number);
        }
    }

    /// The plans that are being carried out.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &CompactionPlan> {
        self.jobs.iter().map(|(_, plan)| plan)
    }

    pub(super) fn is_busy(&self, table: &Table) -> bool {
        let is_busy = !self.busy.is_empty() && self.busy.contains(&table.number);
        is_busy || self.damaged.contains_key(&table.number)
    }

    /// Keeps a damaged table out of compactions to come: each would fail.
    pub(crate) fn set_aside(&mut self, table: FileNumber, damage: Corruption) {
        self.damaged.insert(table, damage);
    }

    /// Notes that a plan took more room than there was: what was expected of it was too little. Until then
    /// its tables go down only where there is room for all, so that others have their turn.
    pub(crate) fn note_too_large(&mut self, plan: &CompactionPlan, now_ms: u64, until_ms: u64) {
        self.too_large.retain(|_, until| *until > now_ms);
        let tables = plan.going_down().map(|table| (table.number, until_ms));
        self.too_large.extend(tables);
    }

    /// Bytes that may come of a plan, as far as it is known.
    pub(super) fn expected_len(&self, plan: &CompactionPlan, now_ms: u64) -> u64 {
        let is_too_large = |table: &Arc<Table>| {
            let until = self.too_large.get(&table.number);
            until.is_some_and(|until| *until > now_ms)
        };
        match plan.kind != CompactionKind::TrivialMove && plan.going_down().any(is_too_large) {
            true => plan.input_len(),
            false => plan.expected_len(),
        }
    }

    /// Damage of the tables that are set aside.
    pub(crate) fn damaged(&self) -> impl Iterator<Item = &Corruption> {
        self.damaged.values()
    }

    /// Bytes of a level that running compactions take elsewhere.
    pub(super) fn leaving(&self, level: usize) -> u64 {
        let leaving = self.plans().flat_map(CompactionPlan::leaving);
        leaving
            .filter(|(from, _)| *from == level)
            .map(|(_, len)| len)
            .sum()
    }

    pub(super) fn resume(&self, level: usize) -> &[u8] {
        &self.resume[level]
    }

    /// Whether a plan obeys the invariants beside those running.
    pub(super) fn admits(&self, plan: &CompactionPlan) -> bool {
        // INVARIANT plan-1, plan-2
        let inputs_are_free = plan.tables().all(|table| !self.is_busy(table));
        let mut same_level = self
            .plans()
            .filter(|other| other.output_level == plan.output_level);
        inputs_are_free && !same_level.any(|other| other.span().overlaps(plan.span()))
    }
}

/// Completes a plan with what follows from its inputs.
pub(super) fn plan(
    version: &Version,
    table_len: u64,
    kind: CompactionKind,
    inputs: Vec<(usize, Vec<Arc<Table>>)>,
    output_level: usize,
) -> CompactionPlan {
    let tables = inputs.iter().flat_map(|(_, tables)| tables);
    let span = Span::of_all(tables).expect("a compaction has inputs");
    let (start, end) = (span.start.to_vec(), span.end.map(<[u8]>::to_vec));
    let overlap = |level| version.overlapping(level, span.start, span.end);
    let has_grandparents = (1..LEVELS - 1).contains(&output_level);
    let grandparents =
        has_grandparents.then(|| overlap(output_level + 1).map(Arc::clone).collect());
    let below = output_level + 1..LEVELS;
    let is_bottom = output_level > 0
        && below
            .into_iter()
            .all(|level| overlap(level).next().is_none());
    CompactionPlan {
        kind,
        output_level,
        table_len,
        grandparents: grandparents.unwrap_or_default(),
        is_bottom,
        start,
        end,
        inputs,
    }
}
