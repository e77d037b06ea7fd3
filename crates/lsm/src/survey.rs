//! Takes the picture of an open store that operators see, and measures parts of it.

use std::ops::Bound;

use ringwood_env::Disk;

use crate::compaction;
use crate::cursor::ReadTier;
use crate::error::Result;
use crate::keyspaces::OpenKeyspace;
use crate::locks::lock;
use crate::manifest::LEVELS;
use crate::statistics::{KeyspaceStatistics, LevelStatistics, Statistics};
use crate::store::Store;

impl Store {
    /// The picture of now.
    pub(crate) fn statistics(&self) -> Statistics {
        let counters = &self.counters;
        let log = self.log().statistics();
        let cache = self.cache.statistics();
        let reserved = self
            .budget
            .usage()
            .map(|(consumer, bytes)| (consumer.name(), bytes));
        // Each lock is let go before the next is taken: a guard inside of the literal below would live to its
        // end, and others take these locks in another order.
        let log_segments = self.manifest().state().logs.len();
        let log_disk_bytes = lock(&self.segments).bytes();
        let damaged_tables = self.jobs.damaged_tables();
        let memory = reserved
            .into_iter()
            .chain([("cache", cache.used)])
            .collect();
        Statistics {
            keyspaces: self
                .keyspaces
                .all()
                .values()
                .map(|one| keyspace(one))
                .collect(),
            memory,
            memory_budget: self.options.memory_budget,
            cache_hits: cache.hits.iter().sum(),
            cache_misses: cache.misses,
            open_tables: self.tables.open_count(),
            open_tables_max: self.tables.open_max(),
            log_segments,
            log_disk_bytes,
            log_bytes: log.bytes_written,
            log_padding_bytes: log.padding_bytes,
            log_syncs: log.syncs,
            log_sync_latency: counters.log_sync.read(),
            log_waits: counters.log_waits.get(),
            stalls: counters.stalls.get() + self.pressure.waits(),
            gets: counters.gets.get(),
            gets_from_memtable: counters.gets_from_memtable.get(),
            flushes: counters.flushes.get(),
            flush_bytes: counters.flush_bytes.get(),
            compactions: counters.compactions.get(),
            compaction_read_bytes: counters.compaction_read_bytes.get(),
            compaction_written_bytes: counters.compaction_written_bytes.get(),
            job_failures: counters.job_failures.get(),
            damaged_tables,
            disk_full: self.space.is_short(),
            disk_available: self.disk.available_space(&self.options.path).ok(),
            snapshots: self.snapshots.seqs().len(),
            clock_held_back_ms: self.clock.held_back_ms(),
            clock_behind_ms: self.clock.behind_ms(),
        }
    }
}

impl Store {
    /// Bytes of tables that hold what lies from `start` up to `end`, give or take a block at either end
    /// of each run.
    pub(crate) fn approximate_len(
        &self,
        keyspace: &OpenKeyspace,
        start: &[u8],
        end: &[u8],
    ) -> Result<u64> {
        keyspace.check_alive()?;
        let view = keyspace.view_owned();
        let tables = view
            .version
            .runs()
            .flat_map(|run| run.overlapping(start, Bound::Excluded(end)));
        let mut len = 0;
        for table in tables {
            len += if start <= table.smallest().user && table.largest().user < end {
                table.len
            } else {
                let reader = self.tables.reader(table, ReadTier::Disk)?;
                reader
                    .offset_of(end)?
                    .saturating_sub(reader.offset_of(start)?)
            };
        }
        Ok(len)
    }
}

fn keyspace(keyspace: &OpenKeyspace) -> KeyspaceStatistics {
    let view = keyspace.view();
    let version = &view.version;
    let mut levels = vec![LevelStatistics::default(); LEVELS];
    let mut table_entries = 0;
    for (level, table) in version.tables() {
        levels[level].tables += 1;
        levels[level].bytes += table.len;
        table_entries += table.entries;
    }
    KeyspaceStatistics {
        name: keyspace.name.clone(),
        memtable_bytes: view.active.table.memory_used(),
        memtable_entries: view.memtables().map(|one| one.table.len() as u64).sum(),
        sealed_memtables: view.sealed.len(),
        levels,
        l0_sublevels: version.sublevels().len(),
        compaction_debt: compaction::debt(version, &keyspace.options),
        table_entries,
    }
}
