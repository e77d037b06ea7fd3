//! The changes that are not yet in a table, sorted, in memory.
//!
//! Any number of threads insert and read at once; nobody waits. Deciding which changes a reader may
//! see is the sequence number's business: an entry is there for all as soon as `insert` returns, and
//! whoever reads at an older number passes over it.
//!
//! *Invariants*
//! - `memtable-1`: an internal key is inserted once.
//! - `memtable-2`: bytes handed out (slices, cursors) keep the whole memtable alive.
//! - `memtable-3`: of the range deletes that cover a key, the newest is kept for every open snapshot, for
//!   the moment that was published when the last range delete came, and for every later moment.
//!
//! *Not here*: the order of changes (`commit`), when a memtable is full and who writes it out (`db`, `jobs`).

mod arena;
mod cursor;
mod skiplist;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, PoisonError};

use arc_swap::{ArcSwap, Guard};

pub(crate) use self::cursor::MemtableCursor;
use self::skiplist::SkipList;
use crate::budget::{Consumer, MemoryBudget, Reservation};
use crate::key::{InternalKey, Kind, SeqNo, split_deadline};
use crate::range_tombstone::{RangeTombstones, Readers};
use crate::slice::Slice;
use crate::sync::Mutex;

/// A sorted buffer of changes to one keyspace.
pub(crate) struct Memtable {
    list: SkipList,
    /// Replaced as a whole, so that a reader never waits.
    ranges: ArcSwap<Ranges>,
    tally: Tally,
    /// Lives as long as the bytes do, which readers may pin.
    reservation: Option<Mutex<Reservation>>,
    /// Bytes reserved, to be read without the lock.
    reserved: AtomicUsize,
}

/// The range deletes up to some change.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    pub(crate) set: Arc<RangeTombstones>,
    /// What came before this moment is kept for open snapshots only.
    floor: SeqNo,
}

impl Ranges {
    /// INVARIANT memtable-3: whether the set is true at a moment that no snapshot holds.
    pub(crate) fn answers(&self, at: SeqNo) -> bool {
        at >= self.floor
    }
}

/// What was inserted so far. On cache lines of its own, as every insertion writes to it.
#[repr(align(128))]
struct Tally {
    entries: AtomicUsize,
    deletes: AtomicUsize,
    range_deletes: AtomicUsize,
    first_seq: AtomicU64,
    last_seq: AtomicU64,
    deadline_min: AtomicU64,
    deadline_max: AtomicU64,
}

impl Memtable {
    /// A memtable that is in nobody's budget.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::with(None))
    }

    /// A memtable that reserves what it holds, for as long as anybody holds it.
    pub(crate) fn reserving(budget: &Arc<MemoryBudget>) -> Arc<Self> {
        let reservation = budget.reserve(Consumer::Memtables, 0);
        let memtable = Self::with(Some(Mutex::new(reservation)));
        memtable.reserve_used();
        Arc::new(memtable)
    }

    fn with(reservation: Option<Mutex<Reservation>>) -> Self {
        Self {
            list: SkipList::new(),
            ranges: ArcSwap::default(),
            tally: Tally::new(),
            reservation,
            reserved: AtomicUsize::new(0),
        }
    }

    /// Reserves what a new chunk or a range delete has added.
    fn reserve_used(&self) {
        let Some(reservation) = &self.reservation else {
            return;
        };
        if self.memory_used() != self.reserved.load(Relaxed) {
            let mut reservation = reservation.lock().unwrap_or_else(PoisonError::into_inner);
            reservation.set(self.memory_used());
            self.reserved.store(reservation.bytes(), Relaxed);
        }
    }

    /// Adds a change. A [`Kind::RangeDelete`]'s value is the end of its range; `readers` are asked for
    /// then: the moments of open snapshots, and what is published, which comes last.
    ///
    /// # Panics
    /// In debug builds, when the same internal key was inserted before (`memtable-1`).
    pub(crate) fn insert_for<'r>(
        &self,
        key: InternalKey<'_>,
        value: &[u8],
        readers: impl FnOnce() -> Readers<'r>,
    ) {
        match key.kind() {
            Kind::RangeDelete => self.insert_range(key, value, readers()),
            _ => self.list.insert(key, value),
        }
        self.tally.add(key, value);
        self.reserve_used();
    }

    /// Adds a change, for readers at any moment.
    #[cfg(test)]
    pub(crate) fn insert(&self, key: InternalKey<'_>, value: &[u8]) {
        self.insert_for(key, value, || Readers::Everywhere);
    }

    fn insert_range(&self, key: InternalKey<'_>, end: &[u8], readers: Readers<'_>) {
        let floor = match readers {
            Readers::Everywhere => SeqNo::ZERO,
            Readers::At(moments) => moments.last().copied().unwrap_or(SeqNo::ZERO),
        };
        self.ranges.rcu(|ranges| Ranges {
            set: Arc::new(ranges.set.with(key.user, end, key.seq(), readers)),
            floor: ranges.floor.max(floor),
        });
    }

    /// The newest change to `user` at or before `at`, of its sequence number, kind and value as stored.
    ///
    /// Range deletes are not looked at; see [`Memtable::range_tombstones`].
    pub(crate) fn get(self: &Arc<Self>, user: &[u8], at: SeqNo) -> Option<(SeqNo, Kind, Slice)> {
        cursor::get(self, user, at)
    }

    /// A cursor over the point entries; it stands nowhere yet.
    pub(crate) fn cursor(self: &Arc<Self>) -> MemtableCursor {
        MemtableCursor::new(Arc::clone(self))
    }

    /// The range deletes so far; `None` without any.
    ///
    /// Asked for after the moment of a read is known, and while changes may still come, they are true at
    /// it only if they [answer](Ranges::answers) it or a snapshot holds it.
    #[inline]
    pub(crate) fn ranges(&self) -> Option<Guard<Arc<Ranges>>> {
        (self.range_delete_count() > 0).then(|| self.ranges.load())
    }

    /// The range deletes so far, to be held for longer.
    pub(crate) fn range_tombstones(&self) -> Arc<RangeTombstones> {
        Arc::clone(&self.ranges.load().set)
    }

    /// The newest range delete at or before `at` that covers `user`.
    #[cfg(test)]
    pub(crate) fn newest_range_delete(&self, user: &[u8], at: SeqNo) -> Option<SeqNo> {
        self.ranges()?.set.newest_covering(user, at)
    }

    /// Changes of every kind.
    pub(crate) fn len(&self) -> usize {
        self.tally.entries.load(Relaxed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes that delete one key.
    #[cfg(test)]
    pub(crate) fn delete_count(&self) -> usize {
        self.tally.deletes.load(Relaxed)
    }

    /// Changes that delete a range.
    pub(crate) fn range_delete_count(&self) -> usize {
        self.tally.range_deletes.load(Relaxed)
    }

    /// Bytes of memory held, whether filled with entries yet or not.
    pub(crate) fn memory_used(&self) -> usize {
        size_of::<Self>() + self.list.allocated() + self.range_bytes()
    }

    fn range_bytes(&self) -> usize {
        match self.range_delete_count() {
            0 => 0, // without touching the shared count
            _ => self.ranges.load().set.memory_used(),
        }
    }

    /// Bytes of memory that entries take: by this a memtable is full. Memory is taken ahead of them, so
    /// that a small memtable would seem full while it is empty.
    pub(crate) fn filled(&self) -> usize {
        // ORDER: what is unused was taken before.
        let unused = self.list.unused();
        self.memory_used() - unused
    }

    /// The oldest change; `None` while empty.
    pub(crate) fn first_seq(&self) -> Option<SeqNo> {
        let first = self.tally.first_seq.load(Relaxed);
        (first != u64::MAX).then(|| SeqNo::new(first))
    }

    /// The newest change; `None` while empty.
    pub(crate) fn last_seq(&self) -> Option<SeqNo> {
        self.first_seq()?;
        Some(SeqNo::new(self.tally.last_seq.load(Relaxed)))
    }

    /// The earliest and the latest deadline of expiring values, if there are any.
    pub(crate) fn deadlines(&self) -> Option<(u64, u64)> {
        let tally = &self.tally;
        let (min, max) = (
            tally.deadline_min.load(Relaxed),
            tally.deadline_max.load(Relaxed),
        );
        (min <= max).then_some((min, max))
    }
}

impl Tally {
    fn new() -> Self {
        Self {
            entries: AtomicUsize::new(0),
            deletes: AtomicUsize::new(0),
            range_deletes: AtomicUsize::new(0),
            first_seq: AtomicU64::new(u64::MAX),
            last_seq: AtomicU64::new(0),
            deadline_min: AtomicU64::new(u64::MAX),
            deadline_max: AtomicU64::new(0),
        }
    }

    fn add(&self, key: InternalKey<'_>, value: &[u8]) {
        let seq = key.seq().get();
        self.last_seq.fetch_max(seq, Relaxed);
        // Mostly decided already: a load is cheaper than a read-modify-write that changes nothing.
        if seq < self.first_seq.load(Relaxed) {
            self.first_seq.fetch_min(seq, Relaxed);
        }
        match key.kind() {
            Kind::Put => {}
            Kind::Delete => {
                self.deletes.fetch_add(1, Relaxed);
            }
            Kind::PutExpiring => {
                if let Some((deadline, _)) = split_deadline(value) {
                    self.deadline_min.fetch_min(deadline, Relaxed);
                    self.deadline_max.fetch_max(deadline, Relaxed);
                }
            }
            Kind::RangeDelete => {
                self.range_deletes.fetch_add(1, Relaxed);
            }
        }
        self.entries.fetch_add(1, Relaxed);
    }
}
