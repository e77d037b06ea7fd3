//! Lists a range of a namespace: merges its partitions, each in order, into one order.
//!
//! One engine iterator serves all partitions. It visits each in turn and takes a few entries ahead
//! from it; the heads of all partitions stand in a heap. (An iterator for each partition would pin
//! its blocks 256 times over.) Where the range lies in one routing group, one partition is visited.
//!
//! # Invariants
//! - `scan-1` (23): a key that is present throughout a scan appears exactly once, in order: it lives
//!   in one partition, and each page goes on strictly behind the last key of the one before.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use bytes::Bytes;
use ringwood_env::UnixMillis;
use ringwood_lsm::{Iter, Slice, Snapshot};
use ringwood_types::{NamespaceId, PartitionId};
use xxhash_rust::xxh3::xxh3_64;

use crate::catalog::Namespace;
use crate::cursor::Position;
use crate::entry::Entry;
use crate::error::NodeError;
use crate::node::Shared;
use crate::partition_store::{PartitionStore, StoredKey, split};
use crate::request::{Page, PageEntry, Scan};
use crate::step::check_key;

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

/// Answers a scan. May wait for the disk.
pub(crate) fn page(
    shared: &Shared,
    namespace: &Namespace,
    scan: &Scan,
    now: UnixMillis,
) -> Result<Page, NodeError> {
    namespace.check_alive()?;
    let limit_max = shared.limits.page_entries_max;
    if !(1..=limit_max).contains(&scan.limit) {
        return Err(NodeError::InvalidLimit {
            limit: scan.limit,
            limit_max,
        });
    }
    let bounds = Bounds::of(scan)?;
    let range = bounds.fingerprint();
    let at = match &scan.cursor {
        Some(cursor) => {
            let secret = &shared.identity.secret;
            Some(Position::decode(cursor, secret, namespace.id(), range)?)
        }
        None => None,
    };
    if bounds.is_empty() {
        return Ok(Page::default());
    }
    let merge = resume(shared, namespace, bounds, at.as_ref(), scan.keys_only, now)?;
    fill_page(shared, merge, scan.limit, range, now)
}

fn resume(
    shared: &Shared,
    namespace: &Namespace,
    bounds: Bounds,
    at: Option<&Position>,
    keys_only: bool,
    now: UnixMillis,
) -> Result<Merge, NodeError> {
    if let Some(at) = at
        && let Some(warm) = shared.parked.take(at, keys_only, now)
    {
        shared.counters.pages_warm.add(1);
        return Ok(warm);
    }
    shared.counters.pages_cold.add(1);
    let last = at.map(|at| &at.last[..]);
    Merge::start(&shared.store, namespace, bounds, keys_only, last, now)
}

fn fill_page(
    shared: &Shared,
    mut merge: Merge,
    limit: usize,
    range: u64,
    now: UnixMillis,
) -> Result<Page, NodeError> {
    let mut entries = Vec::with_capacity(limit.min(1024));
    let mut len = 0;
    while entries.len() < limit && len < shared.limits.page_len_max {
        let Some(entry) = merge.next(&shared.store, now)? else {
            break;
        };
        len += entry.key.len() + entry.entry.as_ref().map_or(0, |entry| entry.value().len());
        entries.push(entry);
    }
    shared.counters.entries_listed.add(entries.len());
    let cursor = match entries.last() {
        Some(last) if merge.has_more() => {
            let at = Position {
                namespace: merge.namespace,
                range,
                warm: 0,
                last: last.key.to_vec(),
            };
            let at = shared.parked.park(merge, at, now);
            Some(at.encode(&shared.identity.secret))
        }
        _ => None,
    };
    Ok(Page { entries, cursor })
}

/// What part of a namespace a scan covers: keys from `lower` up to `upper` (excluded).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    /// Every key in the range begins like this.
    common: Vec<u8>,
    reverse: bool,
}

impl Bounds {
    fn of(scan: &Scan) -> Result<Self, NodeError> {
        let given = [&scan.start, &scan.end, &scan.prefix];
        for key in given.into_iter().flatten().filter(|key| !key.is_empty()) {
            check_key(key)?;
        }
        let bytes = |key: &Option<Bytes>| key.as_deref().unwrap_or_default().to_vec();
        let (start, prefix) = (bytes(&scan.start), bytes(&scan.prefix));
        let end = scan.end.as_ref().map(|end| end.to_vec());
        if end.as_ref().is_some_and(|end| start > *end) {
            return Err(NodeError::InvertedRange);
        }
        let behind_prefix = successor(&prefix);
        let upper = match (end, behind_prefix) {
            (Some(end), Some(behind)) => Some(end.min(behind)),
            (end, behind) => end.or(behind),
        };
        let shared_by_bounds = upper.as_ref().map_or(0, |upper| {
            start.iter().zip(upper).take_while(|(a, b)| a == b).count()
        });
        let common = if shared_by_bounds > prefix.len() {
            start[..shared_by_bounds].to_vec()
        } else {
            prefix.clone()
        };
        Ok(Self {
            lower: start.max(prefix),
            upper,
            common,
            reverse: scan.reverse,
        })
    }

    fn is_empty(&self) -> bool {
        self.upper
            .as_ref()
            .is_some_and(|upper| self.lower >= *upper)
    }

    fn contains(&self, key: &[u8]) -> bool {
        *key >= self.lower[..] && self.upper.as_ref().is_none_or(|upper| *key < upper[..])
    }

    /// Tells scans of different ranges apart.
    fn fingerprint(&self) -> u64 {
        let mut bytes = vec![u8::from(self.reverse), u8::from(self.upper.is_some())];
        bytes.extend_from_slice(&(self.lower.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.lower);
        bytes.extend_from_slice(self.upper.as_deref().unwrap_or_default());
        xxh3_64(&bytes)
    }

    /// Partitions that may have keys in the range, in the direction of the scan.
    fn partitions(&self, store: &PartitionStore, namespace: &Namespace) -> Vec<PartitionId> {
        match namespace.policy().routing.group_of_prefix(&self.common) {
            Some(group) => vec![store.ring().partition_of_group(group)],
            None => {
                let mut all: Vec<PartitionId> = store.ring().partitions().iter().collect();
                if self.reverse {
                    all.reverse();
                }
                all
            }
        }
    }
}

/// The first key behind all that begin with `prefix`; `None`: there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(successor)
}

/// A scan under way.
pub(crate) struct Merge {
    namespace: NamespaceId,
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
    fn start(
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
    fn next(
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
            if item.deadline.is_some_and(|deadline| deadline <= now) {
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
            .map_err(|cause| NodeError::DamagedRecord { partition, cause })?;
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
            let item = Item::copy(key, &walk.iter, *keys_only);
            len += item.len();
            source.ahead.push_back(item);
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

    fn has_more(&self) -> bool {
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
        let (here, key) = split(self.iter.key())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(
            prop_oneof![Just(0), Just(b'a'), Just(b'/'), Just(255)],
            0..4,
        )
    }

    fn maybe(keys: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Option<Bytes>> {
        proptest::option::of(keys.prop_map(Bytes::from))
    }

    proptest! {
        #[test]
        fn bounds_hold_what_start_end_and_prefix_say(
            start in maybe(keys()), end in maybe(keys()), prefix in maybe(keys()), key in keys(),
        ) {
            let inverted = start.clone().unwrap_or_default() > end.clone().unwrap_or_else(|| start.clone().unwrap_or_default());
            let scan = Scan { start, end, prefix, limit: 1, ..Scan::default() };
            let bounds = match Bounds::of(&scan) {
                Err(NodeError::InvertedRange) => {
                    prop_assert!(inverted);
                    return Ok(());
                }
                bounds => bounds.unwrap(),
            };
            prop_assert!(!inverted);
            let wanted = scan.start.is_none_or(|start| key >= start)
                && scan.end.is_none_or(|end| key < end)
                && scan.prefix.is_none_or(|prefix| key.starts_with(&prefix));
            prop_assert_eq!(bounds.contains(&key), wanted);
            if wanted {
                prop_assert!(!bounds.is_empty());
                prop_assert!(key.starts_with(&bounds.common));
            }
        }

        #[test]
        fn the_successor_is_the_first_key_behind_a_prefix(prefix in keys(), key in keys()) {
            let behind = successor(&prefix).is_some_and(|successor| key >= successor);
            prop_assert_eq!(behind, key > prefix && !key.starts_with(&prefix));
        }
    }

    #[test]
    fn ranges_have_fingerprints_of_their_own() {
        let scan = |start: &'static str, end: Option<&'static str>, reverse| Scan {
            start: Some(start.into()),
            end: end.map(Bytes::from),
            reverse,
            ..Scan::default()
        };
        let mut prints: Vec<u64> = [
            scan("a", None, false),
            scan("a", None, true),
            scan("a", Some("ab"), false),
            scan("", None, false),
            scan("aab", Some("b"), false),
            scan("aa", Some("bb"), false),
        ]
        .iter()
        .map(|scan| Bounds::of(scan).unwrap().fingerprint())
        .collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), 6);
    }
}
