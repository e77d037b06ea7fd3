//! Scans kept warm between two pages.
//!
//! A page is right without them: a cursor says where to go on. They only save seeking every
//! partition again, where nothing was written in between. (A client that pages on at once could be
//! shown the state of its first page. But only while the scan is warm: what it may rely on would
//! depend on how busy the node is.)
//!
//! A warm scan holds memory, and a snapshot that keeps deleted data from being freed; so they are
//! few, small, and let go when no page was asked for a while, or when they have lived long.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringwood_env::UnixMillis;

use crate::cursor::Position;

use super::merge::Merge;

/// A scan that is paged on steadily lives this many times as long as one that is not.
const LIFETIMES: u64 = 6;

/// The table of warm scans.
pub(crate) struct Parked {
    table: Mutex<Table>,
    len_max: usize,
    time: UnixMillis,
}

#[derive(Default)]
struct Table {
    scans: HashMap<u64, Slot>,
    len: usize,
    last_name: u64,
}

struct Slot {
    merge: Merge,
    len: usize,
    /// Where it stands.
    at: Position,
    parked: UnixMillis,
}

impl Parked {
    /// Holds up to `len_max` bytes, each scan for up to `time` between two pages.
    pub(crate) fn new(len_max: usize, time: Duration) -> Self {
        Self {
            table: Mutex::default(),
            len_max,
            time: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Keeps a scan that stands at `at`; gives the name to find it by.
    pub(crate) fn park(&self, merge: Merge, mut at: Position, now: UnixMillis) -> Position {
        let len = merge.memory_used();
        let mut table = self.lock();
        table.last_name += 1;
        at.warm = table.last_name;
        if len > self.len_max {
            return at;
        }
        let removed = table.make_room(self.len_max - len);
        table.len += len;
        let slot = Slot {
            merge,
            len,
            at: at.clone(),
            parked: now,
        };
        table.scans.insert(at.warm, slot);
        drop(table);
        drop(removed);
        at
    }

    /// The scan that stands at `at`, if it is still warm.
    pub(crate) fn take(&self, at: &Position, keys_only: bool, now: UnixMillis) -> Option<Merge> {
        let slot = self.lock().remove(at.warm)?;
        // Names begin anew with every run, so a cursor may name a scan it does not come from.
        let same = slot.at == *at && slot.merge.keys_only() == keys_only;
        (same && !self.is_over(&slot, now)).then_some(slot.merge)
    }

    /// Lets go of scans whose time is over.
    pub(crate) fn sweep(&self, now: UnixMillis) {
        let mut table = self.lock();
        let over: Vec<u64> = table
            .scans
            .iter()
            .filter(|(_, slot)| self.is_over(slot, now))
            .map(|(name, _)| *name)
            .collect();
        let removed: Vec<_> = over.into_iter().map(|name| table.remove(name)).collect();
        drop(table);
        drop(removed); // snapshots are given up outside of the lock
    }

    pub(crate) fn clear(&self) {
        let removed = std::mem::take(&mut *self.lock());
        drop(removed);
    }

    /// Number of scans, and bytes they hold.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let table = self.lock();
        (table.scans.len() as u64, table.len as u64)
    }

    fn is_over(&self, slot: &Slot, now: UnixMillis) -> bool {
        now.saturating_sub(slot.parked) > self.time
            || now.saturating_sub(slot.merge.born()) > self.time.saturating_mul(LIFETIMES)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, name: u64) -> Option<Slot> {
        let slot = self.scans.remove(&name)?;
        self.len -= slot.len;
        Some(slot)
    }

    /// Takes out the scans parked first until no more than `len_max` bytes are held.
    fn make_room(&mut self, len_max: usize) -> Vec<Slot> {
        let mut removed = Vec::new();
        while self.len > len_max {
            let oldest = *self.scans.keys().min().expect("bytes are held by scans");
            removed.extend(self.remove(oldest));
        }
        removed
    }
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scans, len) = self.usage();
        f.debug_struct("Parked")
            .field("scans", &scans)
            .field("len", &len)
            .finish_non_exhaustive()
    }
}
