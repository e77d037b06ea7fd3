//! Locks by key, so that read-modify-writes of one key follow each other.
//!
//! # Invariants
//! - key-lock-1: no thread holds two locks of a store, so nobody waits in a ring.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::batch::KeyspaceNumber;
use crate::error::{Error, Result};
use crate::locks::lock;

const STRIPES: usize = 256;

/// A lock for every key, shared by keys whose hashes meet.
#[derive(Debug)]
pub(crate) struct KeyLocks {
    stripes: Box<[Mutex<()>]>,
}

thread_local! {
    /// The stores in an update of which this thread is.
    static UPDATING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Nobody else updates the key while it lives.
pub(crate) struct KeyLock<'a> {
    locks: &'a KeyLocks,
    _stripe: MutexGuard<'a, ()>,
}

impl Default for KeyLocks {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
        }
    }
}

impl KeyLocks {
    /// Waits until nobody else updates `key`.
    ///
    /// INVARIANT key-lock-1: also where the two keys' hashes do not meet today.
    ///
    /// # Errors
    /// [`Error::NestedUpdate`].
    pub(crate) fn lock(&self, keyspace: KeyspaceNumber, key: &[u8]) -> Result<KeyLock<'_>> {
        if UPDATING.with_borrow(|updating| updating.contains(&self.address())) {
            return Err(Error::NestedUpdate);
        }
        let hash = xxh3_64_with_seed(key, u64::from(keyspace.0));
        let stripe = usize::try_from(hash % STRIPES as u64).expect("a small number");
        let stripe = lock(&self.stripes[stripe]);
        UPDATING.with_borrow_mut(|updating| updating.push(self.address()));
        Ok(KeyLock {
            locks: self,
            _stripe: stripe,
        })
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Drop for KeyLock<'_> {
    fn drop(&mut self) {
        let this = self.locks.address();
        UPDATING.with_borrow_mut(|updating| updating.retain(|&store| store != this));
    }
}
