//! The block cache: decoded blocks of tables by file and offset, within a bound in bytes.
//!
//! A hit takes no lock and writes to no list: it counts itself in and out of the entry's slot
//! and clones an `Arc`. Who inserts locks one shard of the table of slots. When room is needed, a hand goes round
//! all shards and evicts what has not been read since its last rounds (CLOCK); how many rounds an
//! entry may stay unread is a matter of its [`Priority`].
//!
//! *Invariants*
//! - `cache-1`: what is held, tables of slots included, is not more than the capacity whenever no insertion
//!   is under way, and at all times while the capacity stays. An entry that finds no room is not
//!   kept. (Tables of slots, one in 16 KiB at first, stay.)
//! - `cache-2`: what `get` returns is what was inserted under that very key.
//!
//! *Not here*: what a block is, and when reading one should leave it in the cache (`sstable`).

mod directory;
mod shard;
mod statistics;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use self::directory::Directory;
use self::shard::{CHARGE_MAX, DEPTH_MAX, Entry, Shard, Sweep};
pub(crate) use self::statistics::Statistics;
use self::statistics::{Counters, Event};
use crate::budget::{Elastic, allocated_len};
use crate::files::FileNumber;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub(crate) file: FileNumber,
    pub(crate) offset: u64,
}

impl CacheKey {
    fn hash(self) -> u64 {
        let key = u128::from(self.file.get()) << 64 | u128::from(self.offset);
        xxh3_64(&key.to_le_bytes())
    }
}

/// How long an entry is worth keeping unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Index, filter, properties: every read of the table needs them.
    Metadata,
    /// A data block that a point read asked for.
    Data,
    /// A data block that a scan came through.
    Scan,
}

impl Priority {
    pub(crate) const ALL: [Self; 3] = [Self::Metadata, Self::Data, Self::Scan];

    /// Rounds of the hand that a new entry stays.
    const fn rounds_at_first(self) -> u64 {
        match self {
            Self::Metadata => 3,
            Self::Data => 1,
            Self::Scan => 0,
        }
    }

    /// Rounds that it stays once it was read.
    const fn rounds_when_used(self) -> u64 {
        match self {
            Self::Metadata => ROUNDS_MAX,
            Self::Data => 2,
            Self::Scan => 1,
        }
    }
}

const ROUNDS_MAX: u64 = 7;
/// After so many rounds, whatever was not read meanwhile has gone.
const LAPS_UNTIL_ALL: u64 = ROUNDS_MAX + 2;
/// Shards that an insertion sweeps before it gives up.
const PATIENCE: usize = 16;
/// A large entry sweeps one more for each of these.
const BYTES_PER_SHARD_SWEPT: usize = 64 << 10;
/// Removed files that the hand looks out for; blocks of older ones age like any other.
const DEAD_FILES_MAX: usize = 1024;

pub(crate) struct BlockCache<V> {
    directory: Directory<V>,
    capacity: AtomicUsize,
    used: AtomicUsize,
    hand: Mutex<Hand>,
    counters: Counters,
}

/// Where the next eviction goes on.
#[derive(Default)]
struct Hand {
    /// The first hash of a shard. Shards that split keep their place in this order.
    position: u64,
    lap: u64,
    /// Removed files by number, and the lap in which each was removed.
    dead: Vec<(FileNumber, u64)>,
}

impl<V: Send + Sync> BlockCache<V> {
    const SHARD_LEN: usize = allocated_len(size_of::<Shard<V>>());

    /// An empty cache that will hold at most `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            directory: Directory::new(),
            capacity: AtomicUsize::new(capacity),
            used: AtomicUsize::new(Self::SHARD_LEN),
            hand: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// The block, if it is here. Takes no lock.
    pub(crate) fn get(&self, key: CacheKey) -> Option<Arc<V>> {
        let hash = key.hash();
        let Some((value, priority)) = self.directory.shard(hash).get(hash, key) else {
            self.counters.count(Event::Miss);
            return None;
        };
        self.counters.count(Event::Hit(priority));
        Some(value)
    }

    /// Keeps a block that takes `charge` bytes (see [`allocated_len`]), if there is room or room can be
    /// made. What is there already under this key stays.
    pub(crate) fn insert(&self, key: CacheKey, value: Arc<V>, charge: usize, priority: Priority) {
        let entry = Entry::new(key, value, charge.min(CHARGE_MAX), priority);
        let taken = entry.charge();
        if charge > CHARGE_MAX || !self.make_room(taken) {
            self.counters.count(Event::Reject);
        } else if self.place(key.hash(), entry) {
            self.counters.count(Event::Insert(priority));
            self.fit();
        } else {
            self.release(taken);
        }
    }

    /// Puts an entry whose bytes are taken into its shard, which is split first where it is crowded.
    fn place(&self, hash: u64, entry: Entry<V>) -> bool {
        loop {
            let mut shard = self.directory.lock(hash);
            if shard.contains(hash, entry.key) {
                return false;
            }
            if !shard.is_crowded() {
                shard.insert(hash, entry);
                return true;
            }
            if shard.depth() == DEPTH_MAX {
                return false;
            }
            drop(shard);
            if !self.make_room(Self::SHARD_LEN) {
                return false;
            }
            // Making room may have emptied it, and somebody else may have split it.
            let shard = self.directory.lock(hash);
            if shard.is_crowded() && shard.depth() < DEPTH_MAX {
                self.directory.split(shard, hash);
            } else {
                self.release(Self::SHARD_LEN);
            }
        }
    }

    /// Drops one block at once.
    #[cfg(test)]
    pub(crate) fn remove(&self, key: CacheKey) {
        let hash = key.hash();
        let removed = self.directory.lock(hash).remove(hash, key);
        if let Some(entry) = removed {
            self.release(entry.charge());
        }
    }

    /// Says that a file is gone, so that its blocks, never asked for again, go first.
    ///
    /// Nobody knows which they are without reading its index, so the hand takes them when it comes by; until
    /// then they occupy room that nobody needs.
    pub(crate) fn remove_file(&self, file: FileNumber) {
        let mut hand = self.hand.lock().expect("sweeping does not panic");
        let lap = hand.lap;
        if hand.dead.len() == DEAD_FILES_MAX {
            hand.dead.remove(0);
        }
        let place = hand.dead.partition_point(|(other, _)| *other < file);
        hand.dead.insert(place, (file, lap));
    }

    /// Bytes held, tables of slots included.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::SeqCst)
    }

    /// Tables of slots, of [`Self::SHARD_LEN`] bytes each.
    fn tables(&self) -> usize {
        self.directory.len()
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.counters.statistics(self.used(), self.capacity())
    }

    /// Takes `bytes` of the capacity, evicting as needed.
    fn make_room(&self, bytes: usize) -> bool {
        if self.try_take(bytes) {
            return true;
        }
        let tables = self.tables() * Self::SHARD_LEN;
        if tables + bytes > self.capacity() {
            return false; // not even with everything else evicted
        }
        let mut hand = self.hand.lock().expect("sweeping does not panic");
        for _ in 0..PATIENCE + bytes / BYTES_PER_SHARD_SWEPT {
            if self.try_take(bytes) {
                return true;
            }
            let missing = (self.used() + bytes).saturating_sub(self.capacity());
            self.advance(&mut hand, missing, false);
        }
        self.try_take(bytes)
    }

    fn try_take(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                (used + bytes <= self.capacity()).then_some(used + bytes)
            })
            .is_ok()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Evicts until `cache-1` holds.
    ///
    /// Called after the capacity was set, and after room was taken, which may have been under the capacity
    /// before: in the one order of these sequentially consistent operations, whoever comes second sees both.
    fn fit(&self) {
        if self.used() <= self.capacity() {
            return;
        }
        let mut hand = self.hand.lock().expect("sweeping does not panic");
        let first_lap = hand.lap;
        loop {
            let excess = self.used().saturating_sub(self.capacity());
            let laps = hand.lap - first_lap;
            // With everything gone, what is left are tables of slots.
            if excess == 0 || laps > LAPS_UNTIL_ALL + 1 {
                return;
            }
            self.advance(&mut hand, excess, laps >= LAPS_UNTIL_ALL);
        }
    }

    /// Moves the hand through what is left of one shard, or less if `wanted` bytes are free before.
    fn advance(&self, hand: &mut Hand, wanted: usize, all: bool) {
        let mut evicted = Vec::new();
        let mut shard = self.directory.lock(hand.position);
        let sweep = Sweep {
            wanted,
            is_dead: &|file| hand.is_dead(file),
            all,
        };
        let at_end = shard.sweep(&sweep, &mut evicted);
        let last_hash = hand.position | u64::MAX >> shard.depth();
        drop(shard);
        if at_end {
            hand.go_to(last_hash.wrapping_add(1));
        }
        for entry in evicted {
            self.release(entry.charge());
            self.counters.count(Event::Evict(entry.priority()));
        }
    }
}

impl Hand {
    fn is_dead(&self, file: FileNumber) -> bool {
        let dead = &self.dead;
        !dead.is_empty() && dead.binary_search_by_key(&file, |(file, _)| *file).is_ok()
    }

    fn go_to(&mut self, position: u64) {
        self.position = position;
        if position == 0 {
            self.lap += 1;
            // By now the hand has passed everything that was there when they were removed.
            let lap = self.lap;
            self.dead.retain(|(_, removed)| removed + 2 > lap);
        }
    }
}

impl<V: Send + Sync> Elastic for BlockCache<V> {
    fn set_capacity(&self, bytes: usize) {
        self.capacity.store(bytes, Ordering::SeqCst);
        self.fit();
    }
}
