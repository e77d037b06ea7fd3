//! The one memory budget: everybody reserves what they hold, and the block cache gets the rest.
//!
//! A reservation never fails. It makes the cache give way, down to a floor, so that a write does not wait
//! for memory that only cached blocks occupy. Those who can do with less (by writing a memtable out) ask
//! [`MemoryBudget::available`] when to.
//!
//! *Not here*: blocks that readers hold when the cache has let go of them, or never kept them. A hit takes
//! no lock and counts in no place that others write to; to know who lets go last, each would have to. So
//! [`Slice`](crate::Slice) says that holding many for long is memory beyond the budget.
//!
//! *Invariants*
//! - `budget-1`: the cache's capacity is what is not reserved, or the floor if that is more.
//! - `budget-2`: when a reservation has grown, the cache has already made room.

use std::fmt;
use std::sync::Arc;

use crate::sync::Mutex;

/// The cache is left a sixteenth of the whole: without its metadata every read is several.
const FLOOR_SHARE: usize = 16;

/// What memory is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consumer {
    /// Memtables: filling, waiting to be written out, and pinned by readers.
    Memtables,
    /// What open tables keep beside their cached blocks.
    OpenTables,
    /// Groups of writes that wait for the log, and the one that is being written.
    LogBuffers,
    /// What flushes and compactions read and write through.
    Compactions,
}

impl Consumer {
    const ALL: [Self; 4] = [
        Self::Memtables,
        Self::OpenTables,
        Self::LogBuffers,
        Self::Compactions,
    ];

    /// What operators call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memtables => "memtables",
            Self::OpenTables => "open_tables",
            Self::LogBuffers => "log_buffers",
            Self::Compactions => "compactions",
        }
    }
}

/// A cache whose size may be changed at any time.
pub(crate) trait Elastic: Send + Sync {
    /// Holds at most `bytes` from now on, and does when this returns.
    fn set_capacity(&self, bytes: usize);
}

/// All memory the engine may hold, and who holds it.
pub(crate) struct MemoryBudget {
    total: usize,
    cache: Arc<dyn Elastic>,
    /// By consumer. Held while the cache adapts, so that it adapts to the latest state.
    reserved: Mutex<[usize; Consumer::ALL.len()]>,
}

impl MemoryBudget {
    /// `total` bytes, all of them the cache's at first.
    pub(crate) fn new(total: usize, cache: Arc<dyn Elastic>) -> Arc<Self> {
        cache.set_capacity(total);
        Arc::new(Self {
            total,
            cache,
            reserved: Mutex::default(),
        })
    }

    /// Takes `bytes` from the cache until the reservation is dropped.
    pub(crate) fn reserve(self: &Arc<Self>, consumer: Consumer, bytes: usize) -> Reservation {
        let mut reservation = Reservation {
            budget: Arc::clone(self),
            consumer,
            bytes: 0,
        };
        reservation.set(bytes);
        reservation
    }

    pub(crate) const fn total(&self) -> usize {
        self.total
    }

    /// Bytes that may yet be reserved with the whole within its bounds. 0 asks for memtables to be written out.
    pub(crate) fn available(&self) -> usize {
        let reserved: usize = self.usage().iter().map(|(_, bytes)| bytes).sum();
        (self.total - self.floor()).saturating_sub(reserved)
    }

    /// What each consumer has reserved, in bytes.
    pub(crate) fn usage(&self) -> [(Consumer, usize); Consumer::ALL.len()] {
        let reserved = *self.reserved.lock().expect("adapting does not panic");
        Consumer::ALL.map(|consumer| (consumer, reserved[consumer as usize]))
    }

    const fn floor(&self) -> usize {
        self.total / FLOOR_SHARE
    }

    fn change(&self, consumer: Consumer, from: usize, to: usize) {
        let mut reserved = self.reserved.lock().expect("adapting does not panic");
        let of_consumer = &mut reserved[consumer as usize];
        *of_consumer = *of_consumer - from + to;
        let rest = self.total.saturating_sub(reserved.iter().sum());
        self.cache.set_capacity(rest.max(self.floor()));
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBudget")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// Memory that is accounted for; dropping it returns it to the cache.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<MemoryBudget>,
    consumer: Consumer,
    bytes: usize,
}

impl Reservation {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.budget.change(self.consumer, self.bytes, bytes);
            self.bytes = bytes;
        }
    }

    pub(crate) fn grow(&mut self, by: usize) {
        self.set(self.bytes + by);
    }

    /// # Panics
    /// When there are fewer than `by` bytes.
    pub(crate) fn shrink(&mut self, by: usize) {
        let rest = self.bytes.checked_sub(by);
        self.set(rest.expect("no more is returned than was reserved"));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Bytes that an allocation of `len` bytes takes in fact: the allocator puts a header before it and
/// rounds up, to whole pages where it is long.
pub(crate) const fn allocated_len(len: usize) -> usize {
    const HEADER_LEN: usize = 8;
    const PAGE_LEN: usize = 4096;
    match len {
        0 => 0,
        1..24 => 32,
        24..0x2_0000 => (len + HEADER_LEN).next_multiple_of(16),
        _ => (len + 2 * HEADER_LEN).next_multiple_of(PAGE_LEN),
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Capacity(AtomicUsize);

    impl Elastic for Capacity {
        fn set_capacity(&self, bytes: usize) {
            self.0.store(bytes, Relaxed);
        }
    }

    #[test]
    fn the_cache_gets_what_is_not_reserved_budget_1() {
        let cache = Arc::new(Capacity::default());
        let capacity = || cache.0.load(Relaxed);
        let budget = MemoryBudget::new(1600, Arc::clone(&cache) as Arc<dyn Elastic>);
        assert_eq!((capacity(), budget.available()), (1600, 1500));

        let mut memtable = budget.reserve(Consumer::Memtables, 300);
        let tables = budget.reserve(Consumer::OpenTables, 200);
        assert_eq!((capacity(), budget.available()), (1100, 1000));
        memtable.grow(200);
        memtable.shrink(100);
        assert_eq!((capacity(), memtable.bytes()), (1000, 400));
        assert_eq!(budget.usage()[0], (Consumer::Memtables, 400));

        memtable.set(5000);
        assert_eq!((capacity(), budget.available()), (100, 0), "the floor");
        drop(memtable);
        assert_eq!(capacity(), 1400);
        drop(tables);
        assert_eq!((capacity(), budget.total()), (1600, 1600));
    }

    #[test]
    fn allocations_take_more_than_was_asked_for() {
        for len in [1, 24, 25, 1000, 4096, 0x1_ffff, 0x2_0000, 1 << 20] {
            let taken = allocated_len(len);
            assert!(taken >= len + 8 && taken <= len + 4112, "{len}: {taken}");
        }
        assert_eq!(allocated_len(0), 0);
    }
}
