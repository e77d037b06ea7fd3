//! What can be chosen when a node is brought up.

use std::path::PathBuf;
use std::time::Duration;

use ringwood_lsm::{KeyspaceOptions, MAX_VALUE_LEN, Options};
use ringwood_types::{PartitionCount, RecordHead, Ring};

use crate::cursor::Secret;
use crate::error::OpenError;

/// What a cluster fixed when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub(crate) ring: Ring,
    pub(crate) secret: Secret,
}

impl Fixed {
    /// Where its keys belong, and what it signs cursors with.
    #[must_use]
    pub const fn new(ring: Ring, cursor_secret: [u8; 32]) -> Self {
        Self {
            ring,
            secret: Secret(cursor_secret),
        }
    }
}

const VALUE_LEN_GREATEST: usize = MAX_VALUE_LEN - RecordHead::OVERHEAD_MAX;
const _: () = assert!(VALUE_LEN_GREATEST == 16_776_933, "as it is told below");
/// Room beside a value in the log, for its key and what is known of it.
const BESIDES_VALUE: usize = 4 << 10;

/// How a node is brought up. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The engine below: directory, memory budget, threads, disk, clock and
    /// random source, which ids and secrets are drawn from.
    pub engine: Options,
    /// How the data is laid out, when the store is made.
    pub data: KeyspaceOptions,
    /// The number of partitions. `None`: as the store has it, 256 for a new one.
    pub partitions: Option<PartitionCount>,
    /// For a new store: the cluster that it is to be a part of. `None`: it is the first of its own.
    pub joins: Option<Fixed>,
    /// Longest value that is taken, up to 16 MiB less 283 bytes; see [`NodeConfig::value_len_greatest`].
    pub value_len_max: usize,
    /// Most items of a batch.
    pub batch_items_max: usize,
    /// Most namespaces; those that are there already stay. Each is held in memory.
    pub namespaces_max: usize,
    /// Most entries of a page.
    pub page_entries_max: usize,
    /// A page ends when its keys and values are longer than this.
    pub page_len_max: usize,
    /// Most memory that scans between two pages hold together, on top of the engine's budget.
    pub parked_scans_len: usize,
    /// How long a scan is kept warm for its next page; it keeps deleted data from being freed.
    pub parked_scans_time: Duration,
    /// Called when nothing was written for a while and memtables are written out: the time to hand
    /// memory back to the system. Which allocator there is, the program knows.
    pub on_rest: fn(),
    /// How far ahead of this node's clock another node's may be.
    pub clock_skew_max: Duration,
}

impl NodeConfig {
    /// Defaults for a node in `path` on the real disk.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            engine: Options::new(path),
            data: KeyspaceOptions::default(),
            partitions: None,
            joins: None,
            value_len_max: 1 << 20,
            batch_items_max: 10_000,
            namespaces_max: 1024,
            page_entries_max: 10_000,
            page_len_max: 8 << 20,
            parked_scans_len: 16 << 20,
            parked_scans_time: Duration::from_secs(10),
            on_rest: || {},
            clock_skew_max: Duration::from_millis(500),
        }
    }

    /// The greatest [`NodeConfig::value_len_max`] with which values of that length can be stored, and their keys
    /// where those are of some hundred bytes. A node comes up with a greater one too, and refuses what does not fit.
    #[must_use]
    pub fn value_len_greatest(&self) -> usize {
        let of_log = self.batch_len_max().saturating_sub(BESIDES_VALUE);
        of_log.min(VALUE_LEN_GREATEST)
    }

    /// Most bytes that the writes of a batch take in the log.
    pub(crate) fn batch_len_max(&self) -> usize {
        // A batch must fit one log segment, with what the log adds; half leaves room.
        usize::try_from(self.engine.log_segment_len).unwrap_or(usize::MAX) / 2
    }

    /// Checks what bringing a node up refuses before it touches the disk.
    ///
    /// # Errors
    /// [`OpenError::InvalidOption`], or the engine's of that name.
    pub fn validate(&self) -> Result<(), OpenError> {
        self.engine.validate()?;
        self.data.validate()?;
        let fail = |option, why| Err(OpenError::InvalidOption { option, why });
        if self.value_len_max > VALUE_LEN_GREATEST {
            return fail(
                "value_len_max",
                "must be at most 16776933 bytes, 16 MiB less 283",
            );
        }
        if self.batch_items_max == 0 {
            return fail("batch_items_max", "must be at least 1");
        }
        if self.namespaces_max == 0 {
            return fail(
                "namespaces_max",
                "must be at least 1, the default namespace",
            );
        }
        if self.page_entries_max == 0 {
            return fail("page_entries_max", "must be at least 1");
        }
        Ok(())
    }
}
