//! From a hash to its shard: extendible hashing, so that the cache starts with one shard and grows by one
//! at a time, without a pause and without moving more than half a shard.
//!
//! Fagin, Nievergelt, Pippenger and Strong, "Extendible Hashing" (1979). A map of 2^depth pointers is
//! indexed by the hash's first bits; a shard that covers more than one index is split in place, and
//! when a shard at full depth is split, a map of twice the size takes over. Readers follow pointers
//! without asking anybody. So nothing is freed before the cache is: maps that were replaced sum up to less than
//! the one in force, eight bytes for each shard of 16 KiB.
//!
//! # Invariants
//! - directory-1: shards and maps live until the directory is dropped.
//! - directory-2: a shard's lock is taken before the one of `owned`, never after it.
#![allow(unsafe_code)]

use std::ptr::{self, NonNull};

use super::shard::{Guard, Shard};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, Ordering};

pub(super) struct Directory<V> {
    map: AtomicPtr<Map<V>>,
    owned: Mutex<Owned<V>>,
}

/// 2^depth pointers.
struct Map<V> {
    depth: u32,
    shards: Box<[AtomicPtr<Shard<V>>]>,
}

/// Everything there ever was, to be freed in the end. The last map is the one in force.
struct Owned<V> {
    maps: Vec<NonNull<Map<V>>>,
    shards: Vec<NonNull<Shard<V>>>,
}

// SAFETY: the pointers are owned, and followed only to shared references.
unsafe impl<V: Send + Sync> Send for Directory<V> {}
// SAFETY: as above.
unsafe impl<V: Send + Sync> Sync for Directory<V> {}

impl<V> Directory<V> {
    pub(super) fn new() -> Self {
        let shard = leak(Shard::new(0));
        let map = leak(Box::new(Map {
            depth: 0,
            shards: Box::new([AtomicPtr::new(shard.as_ptr())]),
        }));
        Self {
            map: AtomicPtr::new(map.as_ptr()),
            owned: Mutex::new(Owned {
                maps: vec![map],
                shards: vec![shard],
            }),
        }
    }

    /// The shard that holds `hash`, unless it is being split.
    pub(super) fn shard(&self, hash: u64) -> &Shard<V> {
        let map = self.map();
        let shard = map.shards[map.index(hash)].load(Ordering::Acquire);
        // SAFETY: directory-1; it was initialised before the pointer was stored with release.
        unsafe { &*shard }
    }

    fn map(&self) -> &Map<V> {
        // SAFETY: as in `shard`.
        unsafe { &*self.map.load(Ordering::Acquire) }
    }

    /// Locks the shard that holds `hash`.
    pub(super) fn lock(&self, hash: u64) -> Guard<'_, V> {
        loop {
            let guard = self.shard(hash).lock();
            // It may have been split while we waited.
            if ptr::eq(guard.shard(), self.shard(hash)) {
                return guard;
            }
        }
    }

    /// How many shards there are.
    pub(super) fn len(&self) -> usize {
        self.owned
            .lock()
            .expect("splitting does not panic")
            .shards
            .len()
    }

    /// Splits the locked shard that holds `hash`. A reader of a moved entry may miss it meanwhile.
    pub(super) fn split(&self, mut lower: Guard<'_, V>, hash: u64) {
        let mut owned = self.owned.lock().expect("splitting does not panic");
        if self.map().depth == lower.depth() {
            self.double(&mut owned);
        }
        let upper = leak(lower.split());
        owned.shards.push(upper);
        let (map, depth) = (self.map(), lower.depth());
        let covered = 1 << (map.depth - depth);
        // The lower half's first index, then the upper half's.
        let first = map.index(hash) & !(2 * covered - 1);
        for pointer in &map.shards[first + covered..first + 2 * covered] {
            pointer.store(upper.as_ptr(), Ordering::Release);
        }
    }

    fn double(&self, owned: &mut Owned<V>) {
        let old = self.map();
        let twice = old.shards.iter().flat_map(|pointer| {
            let shard = pointer.load(Ordering::Relaxed);
            [AtomicPtr::new(shard), AtomicPtr::new(shard)]
        });
        let map = leak(Box::new(Map {
            depth: old.depth + 1,
            shards: twice.collect(),
        }));
        owned.maps.push(map);
        self.map.store(map.as_ptr(), Ordering::Release);
    }
}

impl<V> Map<V> {
    fn index(&self, hash: u64) -> usize {
        // In two steps, as a shift by 64 is none.
        usize::try_from(hash >> 1 >> (63 - self.depth)).expect("maps are far shorter than memory")
    }
}

impl<V> Drop for Directory<V> {
    fn drop(&mut self) {
        let owned = self.owned.get_mut().expect("splitting does not panic");
        // SAFETY: each came from `leak` and is freed once; `&mut self` says that nobody reads.
        unsafe {
            for map in owned.maps.drain(..) {
                drop(Box::from_raw(map.as_ptr()));
            }
            for shard in owned.shards.drain(..) {
                drop(Box::from_raw(shard.as_ptr()));
            }
        }
    }
}

fn leak<T>(boxed: Box<T>) -> NonNull<T> {
    NonNull::from(Box::leak(boxed))
}
