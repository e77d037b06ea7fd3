//! What the store counts, and the picture of it that operators see.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Corruption;

/// A count that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a [`Latency`]'s buckets, in microseconds; the last bucket has none.
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600,
    1_638_400,
];

/// How long something took, by bucket.
#[derive(Debug, Default)]
pub(crate) struct LatencyCounter {
    buckets: [Counter; LATENCY_BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl LatencyCounter {
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < micros);
        self.buckets[bucket].add(1);
        self.sum_us.add(micros);
    }

    pub(crate) fn read(&self) -> Latency {
        let counts = std::array::from_fn(|bucket| self.buckets[bucket].get());
        Latency {
            counts,
            sum_us: self.sum_us.get(),
        }
    }
}

/// How long something took: counts by bucket, see [`LATENCY_BOUNDS_US`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Events in each bucket.
    pub counts: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of all, in microseconds.
    pub sum_us: u64,
}

/// Counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) log_sync: LatencyCounter,
    /// Writes that waited for a log segment to be made.
    pub(crate) log_waits: Counter,
    /// Submissions refused for want of speed.
    pub(crate) stalls: Counter,
    pub(crate) gets: Counter,
    pub(crate) gets_from_memtable: Counter,
    pub(crate) flushes: Counter,
    pub(crate) flush_bytes: Counter,
    pub(crate) compactions: Counter,
    pub(crate) compaction_read_bytes: Counter,
    pub(crate) compaction_written_bytes: Counter,
    pub(crate) job_failures: Counter,
}

/// How far a checkpoint has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointProgress {
    /// Tables that the copy consists of.
    pub tables: u64,
    /// Those that are there.
    pub tables_done: u64,
    /// Bytes of all tables.
    pub bytes: u64,
    /// Bytes of what is there.
    pub bytes_done: u64,
    /// Bytes that had to be copied, as the directory lies on another file system.
    pub bytes_copied: u64,
}

/// What a store holds and does, at one moment. Counts are since it was opened; sizes are in bytes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Keyspace by keyspace.
    pub keyspaces: Vec<KeyspaceStatistics>,
    /// Who holds how much of the memory budget, the cache among them.
    pub memory: Vec<(&'static str, usize)>,
    /// The whole budget.
    pub memory_budget: usize,
    /// Block cache: blocks that were in it when they were wanted.
    pub cache_hits: u64,
    /// Block cache: blocks that were not.
    pub cache_misses: u64,
    /// Tables open now.
    pub open_tables: usize,
    /// How many may be: what was asked for, or fewer where the system allows few open files.
    pub open_tables_max: usize,
    /// Log segments that are still needed.
    pub log_segments: usize,
    /// What all log segments take on the disk, those that are kept for another use too.
    pub log_disk_bytes: u64,
    /// What was written to the log, padding included.
    pub log_bytes: u64,
    /// Padding among it.
    pub log_padding_bytes: u64,
    /// Times the log was synced.
    pub log_syncs: u64,
    /// How long writing and syncing a group took.
    pub log_sync_latency: Latency,
    /// Writes that waited for a log segment to be made.
    pub log_waits: u64,
    /// Writes that were kept waiting, or refused, while background work was behind.
    pub stalls: u64,
    /// Keys looked up.
    pub gets: u64,
    /// Of these, found in a memtable.
    pub gets_from_memtable: u64,
    /// Memtables written out.
    pub flushes: u64,
    /// Bytes written by that.
    pub flush_bytes: u64,
    /// Compactions, moves among them.
    pub compactions: u64,
    /// Bytes of tables that compactions read.
    pub compaction_read_bytes: u64,
    /// Bytes of tables that compactions wrote.
    pub compaction_written_bytes: u64,
    /// Background work that failed; it was or will be tried again.
    pub job_failures: u64,
    /// Damaged tables that compactions met and leave alone until the store is opened again.
    pub damaged_tables: Vec<Corruption>,
    /// Whether only reads and deletes go on for want of room on the disk.
    pub disk_full: bool,
    /// Bytes still free on the disk, where it says.
    pub disk_available: Option<u64>,
    /// Snapshots held.
    pub snapshots: usize,
    /// Milliseconds that the machine's clock leapt ahead of what has passed, while it is not followed;
    /// else 0. See [`Options::clock_leap_max`](crate::Options::clock_leap_max).
    pub clock_held_back_ms: u64,
    /// Milliseconds that the machine's clock is behind the store's time, which waits for it.
    pub clock_behind_ms: u64,
}

/// One keyspace's part.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct KeyspaceStatistics {
    /// Its name.
    pub name: String,
    /// Bytes in the memtable that takes writes.
    pub memtable_bytes: usize,
    /// Entries of all memtables, deletes and hidden ones included.
    pub memtable_entries: u64,
    /// Memtables waiting to be written out.
    pub sealed_memtables: usize,
    /// Level by level, L0 first.
    pub levels: Vec<LevelStatistics>,
    /// Sublevels of L0: what a read may have to look into there.
    pub l0_sublevels: usize,
    /// Bytes that must be rewritten before all levels are in shape.
    pub compaction_debt: u64,
    /// Entries in tables, deletes and hidden ones included.
    pub table_entries: u64,
}

/// One level's part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelStatistics {
    /// Number of tables.
    pub tables: usize,
    /// Their bytes.
    pub bytes: u64,
}
