//! How much of its disk a store takes for what, and whether there is room for new data.
//!
//! A full disk makes the store read-only, not broken, and deletes always end in room. For that, two
//! things hold: no single piece of a store is so large, measured by its disk, that it could not be written
//! anew beside the old one; and puts are refused while there is still room for what has to be written
//! before anything can go: the memtables, and a compaction.
//!
//! *Invariants*
//! - `space-1`: puts are refused while the disk has less room than [`Share::kept_free`] and what is in
//!   memory take together.
//! - `space-2`: while they are refused, nothing is kept for speed, what is in memory is written out so that
//!   its log can go, and compactions are those that end in room, however little it is. One that did not
//!   fit although it should have gives way to others.
//! - `space-3`: where room is tight, what comes of a compaction fits, and leaves room for deletes to be
//!   logged and written out. Where even that is taken (by others on the disk) a delete is refused: it
//!   never waits for ever.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwood_env::Disk;

use crate::options::Options;
use crate::wal::FIRST_LEN;

/// The parts of a disk that log segments, memtables and tables have at most; and that stays free.
const LOG_PARTS: u64 = 8;
const SEGMENT_PARTS: u64 = 32;
const MEMTABLE_PARTS: u64 = 64;
const TABLE_PARTS: u64 = 128;
const KEPT_FREE_PARTS: u64 = 8;
/// However small the disk is, a memtable may have so many bytes, and a table.
const MEMTABLE_LEN_LEAST: u64 = 1 << 20;
const TABLE_LEN_LEAST: u64 = 512 << 10;
/// However large the disk is, no more is kept free: room for several compactions at once.
const KEPT_FREE_MOST: u64 = 4 << 30;

/// Room is tight where there is less than so many times what must be free.
const TIGHT: u64 = 2;

/// What a store takes of the disk it lies on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Bytes of the store, and those that are free. `u64::MAX`: the disk cannot say.
    capacity: u64,
}

impl Share {
    /// Asks the disk, once: as long as the store is open its parts are measured by what was then.
    pub(crate) fn of(disk: &dyn Disk, directory: &Path) -> Self {
        let own = disk
            .read_dir(directory)
            .map_or(0, |files| files.iter().map(|file| file.len).sum());
        let capacity = disk
            .available_space(directory)
            .map_or(u64::MAX, |free| free.saturating_add(own));
        Self { capacity }
    }

    /// Greatest length of a log segment, but for one that a single group asks for.
    pub(crate) fn segment_len_max(self, options: &Options) -> u64 {
        let part = (self.capacity / SEGMENT_PARTS).max(FIRST_LEN);
        // Few lengths, so that obsolete segments can be used again.
        let power = 1 << part.ilog2();
        options.log_segment_len.min(power)
    }

    /// Bytes at which a memtable is full.
    pub(crate) fn memtable_len(self, options: &Options) -> usize {
        let part = (self.capacity / MEMTABLE_PARTS).max(MEMTABLE_LEN_LEAST);
        usize::try_from(part).map_or(options.memtable_len(), |part| {
            options.memtable_len().min(part)
        })
    }

    /// Bytes of log that ask for a flush.
    pub(crate) fn log_len_max(self, options: &Options) -> u64 {
        let least = 2 * self.segment_len_max(options);
        options
            .log_len_max()
            .min((self.capacity / LOG_PARTS).max(least))
    }

    /// Bytes at which a table is full, where `wanted` is what its keyspace asks for.
    pub(crate) fn table_len(self, wanted: u64) -> u64 {
        wanted.min((self.capacity / TABLE_PARTS).max(TABLE_LEN_LEAST))
    }

    /// Bytes of those kept free that are for deletes while puts are refused: as much log they may make, and
    /// as much compactions leave to the log and to flushes.
    pub(crate) fn kept_for_deletes(self) -> u64 {
        self.kept_free() / 4
    }

    /// Bytes that stay free for compactions.
    pub(crate) fn kept_free(self) -> u64 {
        (self.capacity / KEPT_FREE_PARTS).min(KEPT_FREE_MOST)
    }
}

/// What is known of the room left.
#[derive(Debug, Default)]
pub(crate) struct Space {
    short: AtomicBool,
    tight: AtomicBool,
}

impl Space {
    /// Whether puts are refused.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Whether it will soon be short: what has been deleted should go first.
    pub(crate) fn is_tight(&self) -> bool {
        self.tight.load(Ordering::Relaxed)
    }

    /// A write failed for want of room.
    pub(crate) fn note_full(&self) {
        self.tight.store(true, Ordering::Relaxed);
        if !self.short.swap(true, Ordering::Relaxed) {
            tracing::warn!("the disk is full: only reads and deletes until there is room again");
        }
    }

    /// Asks the disk whether `wanted` bytes are free.
    pub(crate) fn look(&self, disk: &dyn Disk, directory: &Path, wanted: u64) -> bool {
        // A disk that cannot say is taken to have room: a write will tell.
        let free = disk.available_space(directory).unwrap_or(u64::MAX);
        let enough = free >= wanted;
        self.tight.store(free / TIGHT < wanted, Ordering::Relaxed);
        if !enough {
            self.note_full();
        } else if self.short.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk has room again: writes go on");
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(capacity: u64) -> Share {
        Share { capacity }
    }

    #[test]
    fn on_a_large_disk_everything_is_as_configured() {
        let options = Options::new("");
        for capacity in [u64::MAX, 1 << 40, 64 << 30] {
            let share = share(capacity);
            assert_eq!(share.segment_len_max(&options), options.log_segment_len);
            assert_eq!(share.memtable_len(&options), options.memtable_len());
            assert_eq!(share.log_len_max(&options), options.log_len_max());
            assert_eq!(share.table_len(64 << 20), 64 << 20);
            assert_eq!(share.kept_free(), 4 << 30);
        }
    }

    #[test]
    fn on_a_small_disk_all_parts_together_leave_most_of_it_to_data() {
        let options = Options::new("");
        for capacity in [48 << 20, 160 << 20, 1200 << 20, 16 << 30] {
            let share = share(capacity);
            let memtables = 3 * share.memtable_len(&options) as u64;
            let work = share.log_len_max(&options) + memtables + share.kept_free();
            assert!(work <= capacity * 3 / 8, "{work} of {capacity}");
        }
        assert!(share(0).segment_len_max(&options) >= FIRST_LEN);
    }
}
