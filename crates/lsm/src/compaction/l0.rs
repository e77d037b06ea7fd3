//! Picks among the tables of L0, which overlap.
//!
//! A table may leave L0 only together with every older table it overlaps, or an old change would
//! hide a newer one. So a pick begins with a table of a high sublevel and takes in, sublevel by
//! sublevel, what lies below it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::compaction::plan::{CompactionKind, CompactionPlan, Span};
use crate::compaction::policy::Picker;
use crate::manifest::Table;
use crate::plant::{Plant, is_planted};

/// Compacting L0 within itself pays from this many sublevels on.
const INTRA_DEPTH_MIN: usize = 3;
/// L0 is compacted within itself when this many more sublevels have piled up than ask for a compaction.
const INTRA_EXCESS: usize = 2;

impl<'a> Picker<'a> {
    /// From L0 to the base level: the deepest part whose tables are free, and of those the one with
    /// least to rewrite in the base level for each byte.
    pub(super) fn pick_l0(&self) -> Option<CompactionPlan> {
        let sublevels = self.version.sublevels();
        (0..sublevels.len()).rev().find_map(|top| {
            let seeds = sublevels[top].tables().iter();
            let plans =
                seeds.filter_map(|seed| self.down_from_l0(seed, top, CompactionKind::Leveled));
            plans.min_by(|a, b| self.cost(a).total_cmp(&self.cost(b)))
        })
    }

    /// A plan that takes a table of L0, which is in sublevel `top`, to the base level.
    pub(super) fn down_from_l0(
        &self,
        seed: &'a Arc<Table>,
        top: usize,
        kind: CompactionKind,
    ) -> Option<CompactionPlan> {
        let mut taken = self.with_all_below(seed, top)?;
        let span = Span::of_all(taken.iter().copied())?;
        let base = self.shape.base;
        let below: Vec<_> = self.overlapping(base, span).collect();
        if taken.len() == 1 && below.is_empty() && self.may_move(seed, base) {
            let inputs = vec![(0, cloned(&taken))];
            return self.admitted(CompactionKind::TrivialMove, inputs, base);
        }
        let rewritten = Span::of_all(below.iter().copied());
        self.take_along(
            &mut taken,
            rewritten.map_or(span, |below| below.union(span)),
            below.iter().map(|table| table.len).sum(),
        );
        let inputs = vec![(0, cloned(&taken)), (base, cloned(&below))];
        self.admitted(kind, inputs, base)
    }

    /// A table with every older one that must go with it; `None` where one is busy.
    fn with_all_below(&self, seed: &'a Arc<Table>, top: usize) -> Option<Vec<&'a Arc<Table>>> {
        let mut taken = vec![seed];
        let mut span = Span::of(seed);
        for run in self.version.sublevels()[..top].iter().rev() {
            let older = run.overlapping(span.start, span.end);
            taken.extend(older);
            if !is_planted(Plant::OlderLeftInL0) {
                span = Span::of_all(older).map_or(span, |older| older.union(span));
            }
        }
        let free = taken.iter().all(|table| !self.running.is_busy(table));
        free.then_some(taken)
    }

    /// Adds tables of L0 that fit into the range which is rewritten anyway, where `below_len` bytes lie below,
    /// and into the room there is.
    fn take_along(&self, taken: &mut Vec<&'a Arc<Table>>, rewritten: Span<'_>, below_len: u64) {
        let sublevels = self.version.sublevels();
        let mut len = below_len + taken.iter().map(|table| table.len).sum::<u64>();
        for (i, run) in sublevels.iter().enumerate() {
            for table in run.overlapping(rewritten.start, rewritten.end) {
                let span = Span::of(table);
                let is_taken = |other| taken.iter().any(|table| Arc::ptr_eq(table, other));
                let mut older = sublevels[..i]
                    .iter()
                    .flat_map(|run| run.overlapping(span.start, span.end));
                if span.is_within(rewritten)
                    && self.room.is_none_or(|room| len + table.len <= room)
                    && !self.running.is_busy(table)
                    && !is_taken(table)
                    && older.all(is_taken)
                {
                    len += table.len;
                    taken.push(table);
                }
            }
        }
    }

    /// Bytes rewritten for each byte that leaves L0.
    fn cost(&self, plan: &CompactionPlan) -> f64 {
        let leaving: u64 = plan.inputs[0].1.iter().map(|table| table.len).sum();
        plan.input_len() as f64 / leaving.max(1) as f64
    }

    /// Makes one sublevel of many, where tables pile up and the base level is busy.
    ///
    /// The tables are all those of a stretch of time: whatever is not among them is older than them
    /// all or newer than them all, and so stays below or above the outcome.
    pub(super) fn pick_intra_l0(&self) -> Option<CompactionPlan> {
        let sublevels = self.version.sublevels().iter().enumerate();
        let mut tables: Vec<_> = sublevels
            .flat_map(|(sublevel, run)| run.tables().iter().map(move |table| (sublevel, table)))
            .collect();
        tables.sort_unstable_by_key(|(_, table)| Reverse((table.last_seq, table.number)));
        let is_free = |at: &usize| !self.running.is_busy(tables[*at].1);
        let cuts = cuts(tables.iter().map(|(_, table)| *table));
        let begin = (0..tables.len()).find(|at| cuts[*at] && is_free(at))?;
        // Bytes written for each sublevel less, where the stretch ends here.
        let (mut len, mut depth) = (0, BTreeSet::new());
        let mut best = None;
        for at in (begin..tables.len()).take_while(is_free) {
            let (sublevel, table) = tables[at];
            len += table.len;
            depth.insert(sublevel);
            if len > self.len_max() {
                break;
            }
            if cuts[at + 1] && depth.len() >= INTRA_DEPTH_MIN {
                let cost = len as f64 / (depth.len() - 1) as f64;
                if best.is_none_or(|(_, least)| cost <= least) {
                    best = Some((at + 1, cost));
                }
            }
        }
        let (end, _) = best?;
        let chosen = tables[begin..end].iter();
        let inputs = vec![(0, chosen.map(|(_, table)| Arc::clone(table)).collect())];
        self.admitted(CompactionKind::IntraL0, inputs, 0)
    }

    /// Whether L0 has piled up so far that compacting it within itself helps.
    pub(super) fn l0_piles_up(&self) -> bool {
        self.version.sublevels().len() >= self.options.l0_trigger + INTRA_EXCESS
    }
}

/// Where the tables of L0, newest first, can be parted into older and newer ones, the ends included:
/// tables that were flushed together share their time.
fn cuts<'a>(tables: impl Iterator<Item = &'a Arc<Table>>) -> Vec<bool> {
    let mut oldest_so_far = None;
    let mut cuts: Vec<_> = tables
        .map(|table| {
            let is_cut = oldest_so_far.is_none_or(|oldest| oldest > table.last_seq);
            oldest_so_far = Some(oldest_so_far.map_or(table.first_seq, |o| table.first_seq.min(o)));
            is_cut
        })
        .collect();
    cuts.push(true);
    cuts
}

fn cloned(tables: &[&Arc<Table>]) -> Vec<Arc<Table>> {
    tables.iter().map(|table| Arc::clone(table)).collect()
}
