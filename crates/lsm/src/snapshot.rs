//! Snapshots: moments that stay readable, and the list of them that compactions respect.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::key::SeqNo;

/// Moments that somebody still reads, with how many do.
#[derive(Debug, Default)]
pub(crate) struct SnapshotList {
    held: Mutex<BTreeMap<SeqNo, usize>>,
}

impl SnapshotList {
    /// Holds the moment `now` gives. It is asked under the lock: a compaction that lists snapshots
    /// afterwards sees this one, and one that listed them before only drops what is older than
    /// anything published by then.
    pub(crate) fn take(self: &Arc<Self>, now: impl FnOnce() -> SeqNo) -> Snapshot {
        let mut held = self.lock();
        let seq = now();
        *held.entry(seq).or_insert(0) += 1;
        Snapshot {
            held: Arc::new(Held {
                list: Arc::clone(self),
                seq,
            }),
        }
    }

    /// Whether the snapshot is one of this list's.
    pub(crate) fn holds(self: &Arc<Self>, snapshot: &Snapshot) -> bool {
        Arc::ptr_eq(self, &snapshot.held.list)
    }

    /// The moments held, oldest first.
    pub(crate) fn seqs(&self) -> Vec<SeqNo> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SeqNo, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of a store at one moment, for as long as a clone of this value lives.
///
/// Held for long it keeps old versions of changed keys on the disk. Expiry is not part of the
/// moment: what expires meanwhile is hidden here too.
#[derive(Clone)]
pub struct Snapshot {
    held: Arc<Held>,
}

struct Held {
    list: Arc<SnapshotList>,
    seq: SeqNo,
}

impl Snapshot {
    /// The last change the snapshot shows.
    #[must_use]
    pub fn seq(&self) -> SeqNo {
        self.held.seq
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({})", self.held.seq.get())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.list.lock();
        if let Some(count) = held.get_mut(&self.seq) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.seq);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_listed_until_its_last_holder_goes() {
        let list = Arc::new(SnapshotList::default());
        let five = list.take(|| SeqNo::new(5));
        let three = list.take(|| SeqNo::new(3));
        let again = list.take(|| SeqNo::new(5));
        let clone = three.clone();
        assert_eq!(list.seqs(), [SeqNo::new(3), SeqNo::new(5)]);
        drop((five, three));
        assert_eq!(list.seqs(), [SeqNo::new(3), SeqNo::new(5)]);
        drop((again, clone));
        assert!(list.seqs().is_empty());
    }
}
