//! Flushes and compactions, from what the store is to what it becomes.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringwood_env::{Clock, Disk};

use crate::budget::Consumer;
use crate::compaction::files::TableFiles;
use crate::compaction::job::{Compacted, Compaction};
use crate::compaction::output::Cuts;
use crate::compaction::retain::Retention;
use crate::compaction::{CompactionKind, CompactionPlan, InProgress, ManualCompaction, Picker};
use crate::cursor::{BlockRead, Cursor, ReadTier};
use crate::error::{Error, Result};
use crate::files::FileNumber;
use crate::flush::Flush;
use crate::iter::{LevelCursor, MergeCursor};
use crate::jobs::{ManualJob, WorkKind};
use crate::key::SeqNo;
use crate::keyspaces::OpenKeyspace;
use crate::manifest::{LEVELS, Version};
use crate::plant::{Pause, Plant, is_planted, pause};
use crate::range_tombstone::{RangeTombstones, Readers};
use crate::rate::Urgency;
use crate::sstable::{TableOptions, TableOwner};
use crate::store::Store;
use crate::tables::TableRun;

/// Read this much at once of a compaction's inputs.
const READ_AHEAD: usize = 256 << 10;
/// What an output table takes until it is finished: its write buffer, index and key hashes.
const OUTPUT_BUFFERS: usize = 4 << 20;

impl Store {
    /// Writes out the memtables of a keyspace that are sealed now, as tables of L0.
    pub(crate) fn flush_keyspace(&self, keyspace: &OpenKeyspace) -> Result<()> {
        let early = is_planted(Plant::MomentsBeforeInputs).then(|| {
            let moments = self.moments();
            pause(Pause::Flush);
            moments
        });
        // ORDER: the inputs first: then each of them is older than any moment that `moments` may miss.
        let view = keyspace.view_owned();
        pause(Pause::Flush);
        let memtables = &self.jobs.flushable(&view.sealed);
        if memtables.is_empty() {
            return Ok(());
        }
        let memtables_only: Vec<_> = memtables.iter().map(|one| Arc::clone(&one.table)).collect();
        let flush = Flush {
            memtables: &memtables_only,
            snapshots: early.unwrap_or_else(|| self.moments()),
            expiry_filter: keyspace.options.expiry_filter.clone(),
            now: self.clock.wall(),
            cuts: Cuts::at(u64::MAX, []),
            tables: self.new_tables(keyspace, false),
            rate: &self.rate,
            // Not cut short by closing: it is not long, and the next open would do it again.
            cancelled: &NEVER,
        };
        let made = flush.run()?.expect("it is never cancelled");
        self.counters.flushes.add(1);
        self.counters.flush_bytes.add(made.statistics.bytes_written);
        self.install_flush(keyspace, memtables, made.tables)
    }

    /// Decides what of a keyspace is compacted next.
    pub(crate) fn picker<'a>(
        &self,
        keyspace: &'a OpenKeyspace,
        version: &'a Version,
        running: &'a InProgress,
    ) -> Picker<'a> {
        let oldest = self.snapshots.seqs().first().copied();
        let oldest = oldest.unwrap_or_else(|| self.commit.published());
        Picker::new(
            version,
            &keyspace.options,
            running,
            self.clock.wall(),
            oldest,
        )
    }

    /// Does what a plan says.
    pub(crate) fn compact(&self, keyspace: &OpenKeyspace, plan: &CompactionPlan) -> Result<()> {
        let inputs: Vec<_> = plan
            .inputs
            .iter()
            .flat_map(|(level, tables)| tables.iter().map(|table| (*level, Arc::clone(table))))
            .collect();
        self.counters.compactions.add(1);
        if plan.kind == CompactionKind::TrivialMove {
            return self.install_move(keyspace, &inputs, plan.output_level);
        }
        // Each input reads ahead, and an output is written through buffers of its own.
        let buffers = READ_AHEAD * inputs.len() + OUTPUT_BUFFERS;
        let _buffers = self.budget.reserve(Consumer::Compactions, buffers);
        let view = keyspace.view_owned();
        let older_below = |first: &[u8], last: &[u8]| {
            // L0 may hold older tables that this compaction leaves alone.
            let within_l0 = plan.output_level == 0;
            let last = Bound::Included(last);
            let mut below = plan.output_level + 1..LEVELS;
            within_l0
                || below.any(|level| {
                    view.version
                        .overlapping(level, first, last)
                        .next()
                        .is_some()
                })
        };
        let retention = self.retention(keyspace, &older_below);
        let compaction = Compaction {
            inputs: self.compaction_inputs(plan)?,
            tombstones: self.compaction_tombstones(plan, &retention.snapshots)?,
            retention,
            cuts: Cuts::beside(
                plan.table_len,
                plan.grandparents.iter().map(|table| &**table.meta()),
            ),
            tables: self.new_tables(keyspace, plan.is_bottom),
            rate: &self.rate,
            urgency: Urgency::Compaction,
            cancelled: &self.jobs.stopping,
        };
        let Some(Compacted { tables, statistics }) = compaction.run()? else {
            return Ok(());
        };
        self.counters.compaction_read_bytes.add(plan.input_len());
        self.counters
            .compaction_written_bytes
            .add(statistics.bytes_written);
        tracing::debug!(
            keyspace = keyspace.name,
            kind = ?plan.kind,
            to = plan.output_level,
            inputs = inputs.len(),
            outputs = tables.len(),
            ?statistics,
            "compacted"
        );
        self.install_compaction(keyspace, &inputs, plan.output_level, tables)
    }

    /// Merges everything written so far into the lowest level.
    pub(crate) fn compact_all(&self, keyspace: &Arc<OpenKeyspace>) -> Result<()> {
        self.flush_all()?;
        let wish = ManualCompaction {
            start: Vec::new(),
            end: Bound::Unbounded,
            upto: self.commit.published(),
            since: self.manifest().numbers().next(),
        };
        loop {
            keyspace.check_alive()?;
            self.check_writable()?;
            if self.jobs.stopping.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            match self.next_manual_job(keyspace, &wish) {
                ManualJob::Done => return Ok(()),
                ManualJob::Damaged(damage) => return Err(damage.into()),
                ManualJob::Run(job) => self.run_job(job)?,
                ManualJob::WaitFor(job_end) => {
                    let kinds = [WorkKind::Flush(keyspace.id), WorkKind::Compact(keyspace.id)];
                    self.work_until(&kinds, |store| store.jobs.ended() >= job_end)?;
                }
            }
        }
    }

    fn compaction_inputs(&self, plan: &CompactionPlan) -> Result<MergeCursor> {
        let read = BlockRead {
            fill_cache: false,
            read_ahead: READ_AHEAD,
            ..BlockRead::default()
        };
        let mut sources: Vec<Box<dyn Cursor>> = Vec::new();
        for (level, tables) in &plan.inputs {
            if *level == 0 {
                // Tables of L0 may overlap: each is a source of its own.
                for table in tables {
                    sources.push(Box::new(
                        self.tables.reader(table, ReadTier::Disk)?.cursor(read),
                    ));
                }
            } else {
                let run = TableRun::new(tables, Arc::clone(&self.tables), read);
                sources.push(Box::new(LevelCursor::new(run)));
            }
        }
        Ok(MergeCursor::new(sources))
    }

    /// The range deletes of all inputs, as far as `moments` tell them apart.
    fn compaction_tombstones(
        &self,
        plan: &CompactionPlan,
        moments: &[SeqNo],
    ) -> Result<Arc<RangeTombstones>> {
        let mut sets = Vec::new();
        for table in plan.tables().filter(|table| table.range_deletes > 0) {
            sets.push(Arc::clone(
                self.tables
                    .reader(table, ReadTier::Disk)?
                    .range_tombstones(),
            ));
        }
        Ok(RangeTombstones::merged(&sets, Readers::At(moments)))
    }

    fn retention<'a>(
        &self,
        keyspace: &OpenKeyspace,
        older_below: &'a (dyn Fn(&[u8], &[u8]) -> bool + Sync),
    ) -> Retention<'a> {
        Retention {
            snapshots: self.moments(),
            older_below,
            expiry_filter: keyspace.options.expiry_filter.clone(),
            now: self.clock.wall(),
        }
    }

    /// The moments that readers see, or may come to see: every snapshot, and what is published now.
    /// Asked once the inputs are decided on: a snapshot taken later sees the newest change of each key
    /// in them, which is kept.
    pub(crate) fn moments(&self) -> Vec<SeqNo> {
        let (published, mut moments) = if is_planted(Plant::PublishedAfterSnapshots) {
            let listed = self.snapshots.seqs();
            pause(Pause::Moments);
            (self.commit.published(), listed)
        } else {
            // Published first: a snapshot taken in between is then newer, or in the list.
            let published = self.commit.published();
            pause(Pause::Moments);
            (published, self.snapshots.seqs())
        };
        if let Err(at) = moments.binary_search(&published) {
            moments.insert(at, published);
        }
        moments
    }

    fn new_tables(
        &self,
        keyspace: &OpenKeyspace,
        is_bottom: bool,
    ) -> TableFiles<impl FnMut() -> FileNumber> {
        let numbers = Arc::clone(self.manifest().numbers());
        let owner = TableOwner {
            id: keyspace.id,
            name: keyspace.name.as_str().into(),
        };
        TableFiles::new(
            Arc::clone(&self.disk) as Arc<dyn Disk>,
            self.options.path.clone(),
            TableOptions::new(owner, &keyspace.options, is_bottom),
            self.clock.wall(),
            move || numbers.issue(),
        )
    }
}

static NEVER: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
