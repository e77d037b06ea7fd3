//! Counts of what happens in the cache, kept apart by thread so that counting does not make threads wait
//! for each other's cache lines.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::Priority;

const STRIPES: usize = 16;

/// What the cache did since it was made. Arrays are indexed by [`Priority`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) hits: [u64; Priority::ALL.len()],
    pub(crate) misses: u64,
    pub(crate) inserts: [u64; Priority::ALL.len()],
    /// Entries that found no room.
    pub(crate) rejected: u64,
    pub(crate) evictions: [u64; Priority::ALL.len()],
    /// Bytes held, tables of slots included.
    pub(crate) used: usize,
    /// Bytes that may be held.
    pub(crate) capacity: usize,
}

#[derive(Clone, Copy)]
pub(super) enum Event {
    Miss,
    Reject,
    Hit(Priority),
    Insert(Priority),
    Evict(Priority),
}

impl Event {
    const COUNT: usize = 2 + 3 * Priority::ALL.len();

    const fn index(self) -> usize {
        const PRIORITIES: usize = Priority::ALL.len();
        match self {
            Self::Miss => 0,
            Self::Reject => 1,
            Self::Hit(priority) => 2 + priority as usize,
            Self::Insert(priority) => 2 + PRIORITIES + priority as usize,
            Self::Evict(priority) => 2 + 2 * PRIORITIES + priority as usize,
        }
    }
}

/// Counts on cache lines that mostly one thread writes to.
#[derive(Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; Event::COUNT]);

#[derive(Default)]
pub(super) struct Counters([Stripe; STRIPES]);

impl Counters {
    pub(super) fn count(&self, event: Event) {
        self.0[stripe()].0[event.index()].fetch_add(1, Relaxed);
    }

    fn sum(&self, event: Event) -> u64 {
        let counts = self.0.iter().map(|stripe| &stripe.0[event.index()]);
        counts.map(|count| count.load(Relaxed)).sum()
    }

    /// The sums; events of this moment may be in some and not in others.
    pub(super) fn statistics(&self, used: usize, capacity: usize) -> Statistics {
        Statistics {
            hits: Priority::ALL.map(|priority| self.sum(Event::Hit(priority))),
            misses: self.sum(Event::Miss),
            inserts: Priority::ALL.map(|priority| self.sum(Event::Insert(priority))),
            rejected: self.sum(Event::Reject),
            evictions: Priority::ALL.map(|priority| self.sum(Event::Evict(priority))),
            used,
            capacity,
        }
    }
}

/// This thread's stripe.
fn stripe() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: usize = THREADS.fetch_add(1, Relaxed) % STRIPES;
    }
    STRIPE.with(|stripe| *stripe)
}
