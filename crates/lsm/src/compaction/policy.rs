//! Which compaction comes next. Pure: nothing is read, written or remembered here.
//!
//! In this order: the level that is furthest beyond its size; tables whose deletes hide much; tables
//! of which much has expired. Within a level, the table that overlaps least below it for its size;
//! all else equal, the levels are walked in key order.

use std::ops::Bound;
use std::sync::Arc;

use crate::compaction::plan::{CompactionKind, CompactionPlan, InProgress, Span, plan};
use crate::compaction::shape::Shape;
use crate::files::FileNumber;
use crate::key::SeqNo;
use crate::manifest::{BOTTOM, Table, Version};
use crate::options::KeyspaceOptions;

/// Most bytes that one compaction takes on where it has the choice, in tables.
const TABLES_MAX: u64 = 25;
/// A table that overlaps more than this many tables two levels down is not moved as it is: it would
/// be dear to compact from there.
const GRANDPARENTS_MAX: u64 = 10;
/// A table with this many deletes among a hundred entries is compacted for their sake.
const DELETES_PERCENT: u64 = 50;
/// A table is compacted for the sake of what has expired in it when that is so much of a hundred bytes which
/// the compaction reads. So for each byte given back at most 2.3 are written, and what has expired takes
/// at most 0.43 of what has not, but for tables that lie over much more below.
const EXPIRED_PERCENT: u64 = 30;
/// Before a table's deletes or expired entries are driven down by themselves it rests this long: what
/// comes meanwhile goes along, and a table is not rewritten again and again.
const REST_MS: u64 = 60_000;
/// After this long an expiry filter is asked again for the deletes it may have held back.
const ASK_AGAIN_MS: u64 = 3_600_000;

/// What a pick is made from.
#[derive(Debug)]
pub(crate) struct Picker<'a> {
    pub(super) version: &'a Version,
    pub(super) options: &'a KeyspaceOptions,
    pub(super) running: &'a InProgress,
    now_ms: u64,
    /// Changes up to this one are the same for every snapshot.
    oldest_snapshot: SeqNo,
    pub(super) shape: Shape,
    /// Bytes that what comes of a compaction may take. `None`: there is room for all.
    pub(super) room: Option<u64>,
    /// Before a table's deletes are driven down by themselves it rests this long.
    rest_ms: u64,
}

impl<'a> Picker<'a> {
    /// `oldest_snapshot`: nobody reads as of an earlier sequence number; the newest visible one
    /// where no snapshot is open.
    pub(crate) fn new(
        version: &'a Version,
        options: &'a KeyspaceOptions,
        running: &'a InProgress,
        now_ms: u64,
        oldest_snapshot: SeqNo,
    ) -> Self {
        Self {
            version,
            options,
            running,
            now_ms,
            oldest_snapshot,
            shape: Shape::of(version, options),
            room: None,
            rest_ms: REST_MS,
        }
    }

    /// The next compaction, if any is worth it. To be asked again after every change of the version
    /// or of what is running, and about once a minute, for what comes with time.
    pub(crate) fn pick(&self) -> Option<CompactionPlan> {
        self.pick_by_size()
            .or_else(|| {
                self.pick_where(CompactionKind::Tombstones, |l, t| self.deletes_weigh(l, t))
            })
            .or_else(|| self.pick_where(CompactionKind::Expired, |l, t| self.has_expired(l, t)))
    }

    /// Deletes are driven down at once: where room will soon be short.
    pub(crate) fn without_rest(self) -> Self {
        Self { rest_ms: 0, ..self }
    }

    /// What comes of a compaction fits into `room` bytes.
    pub(crate) fn within(self, room: u64) -> Self {
        let room = Some(room);
        Self { room, ..self }
    }

    /// The next compaction that ends in more room: on a disk that is full. Deletes go down at once, and then
    /// all that lies above the lowest level, where it may hide something. To be asked again as
    /// [`pick`](Self::pick) is.
    pub(crate) fn pick_for_room(&self) -> Option<CompactionPlan> {
        let removes = |table: &Table| table.deletes > 0 || table.range_deletes > 0;
        self.pick_where(CompactionKind::Tombstones, |level, table| {
            (level < BOTTOM && removes(table)) || self.deletes_weigh(level, table)
        })
        .or_else(|| self.pick_where(CompactionKind::Expired, |l, t| self.has_expired(l, t)))
        .or_else(|| self.pick_where(CompactionKind::Leveled, |level, _| level < BOTTOM))
    }

    fn pick_by_size(&self) -> Option<CompactionPlan> {
        let levels = [0].into_iter().chain(self.shape.base..BOTTOM);
        let mut due: Vec<_> = levels
            .map(|level| (level, self.score(level)))
            .filter(|(_, score)| *score >= 1.0)
            .collect();
        due.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        due.into_iter().find_map(|(level, _)| {
            if level > 0 {
                return self.pick_level(level);
            }
            let intra = || self.l0_piles_up().then(|| self.pick_intra_l0()).flatten();
            self.pick_l0().or_else(intra)
        })
    }

    fn score(&self, level: usize) -> f64 {
        self.shape
            .score(level, self.version, self.options, self.running)
    }

    /// From a level below L0 to the next.
    fn pick_level(&self, level: usize) -> Option<CompactionPlan> {
        let mut candidates = self.overlap_ratios(level);
        candidates.sort_unstable_by(|(_, a), (_, b)| a.total_cmp(b));
        let tables = self.version.level(level).tables();
        // Equal ratios are the rule where keys come in order: go on where the last pick ended.
        let resume = self.running.resume(level);
        let is_ahead = |at: usize| tables[at].largest().user > resume;
        for equal in candidates.chunk_by(|(_, a), (_, b)| a.total_cmp(b).is_eq()) {
            let (ahead, behind): (Vec<_>, Vec<_>) = equal.iter().partition(|(at, _)| is_ahead(*at));
            let mut in_turn = ahead.into_iter().chain(behind);
            let plan = in_turn.find_map(|&(at, _)| self.down(level, at, CompactionKind::Leveled));
            if plan.is_some() {
                return plan;
            }
        }
        None
    }

    /// For each free table of a level, by index: bytes it overlaps below for each byte of its own.
    fn overlap_ratios(&self, level: usize) -> Vec<(usize, f64)> {
        let below = self.version.level(level + 1).tables();
        let mut first = 0;
        let mut ratios = Vec::new();
        for (at, table) in self.version.level(level).tables().iter().enumerate() {
            let span = Span::of(table);
            while below.get(first).is_some_and(|t| !t.reaches(span.start)) {
                first += 1;
            }
            if self.running.is_busy(table) {
                continue;
            }
            let overlap = below[first..]
                .iter()
                .take_while(|t| Span::of(t).overlaps(span));
            let overlap: u64 = overlap.map(|t| t.len).sum();
            // Deletes make room below: a table full of them counts for twice its size.
            let deletes = table.deletes as f64 / table.entries.max(1) as f64;
            let len = table.len as f64 * (1.0 + deletes.min(1.0));
            ratios.push((at, overlap as f64 / len.max(1.0)));
        }
        ratios
    }

    /// A plan that takes a table of a level from L1 to L5 one level down.
    fn down(&self, level: usize, at: usize, kind: CompactionKind) -> Option<CompactionPlan> {
        let run = self.version.level(level);
        let table = &run.tables()[at];
        let below: Vec<_> = self.overlapping(level + 1, Span::of(table)).collect();
        if below.is_empty() && self.may_move(table, level + 1) {
            let inputs = vec![(level, vec![Arc::clone(table)])];
            return self.admitted(CompactionKind::TrivialMove, inputs, level + 1);
        }
        let neighbours = self.free_ride(level, at, &below);
        let below = below.into_iter().map(Arc::clone).collect();
        let inputs = vec![(level, neighbours), (level + 1, below)];
        self.admitted(kind, inputs, level + 1)
    }

    /// A table with those beside it that go down without more being rewritten below.
    fn free_ride(&self, level: usize, at: usize, below: &[&Arc<Table>]) -> Vec<Arc<Table>> {
        let tables = self.version.level(level).tables();
        let mut len: u64 = tables[at].len + below.iter().map(|t| t.len).sum::<u64>();
        let (mut begin, mut end) = (at, at + 1);
        let mut fits = |table: &Arc<Table>, span: Span<'_>| {
            len += table.len;
            let same = self.overlapping(level + 1, span).count() == below.len();
            same && len <= self.len_max() && !self.running.is_busy(table)
        };
        let span =
            |begin: usize, end: usize| Span::of(&tables[begin]).union(Span::of(&tables[end - 1]));
        while end < tables.len() && fits(&tables[end], span(begin, end + 1)) {
            end += 1;
        }
        while begin > 0 && fits(&tables[begin - 1], span(begin - 1, end)) {
            begin -= 1;
        }
        tables[begin..end].to_vec()
    }

    /// Whether a table that overlaps nothing in `level` may go there as it is.
    pub(super) fn may_move(&self, table: &Arc<Table>, level: usize) -> bool {
        let span = Span::of(table);
        let same_compression = self.options.compression == self.options.bottom_compression;
        if level == BOTTOM && !same_compression {
            return false;
        }
        let is_bottom = !(level + 1..=BOTTOM).any(|l| self.overlapping(l, span).next().is_some());
        let droppable = table.deletes > 0 || table.range_deletes > 0 || self.any_expired(table);
        let grandparents = || -> u64 {
            let tables = self.overlapping(level + 1, span);
            tables.map(|table| table.len).sum()
        };
        let dear = || grandparents() > GRANDPARENTS_MAX * self.options.table_len;
        !(is_bottom && droppable) && (is_bottom || !dear())
    }

    /// The first table of any level that `wanted` holds for and that can be taken down, or rewritten
    /// where there is no further down.
    fn pick_where(
        &self,
        kind: CompactionKind,
        wanted: impl Fn(usize, &Table) -> bool,
    ) -> Option<CompactionPlan> {
        let free = |level, table: &Table| wanted(level, table) && !self.running.is_busy(table);
        for level in (1..=BOTTOM).rev() {
            let tables = self.version.level(level).tables().iter().enumerate();
            let mut wanted = tables.filter(|(_, table)| free(level, table));
            let plan = wanted.find_map(|(at, table)| match level {
                BOTTOM => self.in_place(table, kind),
                _ => self.down(level, at, kind),
            });
            if plan.is_some() {
                return plan;
            }
        }
        let sublevels = self.version.sublevels().iter().enumerate().rev();
        sublevels
            .flat_map(|(top, run)| run.tables().iter().map(move |table| (top, table)))
            .filter(|(_, table)| free(0, table))
            .find_map(|(top, table)| self.down_from_l0(table, top, kind))
    }

    fn in_place(&self, table: &Arc<Table>, kind: CompactionKind) -> Option<CompactionPlan> {
        let kind = match kind {
            CompactionKind::Tombstones => CompactionKind::Bottom,
            other => other,
        };
        self.admitted(kind, vec![(BOTTOM, vec![Arc::clone(table)])], BOTTOM)
    }

    /// Whether a table's deletes hide so much that it is compacted for their sake.
    fn deletes_weigh(&self, level: usize, table: &Table) -> bool {
        let many = table.deletes > 0
            && table.deletes.saturating_mul(100) >= table.entries.saturating_mul(DELETES_PERCENT);
        let is_older_than = |ms| self.is_older_than(table, ms);
        if level < BOTTOM {
            return (many || table.range_deletes > 0) && is_older_than(self.rest_ms);
        }
        // Here they go at once, where neither a snapshot nor an expiry filter holds them.
        let is_held = self.options.expiry_filter.is_some() && !is_older_than(ASK_AGAIN_MS);
        let can_go = table.range_deletes > 0 || (many && !is_held);
        can_go && table.last_seq <= self.oldest_snapshot
    }

    /// Whether a table was made so long ago, or by a clock that was ahead.
    fn is_older_than(&self, table: &Table, ms: u64) -> bool {
        let made = table.created_at_ms;
        self.now_ms >= made.saturating_add(ms) || self.now_ms < made
    }

    fn has_expired(&self, level: usize, table: &Table) -> bool {
        self.all_has_expired(table) || self.expired_weighs(level, table)
    }

    /// Whether so much of what a compaction of the table reads has expired that it is worth it. Afterwards
    /// nothing of that is left, as a delete at most is kept of each entry.
    fn expired_weighs(&self, level: usize, table: &Table) -> bool {
        let own = table.spread.expired_len(self.now_ms);
        if own == 0 || !self.is_older_than(table, self.rest_ms) {
            return false;
        }
        let below = match level {
            BOTTOM => None,
            0 => Some(self.shape.base),
            _ => Some(level + 1),
        };
        let below = below.map(|level| self.overlapping(level, Span::of(table)));
        let (mut expired, mut all) = (own, raw_len(table));
        for table in below.into_iter().flatten() {
            expired = expired.saturating_add(table.spread.expired_len(self.now_ms));
            all = all.saturating_add(raw_len(table));
        }
        expired.saturating_mul(100) >= all.saturating_mul(EXPIRED_PERCENT)
    }

    fn any_expired(&self, table: &Table) -> bool {
        table
            .deadlines
            .is_some_and(|(least, _)| least < self.now_ms)
    }

    /// Whether all that expires in a table has expired, and rewriting it has not just been tried: an
    /// expiry filter may hold entries back, and is asked again after as long as they have waited.
    fn all_has_expired(&self, table: &Table) -> bool {
        table.deadlines.is_some_and(|(_, greatest)| {
            let tried_after = table.created_at_ms.checked_sub(greatest);
            let due = match tried_after {
                Some(waited) => table.created_at_ms.saturating_add(waited.max(REST_MS)),
                None => greatest,
            };
            self.now_ms > due
        })
    }

    pub(super) fn overlapping(
        &self,
        level: usize,
        span: Span<'a>,
    ) -> impl Iterator<Item = &'a Arc<Table>> + use<'a> {
        self.version.overlapping(level, span.start, span.end)
    }

    /// Most bytes that one compaction takes on where it has the choice.
    pub(super) fn len_max(&self) -> u64 {
        let len = self.options.table_len.saturating_mul(TABLES_MAX);
        self.room.map_or(len, |room| len.min(room))
    }

    /// The plan, unless it is in the way of one that runs.
    pub(super) fn admitted(
        &self,
        kind: CompactionKind,
        mut inputs: Vec<(usize, Vec<Arc<Table>>)>,
        output_level: usize,
    ) -> Option<CompactionPlan> {
        inputs.retain(|(_, tables)| !tables.is_empty());
        let table_len = self.options.table_len;
        let plan = plan(self.version, table_len, kind, inputs, output_level);
        let fits = |room| self.running.expected_len(&plan, self.now_ms) <= room;
        let has_room = self.room.is_none_or(fits);
        (has_room && self.running.admits(&plan)).then_some(plan)
    }
}

fn raw_len(table: &Table) -> u64 {
    table.raw_key_len.saturating_add(table.raw_value_len)
}

/// A wish that everything written so far between two keys be compacted to the lowest level.
#[derive(Clone, Debug)]
pub(crate) struct ManualCompaction {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Bound<Vec<u8>>,
    /// Newer changes need not be.
    pub(crate) upto: SeqNo,
    /// Tables with this number or a higher one were made since.
    pub(crate) since: FileNumber,
}

/// What is next for a [`ManualCompaction`].
#[derive(Debug)]
pub(crate) enum ManualStep {
    /// This compaction, and then to ask again.
    Run(CompactionPlan),
    /// To ask again when a compaction that runs has ended.
    Wait,
    Done,
}

impl Picker<'_> {
    /// The next step of a manual compaction.
    pub(crate) fn manual(&self, wish: &ManualCompaction) -> ManualStep {
        let span = Span {
            start: &wish.start,
            end: wish.end.as_ref().map(|end| &**end),
        };
        let wanted = |table: &Table| table.first_seq <= wish.upto && Span::of(table).overlaps(span);
        let above = (0..BOTTOM).find(|level| {
            let mut tables = self.version.overlapping(*level, span.start, span.end);
            tables.any(|table| wanted(table))
        });
        let step = match above {
            Some(0) => self.manual_l0(wanted),
            Some(level) => self.manual_level(level, wanted),
            None => {
                let stale = |table: &Table| {
                    let droppable = table.deletes > 0 || table.range_deletes > 0;
                    let old = table.number < wish.since;
                    wanted(table) && old && (droppable || self.any_expired(table))
                };
                let bottom = self.version.level(BOTTOM).overlapping(span.start, span.end);
                let Some(table) = bottom.iter().find(|table| stale(table)) else {
                    return ManualStep::Done;
                };
                self.in_place(table, CompactionKind::Manual)
            }
        };
        step.map_or(ManualStep::Wait, ManualStep::Run)
    }

    fn manual_l0(&self, wanted: impl Fn(&Table) -> bool) -> Option<CompactionPlan> {
        let sublevels = self.version.sublevels().iter().enumerate().rev();
        sublevels
            .flat_map(|(top, run)| run.tables().iter().map(move |table| (top, table)))
            .filter(|(_, table)| wanted(table))
            .find_map(|(top, table)| self.down_from_l0(table, top, CompactionKind::Manual))
    }

    fn manual_level(
        &self,
        level: usize,
        wanted: impl Fn(&Table) -> bool,
    ) -> Option<CompactionPlan> {
        let tables = self.version.level(level).tables().iter().enumerate();
        tables
            .filter(|(_, table)| wanted(table))
            .find_map(|(at, _)| self.down(level, at, CompactionKind::Manual))
    }
}

#[cfg(test)]
mod tests;
