//! How keys of namespaces lie in the engine: the only module that knows.
//!
//! # Format
//! ```text
//! stored key    namespace u32 | partition u16 | user key        (big-endian, so that ids sort)
//! stored value  see ringwood_types::record
//! ```
//! A namespace is one contiguous range, and in it each partition.

use std::ops::{Bound, Range};
use std::sync::Arc;

use ringwood_env::UnixMillis;
use ringwood_lsm::{
    Batch, Db, Durability, Found, Iter, Keyspace, ReadOptions, ReadTier, Snapshot, Ticket,
};
use ringwood_types::{Epoch, Hlc, Incarnation, NamespaceId, PartitionId, Record, Ring, Version};

use crate::error::{NodeError, Outcome};
use crate::namespace::{Namespace, State};

use super::entry::Entry;
use super::mint::Mint;

/// Smaller memtables are not written out at rest: each would leave a small table.
const WORTH_WRITING_LEN: usize = 4 << 20;

/// Bytes before the user key.
pub(crate) const PREFIX_LEN: usize = 6;

/// A write to one key, checked and ready to be given a version.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) key: &'a [u8],
    pub(crate) change: Change<'a>,
}

#[derive(Debug)]
pub(crate) enum Change<'a> {
    Put {
        value: &'a [u8],
        content_type: &'a str,
        deadline: Option<UnixMillis>,
    },
    Delete,
}

/// What a delete leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletes {
    /// Nothing: no other replica, current or pending, can hold anything older.
    Forget,
    /// A tombstone, for those that may.
    LeaveTombstone,
}

/// What a write became.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written {
    Put {
        version: Version,
        partition: PartitionId,
        deadline: Option<UnixMillis>,
    },
    Deleted {
        version: Version,
    },
}

/// Reads and writes keys of namespaces.
#[derive(Debug)]
pub(crate) struct PartitionStore {
    pub(super) db: Db,
    pub(super) system: Keyspace,
    pub(super) data: Keyspace,
    ring: Ring,
    pub(super) mint: Mint,
}

impl PartitionStore {
    pub(crate) fn new(db: Db, system: Keyspace, data: Keyspace, ring: Ring, mint: Mint) -> Self {
        Self {
            db,
            system,
            data,
            ring,
            mint,
        }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn system(&self) -> &Keyspace {
        &self.system
    }

    /// See [`Mint::enter`].
    pub(crate) fn enter(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        incarnation: Option<Incarnation>,
    ) -> Result<(), NodeError> {
        Ok(self.mint.enter(&self.db, partition, epoch, incarnation)?)
    }

    pub(crate) fn hybrid_time(&self, now: UnixMillis) -> Hlc {
        self.mint.time(now)
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(crate) fn partition(&self, namespace: &Namespace, key: &[u8]) -> PartitionId {
        self.ring.partition(key, namespace.policy().routing)
    }

    pub(crate) fn get(
        &self,
        namespace: &Namespace,
        key: &[u8],
        tier: ReadTier,
    ) -> Result<Option<Entry>, NodeError> {
        let partition = self.partition(namespace, key);
        let stored_key = StoredKey::new(namespace.id(), partition, key);
        let options = ReadOptions {
            tier,
            ..ReadOptions::default()
        };
        let found = self.data.get_with(stored_key.as_ref(), &options)?;
        match found {
            Some(found) => decode(namespace.id(), partition, found),
            None => Ok(None),
        }
    }

    /// As [`PartitionStore::get`] for many keys, from the disk where needed.
    pub(crate) fn multi_get(
        &self,
        namespace: &Namespace,
        keys: &[&[u8]],
    ) -> Vec<Result<Option<Entry>, NodeError>> {
        let partition = |key: &&[u8]| self.partition(namespace, key);
        let partitions: Vec<PartitionId> = keys.iter().map(partition).collect();
        let stored: Vec<StoredKey> = keys
            .iter()
            .zip(&partitions)
            .map(|(key, &partition)| StoredKey::new(namespace.id(), partition, key))
            .collect();
        let stored: Vec<&[u8]> = stored.iter().map(AsRef::as_ref).collect();
        let found = self.data.multi_get(&stored, &ReadOptions::default());
        found
            .into_iter()
            .zip(partitions)
            .map(|(found, partition)| match found? {
                Some(found) => decode(namespace.id(), partition, found),
                None => Ok(None),
            })
            .collect()
    }

    /// Gives writes their versions and queues them, all or none. Answers in their order.
    ///
    /// A delete takes the key from the engine at once and leaves no tombstone of ours: with one
    /// replica the stable clock is its own clock, which covers every dot it minted (CAUSALITY rule 7).
    pub(crate) fn submit(
        &self,
        namespace: &Namespace,
        writes: &[Write<'_>],
        durability: Durability,
        now: UnixMillis,
    ) -> Result<(Ticket, Vec<Written>), NodeError> {
        let mut partitions: Vec<PartitionId> = writes.iter().map(|write| write.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let mut minting = self.mint.lock(&partitions);
        // INVARIANT catalog-2: under the locks.
        namespace.check_alive()?;
        let mut batch = Batch::new();
        let mut written = Vec::with_capacity(writes.len());
        for write in writes {
            let version = minting.version(write.partition, now);
            written.push(self.put_write(namespace, write, version, Deletes::Forget, &mut batch)?);
        }
        let ticket = minting.submit(&self.db, &mut batch, durability)?;
        Ok((ticket, written))
    }

    pub(super) fn put_write(
        &self,
        namespace: &Namespace,
        write: &Write<'_>,
        version: Version,
        deletes: Deletes,
        batch: &mut Batch,
    ) -> Result<Written, NodeError> {
        let key = StoredKey::new(namespace.id(), write.partition, write.key);
        match write.change {
            Change::Put {
                value,
                content_type,
                deadline,
            } => {
                let record = Record {
                    version,
                    content_type,
                    value,
                };
                let head = record.head();
                let parts = [&head[..], content_type.as_bytes(), value];
                batch.put_parts(self.data.id(), key.as_ref(), &parts, deadline)?;
                if namespace.policy().bytes_max.is_some() {
                    let len: usize = parts.iter().map(|part| part.len()).sum();
                    namespace.bytes.add(key.as_ref().len() + len);
                }
                Ok(Written::Put {
                    version,
                    partition: write.partition,
                    deadline,
                })
            }
            Change::Delete => {
                match deletes {
                    Deletes::Forget => batch.delete(self.data.id(), key.as_ref())?,
                    Deletes::LeaveTombstone => {
                        let tombstone = Record::tombstone(version);
                        batch.put(self.data.id(), key.as_ref(), &tombstone)?;
                    }
                }
                Ok(Written::Deleted { version })
            }
        }
    }

    /// Removes all keys of a namespace together with `batch`, durable on return. New writers are
    /// kept away from when the batch is queued, while no writer is about to queue one.
    pub(crate) fn drop_namespace(
        &self,
        namespace: &Namespace,
        batch: &mut Batch,
    ) -> Result<(), NodeError> {
        let range = namespace_range(namespace.id());
        batch.delete_range(self.data.id(), &range.start, &range.end)?;
        let partitions: Vec<PartitionId> = self.ring.partitions().iter().collect();
        let mut minting = self.mint.lock(&partitions);
        let ticket = minting.submit(&self.db, batch, Durability::Synced)?;
        namespace.life.set(State::Dropped);
        drop(minting);
        ticket.wait().map(drop).map_err(|error| {
            let error = NodeError::from(error);
            // INVARIANT catalog-3.
            if error.outcome() == Outcome::Unknown {
                namespace.life.set(State::InDoubt);
                let name = namespace.name();
                tracing::error!(namespace = name, %error, "whether it is dropped shows at the next start");
            } else {
                namespace.life.set(State::Alive);
            }
            error
        })
    }

    /// Writes memtables out that hold much.
    pub(crate) fn write_out(&self) {
        let keyspaces = self.db.statistics().keyspaces;
        let held: usize = keyspaces.iter().map(|one| one.memtable_bytes).sum();
        if held < WORTH_WRITING_LEN {
            return;
        }
        match self.db.flush() {
            Ok(()) => tracing::debug!(bytes = held, "nothing is written: memtables are in tables"),
            Err(error) => tracing::warn!(%error, "cannot write memtables out"),
        }
    }

    /// Brings the tallies of namespaces up to date.
    pub(crate) fn measure(&self, namespaces: &[Arc<Namespace>]) {
        // ORDER: a flush that ends from here on is seen the next time.
        let flushes = self.db.statistics().flushes;
        for namespace in namespaces {
            let Range { start, end } = namespace_range(namespace.id());
            match self.data.approximate_len(&start, &end) {
                Ok(bytes) => namespace.bytes.measure(bytes, flushes),
                Err(error) => {
                    let name = namespace.name();
                    tracing::warn!(namespace = name, %error, "cannot measure a namespace");
                }
            }
        }
    }

    /// An iterator over stored keys of a namespace.
    pub(crate) fn iter(
        &self,
        namespace: NamespaceId,
        snapshot: &Snapshot,
    ) -> Result<Iter, NodeError> {
        let Range { start, end } = namespace_range(namespace);
        let options = ReadOptions {
            snapshot: Some(snapshot),
            ..ReadOptions::default()
        };
        let range = (Bound::Included(&start[..]), Bound::Excluded(&end[..]));
        Ok(self.data.range(range, &options)?)
    }

    /// The value of a stored key at the time of `snapshot`.
    pub(crate) fn get_at(
        &self,
        stored_key: &StoredKey,
        snapshot: &Snapshot,
    ) -> Result<Option<Found>, NodeError> {
        let options = ReadOptions {
            snapshot: Some(snapshot),
            ..ReadOptions::default()
        };
        Ok(self.data.get_with(stored_key.as_ref(), &options)?)
    }
}

fn decode(
    namespace: NamespaceId,
    partition: PartitionId,
    found: Found,
) -> Result<Option<Entry>, NodeError> {
    Entry::decode((namespace, partition), found.value, found.deadline)
        .map_err(|cause| NodeError::DamagedRecord { partition, cause })
}

/// Where all keys of a namespace lie.
fn namespace_range(namespace: NamespaceId) -> Range<[u8; 4]> {
    let next = namespace.get() + 1; // never overflows: ids end at NamespaceId::MAX
    namespace.get().to_be_bytes()..next.to_be_bytes()
}

/// A key as the engine has it. Usual ones need no memory of their own.
pub(crate) struct StoredKey(Buffer);

enum Buffer {
    Inline([u8; INLINE_LEN], u8),
    Heap(Vec<u8>),
}

const INLINE_LEN: usize = 126;
const _: () = assert!(INLINE_LEN <= u8::MAX as usize);

impl StoredKey {
    pub(crate) fn new(namespace: NamespaceId, partition: PartitionId, key: &[u8]) -> Self {
        let (namespace, partition) = (namespace.get().to_be_bytes(), partition.get().to_be_bytes());
        let len = PREFIX_LEN + key.len();
        match u8::try_from(len) {
            Ok(short) if len <= INLINE_LEN => {
                let mut bytes = [0; INLINE_LEN];
                bytes[..4].copy_from_slice(&namespace);
                bytes[4..PREFIX_LEN].copy_from_slice(&partition);
                bytes[PREFIX_LEN..len].copy_from_slice(key);
                Self(Buffer::Inline(bytes, short))
            }
            _ => Self(Buffer::Heap([&namespace, &partition[..], key].concat())),
        }
    }
}

impl AsRef<[u8]> for StoredKey {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Buffer::Inline(bytes, len) => &bytes[..usize::from(*len)],
            Buffer::Heap(bytes) => bytes,
        }
    }
}

/// Splits a stored key into namespace, partition and user key; `None` where it is too short to be one.
pub(crate) fn split(stored_key: &[u8]) -> Option<(NamespaceId, PartitionId, &[u8])> {
    let (prefix, key) = stored_key.split_first_chunk::<PREFIX_LEN>()?;
    let (namespace, partition) = prefix.split_first_chunk::<4>()?;
    let partition = u16::from_be_bytes(partition.try_into().ok()?);
    let namespace = NamespaceId::new(u32::from_be_bytes(*namespace));
    Some((namespace, PartitionId::new(partition), key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stored_keys_sort_by_namespace_partition_and_key(
            a: (u32, u16, Vec<u8>), b: (u32, u16, Vec<u8>), long in 0usize..200,
        ) {
            let lengthened = |(namespace, partition, key): &(u32, u16, Vec<u8>)| {
                (*namespace, *partition, [&vec![7; long], &key[..]].concat())
            };
            let (a, b) = (lengthened(&a), lengthened(&b));
            let stored = |(namespace, partition, key): &(u32, u16, Vec<u8>)| {
                StoredKey::new(NamespaceId::new(*namespace), PartitionId::new(*partition), key)
            };
            prop_assert_eq!(stored(&a).as_ref().cmp(stored(&b).as_ref()), a.cmp(&b));
            let stored = stored(&a);
            let parts = (NamespaceId::new(a.0), PartitionId::new(a.1), &a.2[..]);
            prop_assert_eq!(split(stored.as_ref()), Some(parts));
        }
    }

    #[test]
    fn a_namespace_holds_its_keys_and_no_others() {
        let range = namespace_range(NamespaceId::new(7));
        let holds = |namespace, partition, key: &[u8]| {
            let stored = StoredKey::new(
                NamespaceId::new(namespace),
                PartitionId::new(partition),
                key,
            );
            stored.as_ref() >= &range.start[..] && stored.as_ref() < &range.end[..]
        };
        assert!(holds(7, 0, b"a") && holds(7, u16::MAX, &[0xff; 300]));
        assert!(!holds(6, u16::MAX, &[0xff; 300]) && !holds(8, 0, b"a"));
        let last = namespace_range(NamespaceId::MAX);
        assert!(last.start < last.end);
    }
}
