//! What can be chosen when a store or a keyspace is opened, and what each choice trades.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringwood_env::{Clock, Disk, Random, RealDisk, SystemClock, SystemRandom, UnixMillis};

use crate::error::{Error, Result};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk: it survives a power cut.
    #[default]
    Synced,
    /// When the operating system has it: it survives the end of the process, not a power cut. A
    /// later synced write makes every earlier one durable too.
    Buffered,
}

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: fast in both directions.
    #[default]
    Lz4,
    /// Zstandard at this level (1 to 19): smaller, several times slower to write.
    Zstd(i8),
}

/// How a store is opened. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; one store each.
    pub path: PathBuf,
    /// Make a store where there is none (on). Otherwise that is [`Error::NotFound`].
    pub create: bool,
    /// ALL memory the engine may hold: memtables, block cache, open tables, write buffers, and what
    /// compactions need. More means fewer disk reads; the process's own few MiB come on top.
    pub memory_budget: usize,
    /// A memtable is written out at this size. Larger ones mean less compaction and a longer replay. On a
    /// disk of less than about 16 GiB memtables, segments and tables are shorter, to leave room for
    /// compactions.
    /// `None`: an eighth of the budget, between 256 KiB and 64 MiB.
    pub memtable_len: Option<usize>,
    /// Greatest length of a log segment, a multiple of 4 KiB; also the longest batch, nearly. Segments
    /// begin with 256 KiB and grow with the rate of writes; they are written with zeros once and
    /// recycled.
    pub log_segment_len: u64,
    /// When the log is longer than this, the memtable that holds its oldest part is written out.
    /// `None`: four memtables.
    pub log_len_max: Option<u64>,
    /// Threads for flushes and compactions, beside the one that writes the log. 0: no threads at
    /// all; the caller takes jobs with `next_job` and runs them.
    pub threads: usize,
    /// Most bytes a second that flushes and compactions write together. `None`: no limit.
    pub background_rate: Option<u64>,
    /// Most tables open at once; each takes a file descriptor and a few KiB of the budget.
    pub open_tables_max: usize,
    /// By keyspace: who decides what may be forgotten once it has expired. Code, so it is given at
    /// each open.
    pub expiry_filters: BTreeMap<String, Arc<dyn ExpiryFilter>>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The clock that deadlines are compared with.
    pub clock: Arc<dyn Clock>,
    /// How far the wall clock is followed beyond what monotonic time says has passed, at least 1 s. One
    /// that leaps ahead by more would expire everything for good: the store's time goes on at the pace
    /// of monotonic time then, until the clock is set right or the store is opened again.
    pub clock_leap_max: Duration,
    /// Draws the store's identity and the log's salts.
    pub random: Arc<dyn Random>,
}

impl Options {
    /// Defaults for a store in `path` on the real disk, with a budget of 512 MiB.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            create: true,
            memory_budget: 512 * MIB,
            memtable_len: None,
            log_segment_len: 64 * MIB as u64,
            log_len_max: None,
            threads: 2,
            background_rate: None,
            open_tables_max: 4096,
            expiry_filters: BTreeMap::new(),
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
            clock_leap_max: Duration::from_secs(3600),
            random: Arc::new(SystemRandom),
        }
    }

    /// Bytes at which a memtable is full.
    pub(crate) fn memtable_len(&self) -> usize {
        self.memtable_len
            .unwrap_or_else(|| (self.memory_budget / 8).clamp(256 * KIB, 64 * MIB))
    }

    /// Bytes of log that ask for a flush.
    pub(crate) fn log_len_max(&self) -> u64 {
        self.log_len_max
            .unwrap_or(4 * self.memtable_len() as u64)
            .max(2 * self.log_segment_len)
    }

    /// The path of a file of this store.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Checks what an opening refuses before it touches the disk.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn validate(&self) -> Result<()> {
        let fail = |option, why| Err(Error::InvalidOption { option, why });
        if !self.log_segment_len.is_multiple_of(4096) || self.log_segment_len < 16 << 10 {
            return fail(
                "log_segment_len",
                "must be a multiple of 4096, and at least 16384",
            );
        }
        if self.log_segment_len > 1 << 30 {
            return fail("log_segment_len", "must be at most 1 GiB");
        }
        if self.memory_budget < MIB {
            return fail("memory_budget", "must be at least 1 MiB");
        }
        if self.memtable_len() > self.memory_budget / 2 {
            return fail("memtable_len", "must be at most half of memory_budget");
        }
        if self.open_tables_max < 16 {
            return fail("open_tables_max", "must be at least 16");
        }
        if self.clock_leap_max < Duration::from_secs(1) {
            return fail("clock_leap_max", "must be at least 1 s");
        }
        if self.background_rate == Some(0) {
            return fail("background_rate", "must be more than 0");
        }
        Ok(())
    }
}

/// Says which expired entries may leave the store for good.
///
/// An expired entry is hidden from reads at once, and a compaction drops its value. The key's
/// tombstone stays until this filter lets it go; a plain keyspace has none, which means always.
pub trait ExpiryFilter: Debug + Send + Sync {
    /// Whether nothing needs to remember that `key` expired at `deadline`.
    fn may_forget(&self, key: &[u8], deadline: UnixMillis) -> bool;
}

/// How a keyspace is stored. Kept in the manifest when the keyspace is created, but for the filter.
#[derive(Clone, Debug)]
pub struct KeyspaceOptions {
    /// Bytes of a data block before compression, 1 KiB to 64 KiB. Smaller ones read less for a
    /// point, larger ones compress better and need less index.
    pub block_len: usize,
    /// For every level but the lowest.
    pub compression: Compression,
    /// For the lowest level, where most data lies.
    pub bottom_compression: Compression,
    /// Filter bits for each key: 10 lets about one in a hundred missing keys through. 0: no filter.
    pub filter_bits_per_key: u8,
    /// Bytes at which a table is full.
    pub table_len: u64,
    /// How many times larger each level is than the one above.
    pub level_ratio: u32,
    /// Sublevels of L0 that ask for a compaction.
    pub l0_trigger: usize,
    /// Sublevels of L0 at which writes stop until compaction catches up.
    pub l0_stop: usize,
    /// See [`ExpiryFilter`].
    pub expiry_filter: Option<Arc<dyn ExpiryFilter>>,
}

impl Default for KeyspaceOptions {
    fn default() -> Self {
        Self {
            block_len: 4 * KIB,
            compression: Compression::Lz4,
            bottom_compression: Compression::Lz4,
            filter_bits_per_key: 10,
            table_len: 64 * MIB as u64,
            level_ratio: 10,
            l0_trigger: 4,
            l0_stop: 24,
            expiry_filter: None,
        }
    }
}

impl KeyspaceOptions {
    /// Checks what making a keyspace refuses before it touches the disk.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn validate(&self) -> Result<()> {
        let fail = |option, why| Err(Error::InvalidOption { option, why });
        if !(KIB..=64 * KIB).contains(&self.block_len) {
            return fail("block_len", "must be from 1 KiB to 64 KiB");
        }
        if self.table_len < 4 * KIB as u64 {
            return fail("table_len", "must be at least 4 KiB");
        }
        if !(2..=100).contains(&self.level_ratio) {
            return fail("level_ratio", "must be from 2 to 100");
        }
        if self.l0_trigger == 0 || self.l0_stop <= self.l0_trigger {
            return fail(
                "l0_stop",
                "must be more than l0_trigger, which must be at least 1",
            );
        }
        if self.filter_bits_per_key > 32 {
            return fail("filter_bits_per_key", "must be at most 32");
        }
        for compression in [self.compression, self.bottom_compression] {
            if matches!(compression, Compression::Zstd(level) if !(1..=19).contains(&level)) {
                return fail("compression", "zstd levels go from 1 to 19");
            }
        }
        Ok(())
    }
}
