//! A fixed number of cache slots: read without a lock, changed under one.
//!
//! Open addressing with linear probing. Everything about a slot that readers and the lock's holder
//! both touch is one atomic word; the rest of the slot is written only while the word says that
//! it is empty. The idea of such a word is that of RocksDB's hyper clock cache.
//!
//! # Format
//! ```text
//! bits 0..16   readers inside (each stays for a few instructions)
//! bits 16..32  entries whose probe passed over this slot: where it is 0, a search ends
//! bit  32      full
//! bit  33      read since the hand came by
//! bits 34..37  rounds the hand lets it stay
//! bits 37..39  priority
//! bits 39..64  charge in units of 16 bytes
//! ```
//!
//! # Invariants
//! - slot-1: key and value change only while the slot is not full and nobody who saw it full is inside.
//! - slot-2: whoever saw *full* in the very operation that counted him in may read until he leaves.
//! - slot-3: the slot owns one strong count of its value while it is full.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::{CacheKey, Priority};
use crate::files::FileNumber;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, hint};

/// Few for those who explore every schedule or interpret every step.
pub(super) const SLOTS: usize = if cfg!(any(miri, shuttle)) { 16 } else { 512 };
/// Beyond it probes grow long.
const CROWDED: usize = SLOTS / 4 * 3;
/// A shard covers the hashes that begin with its first `depth` bits.
pub(super) const DEPTH_MAX: u32 = 32;

const READER: u64 = 1;
const READERS: u64 = 0xffff;
const PASSED: u64 = 1 << 16;
const PASSED_MASK: u64 = 0xffff << 16;
const FULL: u64 = 1 << 32;
const USED: u64 = 1 << 33;
const ROUND: u64 = 1 << ROUNDS_SHIFT;
const ROUNDS_SHIFT: u32 = 34;
const ROUNDS_MASK: u64 = 0b111 << ROUNDS_SHIFT;
const PRIORITY_SHIFT: u32 = 37;
const CHARGE_SHIFT: u32 = 39;
const CHARGE_UNIT: usize = 16;
/// Larger entries are not kept.
pub(super) const CHARGE_MAX: usize = ((1 << 25) - 1) * CHARGE_UNIT;

const _: () = assert!(SLOTS.is_power_of_two() && SLOTS < 1 << 16);

/// An entry on its way into a shard or out of it.
pub(super) struct Entry<V> {
    pub(super) key: CacheKey,
    pub(super) value: Arc<V>,
    /// The slot's word without the parts that belong to the slot: priority, rounds, charge.
    state: u64,
}

pub(super) struct Shard<V> {
    slots: [Slot<V>; SLOTS],
    state: Mutex<State>,
}

struct State {
    depth: u32,
    entries: usize,
    hand: usize,
}

/// Two to a cache line.
#[repr(align(32))]
struct Slot<V> {
    word: AtomicU64,
    file: AtomicU64,
    offset: AtomicU64,
    value: AtomicPtr<V>,
}

/// A locked shard.
pub(super) struct Guard<'a, V> {
    shard: &'a Shard<V>,
    state: MutexGuard<'a, State>,
}

/// What the hand must know to sweep.
pub(super) struct Sweep<'a> {
    /// Stop when this many bytes are free.
    pub(super) wanted: usize,
    /// Entries of these files go whatever their rounds.
    pub(super) is_dead: &'a dyn Fn(FileNumber) -> bool,
    /// Every entry goes.
    pub(super) all: bool,
}

// SAFETY: values are handed out as `Arc<V>` to any thread, which asks for both.
unsafe impl<V: Send + Sync> Send for Shard<V> {}
// SAFETY: as above; the slots are guarded by their words (slot-1, slot-2).
unsafe impl<V: Send + Sync> Sync for Shard<V> {}

impl<V> Entry<V> {
    /// `charge` is at most [`CHARGE_MAX`].
    pub(super) fn new(key: CacheKey, value: Arc<V>, charge: usize, priority: Priority) -> Self {
        let units = charge.div_ceil(CHARGE_UNIT) as u64;
        let state = units << CHARGE_SHIFT
            | (priority as u64) << PRIORITY_SHIFT
            | priority.rounds_at_first() << ROUNDS_SHIFT;
        Self { key, value, state }
    }

    pub(super) fn charge(&self) -> usize {
        charge(self.state)
    }

    pub(super) fn priority(&self) -> Priority {
        priority(self.state)
    }
}

fn charge(word: u64) -> usize {
    usize::try_from(word >> CHARGE_SHIFT).expect("25 bits") * CHARGE_UNIT
}

fn priority(word: u64) -> Priority {
    Priority::ALL[(word >> PRIORITY_SHIFT & 0b11) as usize]
}

/// The slots to look at for a hash, in order. The shard was found by the hash's upper bits.
fn probe(hash: u64) -> impl Iterator<Item = usize> {
    let [low, high, ..] = hash.to_le_bytes();
    let home = usize::from(u16::from_le_bytes([low, high]));
    (0..SLOTS).map(move |n| (home + n) % SLOTS)
}

impl<V> Shard<V> {
    pub(super) fn new(depth: u32) -> Box<Self> {
        Box::new(Self {
            slots: std::array::from_fn(|_| Slot {
                word: AtomicU64::new(0),
                file: AtomicU64::new(0),
                offset: AtomicU64::new(0),
                value: AtomicPtr::new(std::ptr::null_mut()),
            }),
            state: Mutex::new(State {
                depth,
                entries: 0,
                hand: 0,
            }),
        })
    }

    /// The value of `key`, without waiting for anybody. May miss an entry that is just being moved.
    pub(super) fn get(&self, hash: u64, key: CacheKey) -> Option<(Arc<V>, Priority)> {
        for slot in probe(hash).map(|index| &self.slots[index]) {
            let word = slot.word.load(Ordering::Acquire);
            if word & FULL != 0
                && slot.key() == key
                && let Some(found) = slot.read(key)
            {
                return Some(found);
            }
            if word & PASSED_MASK == 0 {
                return None;
            }
        }
        None
    }

    pub(super) fn lock(&self) -> Guard<'_, V> {
        let state = self.state.lock().expect("changing slots does not panic");
        Guard { shard: self, state }
    }
}

impl<V> Slot<V> {
    fn key(&self) -> CacheKey {
        CacheKey {
            file: FileNumber::new(self.file.load(Ordering::Relaxed)),
            offset: self.offset.load(Ordering::Relaxed),
        }
    }

    /// The value, if the slot still holds `key`.
    fn read(&self, key: CacheKey) -> Option<(Arc<V>, Priority)> {
        let word = self.word.fetch_add(READER, Ordering::Acquire);
        // INVARIANT slot-2: only what this very operation saw counts.
        let found = (word & FULL != 0 && self.key() == key).then(|| {
            let value = self.value.load(Ordering::Relaxed);
            debug_assert!(!value.is_null(), "slot-1: emptied while we are inside");
            // SAFETY: slot-1 and slot-2: `value` came from `Arc::into_raw`, and the strong count that
            // the slot owns (slot-3) is not given away before we leave.
            let value = unsafe {
                Arc::increment_strong_count(value);
                Arc::from_raw(value)
            };
            (value, priority(word))
        });
        if found.is_some() && word & USED == 0 {
            self.word.fetch_or(USED, Ordering::Relaxed);
        }
        self.word.fetch_sub(READER, Ordering::Release);
        found
    }

    /// Fills the slot, which is not full; the lock is held.
    fn fill(&self, entry: Entry<V>) {
        self.file.store(entry.key.file.get(), Ordering::Relaxed);
        self.offset.store(entry.key.offset, Ordering::Relaxed);
        let value = Arc::into_raw(entry.value).cast_mut();
        self.value.store(value, Ordering::Relaxed);
        self.word.fetch_or(FULL | entry.state, Ordering::Release);
    }

    /// Empties the slot, which is full; the lock is held.
    fn empty(&self) -> Entry<V> {
        self.word.fetch_and(!FULL, Ordering::Relaxed);
        // Those inside saw it full and leave after a few instructions; nobody else gets that far.
        while self.word.load(Ordering::Acquire) & READERS != 0 {
            hint::spin_loop();
        }
        let own = READERS | PASSED_MASK;
        let word = self.word.fetch_and(own, Ordering::Relaxed);
        let value = self.value.swap(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: slot-3: this count is the slot's, and it is not full any more.
        let value = unsafe { Arc::from_raw(value) };
        Entry {
            key: self.key(),
            value,
            state: word & !own,
        }
    }

    /// What the hand does when it comes by: whether the entry has to go. The lock is held.
    fn is_due(&self, word: u64) -> bool {
        if word & READERS != 0 {
            return false;
        }
        if word & USED != 0 {
            let rounds = priority(word).rounds_when_used() << ROUNDS_SHIFT;
            // Only we change rounds; only readers set `USED`.
            self.word
                .fetch_and(!(USED | ROUNDS_MASK), Ordering::Relaxed);
            self.word.fetch_or(rounds, Ordering::Relaxed);
        } else if word & ROUNDS_MASK != 0 {
            self.word.fetch_sub(ROUND, Ordering::Relaxed);
        } else {
            return true;
        }
        false
    }
}

impl<'a, V> Guard<'a, V> {
    pub(super) fn shard(&self) -> &'a Shard<V> {
        self.shard
    }

    pub(super) fn depth(&self) -> u32 {
        self.state.depth
    }

    /// Whether another entry should find more room first.
    pub(super) fn is_crowded(&self) -> bool {
        self.state.entries >= CROWDED
    }

    pub(super) fn contains(&self, hash: u64, key: CacheKey) -> bool {
        self.find(hash, key).is_some()
    }

    fn find(&self, hash: u64, key: CacheKey) -> Option<usize> {
        for index in probe(hash) {
            let slot = &self.shard.slots[index];
            let word = slot.word.load(Ordering::Relaxed);
            if word & FULL != 0 && slot.key() == key {
                return Some(index);
            }
            if word & PASSED_MASK == 0 {
                return None;
            }
        }
        None
    }

    /// Adds an entry that is not there.
    ///
    /// # Panics
    /// When every slot is full.
    pub(super) fn insert(&mut self, hash: u64, entry: Entry<V>) {
        assert!(self.state.entries < SLOTS, "a full shard takes no entry");
        for slot in probe(hash).map(|index| &self.shard.slots[index]) {
            if slot.word.load(Ordering::Relaxed) & FULL == 0 {
                slot.fill(entry);
                self.state.entries += 1;
                return;
            }
            slot.word.fetch_add(PASSED, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn remove(&mut self, hash: u64, key: CacheKey) -> Option<Entry<V>> {
        self.find(hash, key).map(|index| self.take(index))
    }

    fn take(&mut self, index: usize) -> Entry<V> {
        let entry = self.shard.slots[index].empty();
        for passed in probe(entry.key.hash()).take_while(|&passed| passed != index) {
            let slot = &self.shard.slots[passed];
            slot.word.fetch_sub(PASSED, Ordering::Relaxed);
        }
        self.state.entries -= 1;
        entry
    }

    /// Moves the hand on until enough is free or it has come to the end. Returns whether it has.
    pub(super) fn sweep(&mut self, sweep: &Sweep<'_>, evicted: &mut Vec<Entry<V>>) -> bool {
        let mut freed = 0;
        while freed < sweep.wanted && self.state.hand < SLOTS {
            let slot = &self.shard.slots[self.state.hand];
            let word = slot.word.load(Ordering::Relaxed);
            let goes =
                |slot: &Slot<V>| sweep.all || (sweep.is_dead)(slot.key().file) || slot.is_due(word);
            if word & FULL != 0 && goes(slot) {
                let entry = self.take(self.state.hand);
                freed += entry.charge();
                evicted.push(entry);
            }
            self.state.hand += 1;
        }
        let at_end = self.state.hand == SLOTS;
        self.state.hand %= SLOTS;
        at_end
    }

    /// Moves the upper half of the shard's hashes into a new shard.
    pub(super) fn split(&mut self) -> Box<Shard<V>> {
        self.state.depth += 1;
        let upper = Shard::new(self.state.depth);
        let bit = 1 << (64 - self.state.depth);
        let mut moved = upper.lock();
        for index in 0..SLOTS {
            let slot = &self.shard.slots[index];
            let is_full = slot.word.load(Ordering::Relaxed) & FULL != 0;
            if is_full && slot.key().hash() & bit != 0 {
                let entry = self.take(index);
                moved.insert(entry.key.hash(), entry);
            }
        }
        drop(moved);
        upper
    }
}

impl<V> Drop for Shard<V> {
    fn drop(&mut self) {
        for slot in &self.slots {
            if slot.word.load(Ordering::Relaxed) & FULL != 0 {
                drop(slot.empty());
            }
        }
    }
}
