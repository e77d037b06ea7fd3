//! What a node counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the node came up.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct NodeStatistics {
            $($(#[$doc])* pub $name: u64,)*
            /// Scans that are kept warm between two pages, now.
            pub parked_scans: u64,
            /// Bytes that they hold, now.
            pub parked_scans_len: u64,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> NodeStatistics {
                NodeStatistics {
                    $($name: self.$name.0.load(Ordering::Relaxed),)*
                    ..NodeStatistics::default()
                }
            }
        }
    };
}

counters! {
    /// Keys read, by gets, heads and batches.
    keys_read,
    /// Of these, keys that had a value.
    keys_found,
    /// Requests that had to leave their thread for the disk.
    requests_blocked,
    /// Keys set.
    keys_put,
    /// Keys deleted.
    keys_deleted,
    /// Writes that the engine did not take or could not finish.
    writes_failed,
    /// Pages that were served from a warm scan.
    pages_warm,
    /// Pages that sought their place anew.
    pages_cold,
    /// Entries in pages.
    entries_listed,
    /// Batches.
    batches,
    /// Items of batches that were sent back unprocessed.
    items_unprocessed,
    /// Requests refused because their namespace was over its rate.
    requests_limited,
    /// Puts refused because their namespace had as many bytes as it may.
    puts_over_quota,
}

/// Counts up, from any thread.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }
}
