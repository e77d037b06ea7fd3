//! Merges partitions, each in order, into one order.
//!
//! One engine iterator serves all partitions. It visits each in turn and takes a few entries ahead
//! from it; the heads of all partitions stand in a heap. (An iterator for each partition would pin
//! its blocks 256 times over.)

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use bytes::Bytes;
use ringwood_env::UnixMillis;
use ringwood_lsm::{Iter, Slice, Snapshot};
use ringwood_types::{NamespaceId, PartitionId, RecordHead};

use super::bounds::{Bounds, successor};
use crate::error::NodeError;
use crate::namespace::Namespace;
use crate::request::PageEntry;
use crate::store::{Entry, PartitionStore, StoredKey, split};

/// Entries taken from a partition on the first visit: a page rarely needs more of one among many.
const FIRST_AHEAD: usize = 2;
/// Entries taken on later visits.
const LATER_AHEAD: usize = 4;
/// Entries taken where there is one partition only.
const ALONE_AHEAD: usize = 128;
/// A visit ends when it has taken so many bytes.
const AHEAD_LEN: usize = 32 << 10;
/// Longer values are not taken ahead, but read when their turn comes.
const COPIED_LEN_MAX: usize = 8 << 10;
/// What an iterator with its snapshot is taken to hold.
const ITERATOR_LEN: usize = 64 << 10;

/// A scan under way.
pub(crate) struct Merge {
    pub(crate) namespace: NamespaceId,
    bounds: Bounds,
    keys_only: bool,
    born: UnixMillis,
    snapshot: Snapshot,
    walk: Walk,
    sources: Vec<Source>,
    heap: BinaryHeap<Head>,
    /// Bytes of keys and values taken ahead.
    ahead_len: usize,
}

/// A partition with what was taken ahead from it.
struct Source {
    partition: PartitionId,
    ahead: VecDeque<Item>,
    /// Nothing is left in it.
    exhausted: bool,
}

/// A copy, in one piece of memory: key, then the stored value, if it is there.
struct Item {
    bytes: Vec<u8>,
    key_len: usize,
    value: Value,
    deadline: Option<UnixMillis>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Not asked for.
    Left,
    /// Behind the key.
    Copied,
    /// To be read.
    Long,
}

/// The next entry of a source.
struct Head {
    item: Item,
    source: usize,
    reverse: bool,
}

impl Merge {
    /// Begins a scan, or goes on with it behind `last`.
    pub(crate) fn start(
        store: &PartitionStore,
        namespace: &Namespace,
        bounds: Bounds,
        keys_only: bool,
        last: Option<&[u8]>,
        now: UnixMillis,
    ) -> Result<Self, NodeError> {
        let snapshot = store.db().snapshot();
        let iter = store.iter(namespace.id(), &snapshot)?;
        let partitions = bounds.partitions(store, namespace);
        let first_ahead = match partitions.len() {
            1 => ALONE_AHEAD,
            _ => FIRST_AHEAD,
        };
        let source = |&partition: &PartitionId| Source {
            partition,
            ahead: VecDeque::new(),
            exhausted: false,
        };
        let mut merge = Self {
            namespace: namespace.id(),
            keys_only,
            born: now,
            snapshot,
            walk: Walk {
                iter,
                reverse: bounds.reverse,
                sought: None,
            },
            sources: partitions.iter().map(source).collect(),
            heap: BinaryHeap::with_capacity(partitions.len()),
            bounds,
            ahead_len: 0,
        };
        for index in 0..merge.sources.len() {
            merge.visit(index, last, first_ahead)?;
            merge.raise(index);
        }
        Ok(merge)
    }

    /// The next entry that has not expired.
    pub(crate) fn next(
        &mut self,
        store: &PartitionStore,
        now: UnixMillis,
    ) -> Result<Option<PageEntry>, NodeError> {
        while let Some(Head { item, source, .. }) = self.heap.pop() {
            self.ahead_len -= item.len();
            if self.sources[source].ahead.is_empty() {
                let ahead = match self.sources.len() {
                    1 => ALONE_AHEAD,
                    _ => LATER_AHEAD,
                };
                self.visit(source, Some(item.key()), ahead)?;
            }
            self.raise(source);
            if let Some(deadline) = item.deadline
                && store.db().has_expired(deadline, now)?
            {
                continue; // since it was taken ahead
            }
            let partition = self.sources[source].partition;
            if let Some(entry) = self.read(store, partition, item)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn read(
        &self,
        store: &PartitionStore,
        partition: PartitionId,
        item: Item,
    ) -> Result<Option<PageEntry>, NodeError> {
        let key = Bytes::copy_from_slice(item.key());
        let stored = match item.value {
            Value::Left => None,
            Value::Copied => Some(Slice::from(item.bytes).skip(item.key_len)),
            Value::Long => {
                let key = StoredKey::new(self.namespace, partition, &key);
                let Some(found) = store.get_at(&key, &self.snapshot)? else {
                    return Ok(None); // expired just now
                };
                Some(found.value)
            }
        };
        let entry = stored
            .map(|stored| Entry::decode((self.namespace, partition), stored, item.deadline))
            .transpose()
            .map_err(|cause| NodeError::DamagedRecord { partition, cause })?
            .map(|entry| entry.expect("tombstones were passed over"));
        Ok(Some(PageEntry { key, entry }))
    }

    /// Takes up to `count` entries of a partition ahead: the first ones in the range, or the ones
    /// behind `last`.
    fn visit(&mut self, source: usize, last: Option<&[u8]>, count: usize) -> Result<(), NodeError> {
        let Self {
            namespace,
            bounds,
            keys_only,
            walk,
            sources,
            ahead_len,
            ..
        } = self;
        let source = &mut sources[source];
        if source.exhausted {
            return Ok(());
        }
        walk.enter(*namespace, source.partition, bounds, last)?;
        let mut len = 0;
        while source.ahead.len() < count && len < AHEAD_LEN {
            let Some(key) = walk.key_in(source.partition, bounds) else {
                source.exhausted = true;
                break;
            };
            if !RecordHead::is_tombstone_stored(walk.iter.value()) {
                let item = Item::copy(key, &walk.iter, *keys_only);
                len += item.len();
                source.ahead.push_back(item);
            }
            walk.advance()?;
        }
        *ahead_len += len;
        Ok(())
    }

    /// Puts the next entry of a source among the heads.
    fn raise(&mut self, source: usize) {
        if let Some(item) = self.sources[source].ahead.pop_front() {
            self.heap.push(Head {
                item,
                source,
                reverse: self.bounds.reverse,
            });
        }
    }

    /// Whether it shows what the store holds now.
    pub(crate) fn is_current(&self, store: &PartitionStore) -> bool {
        store.db().snapshot().seq() == self.snapshot.seq()
    }

    pub(crate) fn has_more(&self) -> bool {
        !self.heap.is_empty()
    }

    pub(crate) fn keys_only(&self) -> bool {
        self.keys_only
    }

    /// When it began.
    pub(crate) fn born(&self) -> UnixMillis {
        self.born
    }

    /// Bytes it holds.
    pub(crate) fn memory_used(&self) -> usize {
        let sources = self.sources.len() * (size_of::<Source>() + size_of::<Head>());
        ITERATOR_LEN + sources + self.ahead_len
    }
}

impl Item {
    fn copy(key: &[u8], iter: &Iter, keys_only: bool) -> Self {
        let stored = iter.value();
        let (value, stored) = match stored.len() {
            _ if keys_only => (Value::Left, &[][..]),
            0..=COPIED_LEN_MAX => (Value::Copied, stored),
            _ => (Value::Long, &[][..]),
        };
        Self {
            bytes: [key, stored].concat(),
            key_len: key.len(),
            value,
            deadline: iter.deadline(),
        }
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len]
    }

    fn len(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

/// The next key of the scan is the greatest.
impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        let ascending = self.item.key().cmp(other.item.key());
        if self.reverse {
            ascending
        } else {
            ascending.reverse()
        }
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// The iterator that goes from partition to partition, in the direction of the scan.
struct Walk {
    iter: Iter,
    reverse: bool,
    /// Nothing lies between this stored key and where the iterator stands, but what was taken.
    sought: Option<Vec<u8>>,
}

impl Walk {
    /// Goes to the first entry of the range in a partition, or to the one behind `last`.
    fn enter(
        &mut self,
        namespace: NamespaceId,
        partition: PartitionId,
        bounds: &Bounds,
        last: Option<&[u8]>,
    ) -> Result<(), NodeError> {
        let stored = |key: &[u8]| StoredKey::new(namespace, partition, key).as_ref().to_vec();
        // Forwards the target is the first key wanted; backwards the first that is not.
        let target = match (self.reverse, last, bounds.upper.as_deref()) {
            (false, None, _) => StoredKey::new(namespace, partition, &bounds.lower)
                .as_ref()
                .to_vec(),
            (false, Some(last), _) => {
                let mut behind = StoredKey::new(namespace, partition, last).as_ref().to_vec();
                behind.push(0);
                behind
            }
            (true, Some(last), _) | (true, None, Some(last)) => {
                StoredKey::new(namespace, partition, last).as_ref().to_vec()
            }
            (true, None, None) => {
                successor(&stored(&[])).expect("namespaces end before the last prefix")
            }
        };
        if !self.stands_before(&target) {
            if self.reverse {
                self.iter.seek_back(&target)?;
            } else {
                self.iter.seek(&target)?;
            }
        }
        if self.reverse && self.iter.valid() && self.iter.key() == &target[..] {
            self.iter.prev()?;
        }
        self.sought = Some(target);
        Ok(())
    }

    /// Whether the iterator stands where a seek to `target` would lead: partitions without entries
    /// in the range then cost no seek.
    fn stands_before(&self, target: &[u8]) -> bool {
        let Some(sought) = &self.sought else {
            return false;
        };
        let order = |a: &[u8], b: &[u8]| if self.reverse { a >= b } else { a <= b };
        order(sought, target) && (!self.iter.valid() || order(target, self.iter.key()))
    }

    /// The user key here, if it belongs to the partition and the range.
    fn key_in(&self, partition: PartitionId, bounds: &Bounds) -> Option<&[u8]> {
        if !self.iter.valid() {
            return None;
        }
        let (_, here, key) = split(self.iter.key())?;
        (here == partition && bounds.contains(key)).then_some(key)
    }

    fn advance(&mut self) -> Result<(), NodeError> {
        if self.reverse {
            self.iter.prev()?;
        } else {
            self.iter.next()?;
        }
        Ok(())
    }
}
