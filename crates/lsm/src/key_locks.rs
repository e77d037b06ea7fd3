//! Locks by key, so that read-modify-writes of one key follow each other.

use std::sync::{Mutex, MutexGuard};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::batch::KeyspaceNumber;
use crate::locks::lock;

const STRIPES: usize = 256;

/// A lock for every key, shared by keys whose hashes meet. Nobody takes two, so nobody waits in a ring.
#[derive(Debug)]
pub(crate) struct KeyLocks {
    stripes: Box<[Mutex<()>]>,
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
    pub(crate) fn lock(&self, keyspace: KeyspaceNumber, key: &[u8]) -> MutexGuard<'_, ()> {
        let hash = xxh3_64_with_seed(key, u64::from(keyspace.0));
        let stripe = usize::try_from(hash % STRIPES as u64).expect("a small number");
        lock(&self.stripes[stripe])
    }
}
