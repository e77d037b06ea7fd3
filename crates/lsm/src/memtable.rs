//! The changes that are not yet in a table, sorted, in memory.
//!
//! Any number of threads insert and read at once; nobody waits. Deciding which changes a reader may
//! see is the sequence number's business: an entry is there for all as soon as `insert` returns, and
//! whoever reads at an older number passes over it.
//!
//! *Invariants*
//! - `memtable-1`: an internal key is inserted once.
//! - `memtable-2`: bytes handed out (slices, cursors) keep the whole memtable alive.
//!
//! *Not here*: the order of changes (`commit`), when a memtable is full and who writes it out (`db`, `jobs`).

mod arena;
mod cursor;
mod skiplist;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, PoisonError, RwLock};

pub(crate) use self::cursor::MemtableCursor;
use self::skiplist::SkipList;
use crate::budget::{Consumer, MemoryBudget, Reservation};
use crate::key::{InternalKey, Kind, SeqNo, split_deadline};
use crate::range_tombstone::{RangeTombstone, RangeTombstones};
use crate::slice::Slice;
use crate::sync::Mutex;

/// A sorted buffer of changes to one keyspace.
pub(crate) struct Memtable {
    list: SkipList,
    ranges: RwLock<Ranges>,
    tally: Tally,
    /// Lives as long as the bytes do, which readers may pin.
    reservation: Option<Mutex<Reservation>>,
    /// Bytes reserved, to be read without the lock.
    reserved: AtomicUsize,
}

/// Range deletes; few as a rule.
#[derive(Default)]
struct Ranges {
    all: Vec<RangeTombstone>,
    /// `all`, cut into fragments; `None` since the last insertion.
    fragmented: Option<Arc<RangeTombstones>>,
}

/// What was inserted so far. On cache lines of its own, as every insertion writes to it.
#[repr(align(128))]
struct Tally {
    entries: AtomicUsize,
    deletes: AtomicUsize,
    range_deletes: AtomicUsize,
    range_bytes: AtomicUsize,
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
            ranges: RwLock::default(),
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
        if self.memory_used() > self.reserved.load(Relaxed) {
            let mut reservation = reservation.lock().unwrap_or_else(PoisonError::into_inner);
            reservation.set(self.memory_used());
            self.reserved.store(reservation.bytes(), Relaxed);
        }
    }

    /// Adds a change. A [`Kind::RangeDelete`]'s value is the end of its range.
    ///
    /// # Panics
    /// In debug builds, when the same internal key was inserted before (`memtable-1`).
    pub(crate) fn insert(&self, key: InternalKey<'_>, value: &[u8]) {
        match key.kind() {
            Kind::RangeDelete => self.insert_range(key, value),
            _ => self.list.insert(key, value),
        }
        self.tally.add(key, value);
        self.reserve_used();
    }

    fn insert_range(&self, key: InternalKey<'_>, end: &[u8]) {
        let tombstone = RangeTombstone {
            start: key.user.to_vec(),
            end: end.to_vec(),
            seq: key.seq(),
        };
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        ranges.all.push(tombstone);
        ranges.fragmented = None;
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

    /// The range deletes so far.
    pub(crate) fn range_tombstones(&self) -> Arc<RangeTombstones> {
        if self.range_delete_count() == 0 {
            return RangeTombstones::empty();
        }
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(fragmented) = &ranges.fragmented {
            return Arc::clone(fragmented);
        }
        drop(ranges);
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        let Ranges { all, fragmented } = &mut *ranges;
        let cut = || Arc::new(RangeTombstones::from_tombstones(all.iter().cloned()));
        Arc::clone(fragmented.get_or_insert_with(cut))
    }

    /// The newest range delete at or before `at` that covers `user`.
    pub(crate) fn newest_range_delete(&self, user: &[u8], at: SeqNo) -> Option<SeqNo> {
        if self.range_delete_count() == 0 {
            return None; // without touching the shared empty set's reference count
        }
        self.range_tombstones().newest_covering(user, at)
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
        size_of::<Self>() + self.list.allocated() + self.tally.range_bytes.load(Relaxed)
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
    #[cfg(test)]
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
            range_bytes: AtomicUsize::new(0),
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
                // Twice: as inserted, and cut into fragments.
                let bytes = 2 * (size_of::<RangeTombstone>() + key.user.len() + value.len());
                self.range_bytes.fetch_add(bytes, Relaxed);
                self.range_deletes.fetch_add(1, Relaxed);
            }
        }
        self.entries.fetch_add(1, Relaxed);
    }
}
