//! Whether the disk has room for new data. A full disk makes the store read-only, not broken.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwood_env::Disk;

/// What is known of the room left.
#[derive(Debug, Default)]
pub(crate) struct Space {
    short: AtomicBool,
}

impl Space {
    /// Whether puts are refused.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// A write failed for want of room.
    pub(crate) fn note_full(&self) {
        if !self.short.swap(true, Ordering::Relaxed) {
            tracing::warn!("the disk is full: only reads and deletes until there is room again");
        }
    }

    /// Asks the disk whether `reserve` bytes are left: enough to write out what is in memory.
    pub(crate) fn look(&self, disk: &dyn Disk, directory: &Path, reserve: u64) -> bool {
        // A disk that cannot say is taken to have room: a write will tell.
        let enough = disk
            .available_space(directory)
            .map_or(true, |bytes| bytes >= reserve);
        if !enough {
            self.note_full();
        } else if self.short.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk has room again: writes go on");
        }
        enough
    }
}
